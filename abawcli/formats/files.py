"""Inputs as people name them, outputs that are whole or not there, and what made them."""

import glob
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from abawcli import __version__
from abawcli.errors import InputError, OutputError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"}
    | {".wmv", ".flv", ".3gp", ".ogv", ".gif"}
)
IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"])
PROVENANCE_SUFFIX = ".provenance.json"


def expand_inputs(inputs: Iterable[str], suffixes: frozenset[str]) -> list[Path]:
    """Return the files that the arguments mean, each once, in the order given.

    An argument is a file, a folder (its files with one of `suffixes`, all levels, sorted), a
    glob, or `@list.txt` with one argument a line. A file that is named is taken whatever its
    suffix; one that does not exist is returned too, so that its reader reports it and the
    others are still done.

    Raises:
        InputError: a folder or glob that holds nothing suitable, or an unreadable list.
    """
    found: dict[Path, None] = {}
    for argument in inputs:
        if argument.startswith("@"):
            found |= dict.fromkeys(expand_inputs(_read_list(Path(argument[1:])), suffixes))
        elif Path(argument).is_dir():
            files = sorted(p for p in Path(argument).rglob("*") if p.suffix.lower() in suffixes)
            if not files:
                raise InputError(f"{argument} holds no {' '.join(sorted(suffixes))} file")
            found |= dict.fromkeys(files)
        elif not Path(argument).exists() and glob.has_magic(argument):
            files = [Path(p) for p in sorted(glob.glob(argument, recursive=True))]
            if not files:
                raise InputError(f"nothing matches {argument}")
            found |= dict.fromkeys(p for p in files if p.is_file())
        else:
            found[Path(argument)] = None
    return list(found)


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list {path}: {error}") from error
    return [line.strip() for line in lines if line.strip()]


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without error.

    Raises:
        OutputError: the place cannot be written.
    """
    # The suffix stays last: writers choose their format by it.
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        if temporary.exists():
            temporary.unlink()


def describe_work(
    command: str, inputs: Sequence[Path], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return an output's provenance: version, command, input names, resolved settings.

    `settings` is JSON-like and holds what the result depends on, models with their sha256.
    """
    provenance: dict[str, Any] = json.loads(
        json.dumps(
            {
                "abawcli": __version__,
                "command": command,
                "inputs": [str(p) for p in inputs],
                "settings": dict(settings),
            }
        )
    )
    return provenance


def provenance_path(output: Path) -> Path:
    """Return where the provenance of a text output or a folder stands: a file beside it."""
    return output.with_name(output.name + PROVENANCE_SUFFIX)


def write_provenance(output: Path, provenance: Mapping[str, Any]) -> None:
    """Write the provenance of a finished output beside it."""
    with write_whole(provenance_path(output)) as temporary:
        temporary.write_text(json.dumps(provenance, indent=2) + "\n")


def is_finished(output: Path, provenance: Mapping[str, Any], overwrite: bool) -> bool:
    """Tell whether `output` already holds just this work and can be skipped.

    An output of the same command and inputs with other settings is stale: it may be replaced,
    and False is returned.

    Raises:
        OutputError: something else is in the way.
    """
    if overwrite or not output.exists():
        return False
    try:
        there = json.loads(provenance_path(output).read_text())
    except (OSError, ValueError):
        there = {}
    if there == provenance:
        return True
    if all(there.get(key) == provenance[key] for key in ("command", "inputs")):
        return False
    raise OutputError(f"{output} exists and was not made from this input; use --overwrite")
