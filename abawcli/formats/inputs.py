"""Input arguments: files, folders, globs and lists."""

import glob
import logging
import os
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from abawcli.errors import InputError, explain_os_error
from abawcli.formats.scan import Test, find_root, match_pattern, scan_folder, walk_folders
from abawcli.formats.text_form import check_encoding, explain_bytes

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mpe", ".m2v"}
    | {".ts", ".mts", ".m2ts", ".vob", ".mxf", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2"}
    | {".ogv", ".gif", ".insv"}
)
AUDIO_SUFFIXES = frozenset({".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus", ".wma"})
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".apng", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif"}
)
STDIN_LIST = "@-"
NAMED = 5  # inputs named in a warning
LOG = logging.getLogger(__name__)

# A file or folder -> its path relative to the argument by which it was found; for an argument that
# is a file itself, its name.
RelativePaths = dict[Path, Path]


def _is_no_input(folder: Path) -> bool:
    return False


def expand_inputs(
    inputs: Iterable[str], suffixes: frozenset[str], is_input: Test = _is_no_input
) -> RelativePaths:
    """Return the input files of the arguments, each once by its full path, in their order.

    An argument is a file, a folder (its files with one of `suffixes`, at all levels, sorted,
    without hidden ones), a glob, or `@list.txt` with one argument per line (`@-`: stdin), where
    lines that begin with `#` are comments. A file argument may have any suffix. A folder for which
    `is_input` is true is one input. If one of several arguments has no inputs, it is returned
    itself, so that its reader reports it and the others are done.

    Returns:
        the relative path of each input, which names its output: for a file, its name; in a folder,
        the path from there; for a glob, the path from its first part with a wildcard; in a list,
        the path as written there, if it is relative and does not leave the folder with `..`.

    Raises:
        InputError: the only argument is a dead link, or a folder, glob or list without inputs.
    """
    return _expand_all(list(inputs), suffixes, is_input, ())


def expand_media(
    inputs: Iterable[str], suffixes: frozenset[str], is_input: Test = _is_no_input, *, audio: bool
) -> RelativePaths:
    """Do what `expand_inputs` does; audio files in folders are inputs only if `audio` is true.

    Raises:
        InputError: as `expand_inputs`.
    """
    arguments = list(inputs)
    if audio:
        return expand_inputs(arguments, suffixes | AUDIO_SUFFIXES, is_input)
    try:
        return expand_inputs(arguments, suffixes, is_input)
    except InputError as error:
        if not any(map(_has_audio, arguments)):
            raise
        hint = "audio files in folders are inputs only with --modality audio"
        raise InputError(f"{error}; {hint}") from error


def _has_audio(folder: str) -> bool:
    files = (name for _, _, names in walk_folders(folder) for name in names)
    return any(Path(name).suffix.lower() in AUDIO_SUFFIXES for name in files)


