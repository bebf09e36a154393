"""Inputs as people name them: files, folders, globs and lists."""

import glob
import logging
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from abawcli.errors import InputError
from abawcli.formats.scan import Test, find_root, match_pattern, scan_folder

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mpe", ".m2v"}
    | {".ts", ".mts", ".m2ts", ".vob", ".mxf", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2"}
    | {".ogv", ".gif", ".insv"}
)
AUDIO_SUFFIXES = frozenset({".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus", ".wma"})
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".apng", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif"}
)
NAMED = 5  # inputs that a warning names
LOG = logging.getLogger(__name__)

# A file or folder -> where it stands below the argument that it was found by; what was named
# itself has its own name.
RelativePaths = dict[Path, Path]


def _is_no_input(folder: Path) -> bool:
    return False


def expand_inputs(
    inputs: Iterable[str], suffixes: frozenset[str], is_input: Test = _is_no_input
) -> RelativePaths:
    """Return the files that the arguments mean, each once by its full path, in the order given.

    An argument is a file, a folder (its files with one of `suffixes`, all levels, sorted, none
    that is hidden), a glob, or `@list.txt` with one argument a line. A file that is named is
    taken whatever its suffix. A folder for which `is_input` says yes is an input as a whole. Of
    several arguments, one that means nothing is returned as it is, so that its reader reports
    it and the others are still done.

    The places are the names of outputs: of a file, its own name; below a folder, the path from
    there; of a glob, the path from its first part with a wildcard; of a list, the path as it
    is written there, if that is relative and does not lead out with `..`.

    Raises:
        InputError: the only argument is a dead link, or a folder, glob or list that holds nothing
            suitable.
    """
    return _expand_all(list(inputs), suffixes, is_input, ())


def locate_inputs(inputs: Iterable[str | Path]) -> RelativePaths:
    """Return inputs with their places, which of plain paths are their own names."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    return {path: _place_alone(path) for path in map(Path, inputs)}


def _place_alone(path: Path) -> Path:
    return Path(os.path.basename(os.path.abspath(path)))


def _place_below(path: Path, root: Path | str) -> Path:
    """Return the path from `root` on; the name alone of what is not below it."""
    below = Path(os.path.relpath(path, root))
    return _place_alone(path) if ".." in below.parts else below


def _expand_all(
    arguments: Sequence[str], suffixes: frozenset[str], is_input: Test, lists: tuple[str, ...]
) -> RelativePaths:
    """Expand each argument; `lists` are the lists that these stand in, the innermost last."""
    found: dict[str, tuple[Path, Path]] = {}
    for argument in arguments:
        try:
            places = _expand(argument, suffixes, is_input, lists)
        except InputError:
            if len(arguments) == 1:
                raise
            places = locate_inputs([Path(argument)])
        for path, place in places.items():
            found.setdefault(os.path.abspath(path), (path, place))
    return dict(found.values())


def _expand(
    argument: str, suffixes: frozenset[str], is_input: Test, lists: tuple[str, ...]
) -> RelativePaths:
    path = Path(argument)
    # `os.path` says no where `Path` raises (no permission, a name too long): readers report it.
    if os.path.isdir(path):
        return _expand_folder(path, suffixes, is_input)
    if os.path.exists(path):
        return locate_inputs([path])
    if os.path.islink(path):
        check_input(path)
    if argument.startswith("@"):
        name = os.path.realpath(argument[1:])
        if name in lists:
            raise InputError(f"the list {argument[1:]} names itself")
        lines = _read_list(Path(argument[1:]))
        listed = _expand_all(lines, suffixes, is_input, (*lists, name))
        return {
            path: place if path.is_absolute() else _place_below(path, ".")
            for path, place in listed.items()
        }
    if glob.has_magic(argument):
        matches = list(map(str, match_pattern(argument)))
        if not matches:
            raise InputError(f"nothing matches {argument}")
        root = find_root(argument)
        matched = _expand_all(matches, suffixes, is_input, lists)
        return {path: _place_below(path, root) for path in matched}
    return locate_inputs([path])


def _expand_folder(folder: Path, suffixes: frozenset[str], is_input: Test) -> RelativePaths:
    if is_input(folder):
        return locate_inputs([folder])
    found = scan_folder(folder, suffixes, is_input)
    if not found:
        what = f"{' '.join(sorted(suffixes))} file" if suffixes else "input of this command"
        raise InputError(f"{folder} holds no {what}")
    return {path: path.relative_to(folder) for path in found}


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


def check_input(path: str | Path) -> None:
    """Refuse what no reader can read, with the reason; all else is left to readers.

    Raises:
        InputError: a dead link, or a pipe, socket or device: files are read more than once.
    """
    path = Path(path)
    try:
        mode = os.stat(path).st_mode
    except OSError:
        if os.path.islink(path):
            target = os.readlink(path)
            raise InputError(f"{path} is a dead link: there is no {target}") from None
        return
    if stat.S_ISFIFO(mode):
        raise InputError(f"{path} is a pipe, and a pipe cannot be read; write it to a file first")
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{path} is a device or socket, not a file")


def warn_left_out(what: str, names: Sequence[str]) -> None:
    """Warn of inputs that are left out, if there are any; `what` they are begins with a noun."""
    if names:
        more = ", ..." if len(names) > NAMED else ""
        shown = ", ".join(sorted(names)[:NAMED]) + more
        LOG.warning("%d %s and are left out: %s", len(names), what, shown)
