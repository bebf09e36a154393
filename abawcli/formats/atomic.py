"""Outputs that are whole or not there: a temporary beside them, then a rename.

A temporary is called `.abaw-<random>.<name>`; an old folder on its way out `.abaw-old-<random>.`
and its name. A run removes its own. What killed runs left behind, a later run removes that
writes into the same folder, once nothing in it has changed for `config.LEFTOVER_AGE_S`.
"""

import functools
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from abawcli.config import LEFTOVER_AGE_S
from abawcli.errors import OutputError

PREFIX, OLD_PREFIX = ".abaw-", ".abaw-old-"
NAME_BYTES = 255  # of a file's name, on the usual file systems
_LEFTOVER = re.compile(r"\.abaw-(old-)?[0-9a-f]{12}\.(.*)", re.DOTALL)
_unfinished: set[Path] = set()  # temporaries of this process


def name_temporary(path: str | Path, prefix: str = PREFIX) -> Path:
    """Return a new name beside `path`; the suffix stays last: writers choose their format by it.

    A long name loses its beginning, so that none is too long that `path` itself is not.

    Raises:
        OutputError: as `check_name`.
    """
    path = Path(path)
    check_name(path)
    head = f"{prefix}{secrets.token_hex(6)}."
    tail = os.fsencode(path.name)[len(head) - NAME_BYTES :].decode("utf-8", "ignore")
    temporary = path.with_name(head + tail)
    if prefix == PREFIX:
        _unfinished.add(temporary)
    return temporary


def remove_temporaries() -> None:
    """Remove what this process is writing, for where it ends without a chance to do so itself."""
    for temporary in tuple(_unfinished):
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # it was a folder, or is complete
            temporary.unlink()


def check_name(path: str | Path) -> None:
    """Make sure that `path` ends in a name.

    Raises:
        OutputError: it is `.`, `..` or `/`.
    """
    path = Path(path)
    if path.name in ("", ".."):
        raise OutputError(f"cannot write {path}: it is a folder; give it a name in there")


@contextmanager
def report_errors(path: str | Path, temporary: str | Path) -> Iterator[None]:
    """Turn what goes wrong in writing into an error about `path`, the name that a person knows.

    Raises:
        OutputError: for any OSError.
    """
    path = Path(path)
    temporary = Path(temporary)
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"cannot write {path}: {path.parent} is not a folder") from error
    except OSError as error:  # no permission, no space, ...
        text = error.strerror or str(error).replace(str(temporary), str(path))
        raise OutputError(f"cannot write {path}: {text or type(error).__name__}") from error


@contextmanager
def write_whole(path: str | Path, seal: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without error.

    The file gets the rights that the umask gives, whatever its writer does. `seal` is called
    with the complete temporary just before it becomes `path`.

    Raises:
        OutputError: the place cannot be written, or is no plain file.
    """
    path = Path(path)
    temporary = name_temporary(path)
    with report_errors(path, temporary):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            check_plain(path)
            sweep_leftovers(path.parent)
            temporary.touch(exist_ok=False)
            rights = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            temporary.chmod(rights)  # safetensors makes the file anew, for its owner alone
            if seal:
                seal(temporary)
            temporary.replace(path)
        finally:
            with suppress(OSError):  # it has become `path`, or could not be made
                temporary.unlink()
            _unfinished.discard(temporary)


def check_plain(path: str | Path) -> None:
    """Make sure that `path` is a plain file or free: links and devices are not replaced.

    Raises:
        OutputError: it is something else.
    """
    path = Path(path)
    if path.is_symlink():
        raise OutputError(f"{path} is a link to {os.readlink(path)}; give the name of the file")
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no plain file"
        raise OutputError(f"cannot write {path}: it is {what}")


def sweep_leftovers(folder: str | Path) -> None:
    """Remove what killed runs left in a folder long ago; once a folder and process."""
    folder = Path(folder)
    with suppress(OSError):  # it cannot be listed, or another run sweeps too
        _sweep(os.path.abspath(folder))


@functools.cache
def _sweep(folder: str) -> None:
    names = [name for name in os.listdir(folder) if _LEFTOVER.fullmatch(name)]
    for name in names:
        path = os.path.join(folder, name)
        if time.time() - _find_last_change(path) > LEFTOVER_AGE_S and not _is_only_one(path):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)


def _find_last_change(path: str) -> float:
    """Return when a file, or anything in a folder, changed last, in seconds since 1970."""
    inside = [os.path.join(place, name) for place, a, b in os.walk(path) for name in (*a, *b)]
    return max(os.lstat(each).st_mtime for each in (path, *inside))


def _is_only_one(path: str) -> bool:
    """Tell whether an old folder was moved aside, and the run killed before the new one came."""
    place, name = os.path.split(path)
    found = _LEFTOVER.fullmatch(name)
    return bool(found and found[1] and not os.path.lexists(os.path.join(place, found[2])))