def locate_inputs(inputs: Iterable[str | Path]) -> RelativePaths:
    """Return the relative path of each input; for plain paths, their names."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    return {path: _name_alone(path) for path in map(Path, inputs)}


def _name_alone(path: Path) -> Path:
    return Path(os.path.basename(os.path.abspath(path)))


def relate_path(path: str | Path, start: str | Path = os.curdir) -> str:
    """Return a path relative to a folder; the absolute one if it is on another drive of Windows."""
    try:
        return os.path.relpath(path, start)
    except ValueError:
        return os.path.abspath(path)


def _find_relative(path: Path, root: Path | str) -> Path:
    """Return the path relative to `root`, or only the name if it is not below it."""
    below = Path(relate_path(path, root))
    return _name_alone(path) if ".." in below.parts or below.is_absolute() else below


def _expand_all(
    arguments: Sequence[str], suffixes: frozenset[str], is_input: Test, lists: tuple[str, ...]
) -> RelativePaths:
    """Expand each argument; `lists` are the lists that contain them, the innermost last."""
    found: dict[str, tuple[Path, Path]] = {}
    for argument in arguments:
        try:
            relative_paths = _expand(argument, suffixes, is_input, lists)
        except InputError:
            if len(arguments) == 1:
                raise
            relative_paths = locate_inputs([Path(argument)])
        for path, relative in relative_paths.items():
            found.setdefault(os.path.abspath(path), (path, relative))
    return dict(found.values())


def _expand(
    argument: str, suffixes: frozenset[str], is_input: Test, lists: tuple[str, ...]
) -> RelativePaths:
    path = Path(argument)
    # `os.path` returns false where `Path` raises (permissions, long names); readers report it.
    if os.path.isdir(path):
        return _expand_folder(path, suffixes, is_input)
    if os.path.exists(path):
        return locate_inputs([path])
    if os.path.islink(path):
        check_input(path)
    if argument.startswith("@"):
        name = argument[1:] if argument == STDIN_LIST else os.path.realpath(argument[1:])
        if name in lists:
            raise InputError(f"the list {argument[1:]} names itself")
        lines = _read_list(argument)
        listed = _expand_all(lines, suffixes, is_input, (*lists, name))
        return {
            path: relative if path.is_absolute() else _find_relative(path, ".")
            for path, relative in listed.items()
        }
    if glob.has_magic(argument):
        matches = list(map(str, match_pattern(argument)))
        if not matches:
            raise InputError(f"nothing matches {argument}")
        root = find_root(argument)
        matched = _expand_all(matches, suffixes, is_input, lists)
        return {path: _find_relative(path, root) for path in matched}
    if "://" in argument:
        raise InputError(f"{argument} is an address; download the file and give its name")
    return locate_inputs([path])


def _expand_folder(folder: Path, suffixes: frozenset[str], is_input: Test) -> RelativePaths:
    if is_input(folder):
        return locate_inputs([folder])
    found = scan_folder(folder, suffixes, is_input)
    if not found:
        what = f"{' '.join(sorted(suffixes))} file" if suffixes else "folder that `abaw crop` wrote"
        raise InputError(f"{folder} has no {what}")
    return {path: path.relative_to(folder) for path in found}


def _read_list(argument: str) -> list[str]:
    """Return the arguments in a list, without empty lines and comments."""
    path = "stdin" if argument == STDIN_LIST else argument[1:]
    if not path:
        raise InputError("@ names no list; give @FILE, or @- for a list from stdin")
    try:
        data = sys.stdin.buffer.read() if argument == STDIN_LIST else Path(path).read_bytes()
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except OSError as error:
        raise InputError(explain_os_error(path, error)) from error
    except UnicodeDecodeError as error:
        check_encoding(path)
        raise InputError(f"cannot read the list {path}: {explain_bytes(data)}") from error
    if any("\0" in line for line in lines):
        raise InputError(f"the list {path} is no plain text; save it as UTF-8")
    arguments = [line for line in lines if line and not line.startswith("#")]
    if not arguments:
        raise InputError(f"the list {path} is empty")
    return arguments


def check_exists(path: str | Path) -> None:
    """Check that an input that is matched by its name, and not always read, exists.

    Raises:
        InputError: it does not.
    """
    try:
        os.stat(path)
    except OSError as error:
        raise InputError(explain_os_error(path, error)) from error


def check_input(path: str | Path) -> None:
    """Check that an input is not of a kind that no reader supports.

    Raises:
        InputError: a dead link, or a pipe, socket or device, because files are read more than once.
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
        raise InputError(f"{path} is a pipe, which cannot be read; write it to a file first")
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{path} is a device or socket, not a file")


def warn_left_out(what: str, names: Sequence[str]) -> None:
    """Warn of inputs that are left out, if any; `what` is such as "features have no annotation"."""
    if names:
        more = ", ..." if len(names) > NAMED else ""
        shown = ", ".join(sorted(names)[:NAMED]) + more
        LOG.warning("%d %s and are left out: %s", len(names), what, shown)
