"""Hashes that identify inputs and results, independent of their paths and dates."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from abawcli.formats.scan import RECORD_SUFFIXES

EMPTY = "empty folder"  # instead of a hash
ENDS = 1 << 20  # bytes hashed at each end of an input: reading gigabytes takes too long


def hash_file(path: str | Path) -> str:
    """Return the sha256 of a file, in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_ends(path: str | Path) -> str:
    """Return the sha256 of a file's size, its first MiB and its last MiB, in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    size = os.path.getsize(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(ENDS))
        file.seek(max(size - ENDS, 0))
        digest.update(file.read(ENDS))
    return digest.hexdigest()


def hash_folder(folder: str | Path) -> dict[str, str]:
    """Return the sha256 of every file at all levels of a folder, by its relative name.

    Links, empty folders and the like have their kind instead of a hash.

    Raises:
        OSError: a part of it cannot be read.
    """
    folder = Path(folder)
    return {name: _hash_entry(folder / name) for name in sorted(_list_below(folder))}


def hash_listing(folder: str | Path) -> tuple[int, str]:
    """Return the total size of a folder's files, and the sha256 of their names and sizes.

    Records of runs do not count: a repeated run adds lines to `manifest.jsonl`, also if its outputs
    stay as they are.

    Raises:
        OSError: a part of it cannot be read.
    """
    folder = Path(folder)
    sizes = {
        name: os.path.getsize(folder / name)
        for name in sorted(_list_below(folder))
        if (folder / name).is_file() and not name.endswith(RECORD_SUFFIXES)
    }
    return sum(sizes.values()), hashlib.sha256(repr(sizes).encode("utf-8", "replace")).hexdigest()


def hash_sizes(files: Iterable[str | Path]) -> str:
    """Return the sha256 of the sizes of files in their order, in hexadecimal.

    Raises:
        OSError: a file is missing.
    """
    sizes = [os.path.getsize(file) for file in files]
    return hashlib.sha256(repr(sizes).encode()).hexdigest()


def _list_below(folder: Path) -> Iterator[str]:
    """Yield the relative names of all files, links and empty folders."""
    for parent, folders, files in os.walk(folder, onerror=_raise):
        inside = os.path.relpath(parent, folder)
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in (*files, *links):
            yield os.path.normpath(os.path.join(inside, name))
        if not (files or folders) and inside != ".":
            yield inside


def _hash_entry(path: Path) -> str:
    if path.is_symlink():
        return "link"
    if path.is_dir():
        return EMPTY
    return hash_file(path) if path.is_file() else "no plain file"


def _raise(error: OSError) -> None:
    raise error
