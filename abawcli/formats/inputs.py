"""Inputs as people name them: files, folders, globs and lists."""

import glob
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from abawcli.errors import InputError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"}
    | {".wmv", ".flv", ".3gp", ".ogv", ".gif"}
)
SOUND_SUFFIXES = frozenset({".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus", ".wma"})
IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"])
NAMED = 5  # inputs that a warning names
LOG = logging.getLogger(__name__)
Test = Callable[[Path], bool]


def _is_no_input(folder: Path) -> bool:
    return False


def expand_inputs(
    inputs: Iterable[str], suffixes: frozenset[str], is_input: Test = _is_no_input
) -> list[Path]:
    """Return the files that the arguments mean, each once by its full path, in the order given.

    An argument is a file, a folder (its files with one of `suffixes`, all levels, sorted, none
    that is hidden), a glob, or `@list.txt` with one argument a line. A file that is named is
    taken whatever its suffix. A folder for which `is_input` says yes is an input as a whole. Of
    several arguments, one that means nothing is returned as it is, so that its reader reports
    it and the others are still done.

    Raises:
        InputError: the only argument is a folder, glob or list that holds nothing suitable.
    """
    return _expand_all(list(inputs), suffixes, is_input, ())


def _expand_all(
    arguments: Sequence[str], suffixes: frozenset[str], is_input: Test, lists: tuple[str, ...]
) -> list[Path]:
    """Expand each argument; `lists` are the lists that these stand in, the innermost last."""
    found: dict[str, Path] = {}
    for argument in arguments:
        try:
            paths = _expand(argument, suffixes, is_input, lists)
        except InputError:
            if len(arguments) == 1:
                raise
            paths = [Path(argument)]
        for path in paths:
            found.setdefault(os.path.abspath(path), path)
    return list(found.values())


def _expand(
    argument: str, suffixes: frozenset[str], is_input: Test, lists: tuple[str, ...]
) -> list[Path]:
    path = Path(argument)
    # `os.path` says no where `Path` raises (no permission, a name too long): readers report it.
    if os.path.isdir(path):
        found = sorted(_find_below(path, suffixes, is_input))
        if not found:
            what = f"{' '.join(sorted(suffixes))} file" if suffixes else "input of this command"
            raise InputError(f"{argument} holds no {what}")
        return found
    if os.path.exists(path):
        return [path]
    if argument.startswith("@"):
        name = os.path.realpath(argument[1:])
        if name in lists:
            raise InputError(f"the list {argument[1:]} names itself")
        return _expand_all(_read_list(Path(argument[1:])), suffixes, is_input, (*lists, name))
    if glob.has_magic(argument):
        matches = sorted(glob.glob(argument, recursive=True))
        if not matches:
            raise InputError(f"nothing matches {argument}")
        return _expand_all(matches, suffixes, is_input, lists)
    return [path]


def _find_below(folder: Path, suffixes: frozenset[str], is_input: Test) -> Iterator[Path]:
    if is_input(folder):
        yield folder
        return
    for place, folders, files in os.walk(folder):
        # Hidden: files that are being written, and macOS's `._clip.mp4`, which are no videos.
        below = [Path(place, name) for name in folders if not name.startswith(".")]
        whole = [path for path in below if is_input(path)]
        yield from whole
        folders[:] = [path.name for path in below if path not in whole]
        for name in files:
            path = Path(place, name)
            suitable = path.suffix.lower() in suffixes and not name.startswith(".")
            if suitable and os.path.isfile(path):
                yield path


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list {path}: {error}") from error
    if any("\0" in line for line in lines):
        raise InputError(f"the list {path} is no plain text; save it as UTF-8")
    arguments = [line.strip() for line in lines if line.strip()]
    if not arguments:
        raise InputError(f"the list {path} is empty")
    return arguments


def warn_left_out(what: str, names: Sequence[str]) -> None:
    """Warn of inputs that are left out, if there are any; `what` they are begins with a noun."""
    if names:
        more = ", ..." if len(names) > NAMED else ""
        shown = ", ".join(sorted(names)[:NAMED]) + more
        LOG.warning("%d %s and are left out: %s", len(names), what, shown)
