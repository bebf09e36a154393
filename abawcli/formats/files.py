"""Inputs as people name them, outputs that are whole or not there, and what made them."""

import glob
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from abawcli import __version__
from abawcli.errors import InputError, OutputError, UsageError

LOG = logging.getLogger(__name__)
NAMED = 5  # inputs that a warning names

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"}
    | {".wmv", ".flv", ".3gp", ".ogv", ".gif"}
)
SOUND_SUFFIXES = frozenset({".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus", ".wma"})
IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"])
PROVENANCE_SUFFIX = ".provenance.json"


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


def _name_temporary(path: Path) -> Path:
    """Return a name beside `path`; the suffix stays last: writers choose their format by it.

    Raises:
        OutputError: `path` is `.` or `/`, which have no name.
    """
    if not path.name:
        raise OutputError(f"cannot write {path}: it is a folder; give it a name in there")
    return path.with_name(f".{os.getpid()}.{path.name}")


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without error.

    Raises:
        OutputError: the place cannot be written.
    """
    temporary = _name_temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"cannot write {path}: {path.parent} is not a folder") from error
    except OSError as error:  # no permission, no space, a folder in the way, ...
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it has become `path`, or could not be made
            temporary.unlink()


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` when the block ends without error.

    Raises:
        OutputError: the place cannot be written.
    """
    temporary = _name_temporary(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        provenance_path(path).unlink(missing_ok=True)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def describe_work(
    command: str, inputs: Sequence[Path], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return an output's provenance: version, command, inputs, resolved settings.

    `inputs` become absolute paths, and `files` tells those that are files apart from later
    versions of themselves: their size in bytes and the time they were changed in ns. `settings`
    is JSON-like and holds what the result depends on, models with their sha256.
    """
    full = [os.path.abspath(path) for path in inputs]
    states = {path: os.stat(path) for path in full if os.path.isfile(path)}
    provenance: dict[str, Any] = json.loads(
        json.dumps(
            {
                "abawcli": __version__,
                "command": command,
                "inputs": full,
                "files": {path: [s.st_size, s.st_mtime_ns] for path, s in states.items()},
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


def read_provenance(output: Path) -> dict[str, Any]:
    """Return the provenance that stands beside `output`; empty where there is none."""
    try:
        there = json.loads(provenance_path(output).read_text())
    except (OSError, ValueError):
        return {}
    return there if isinstance(there, dict) else {}


def is_finished(output: Path, provenance: Mapping[str, Any], overwrite: bool) -> bool:
    """Tell whether `output` already holds just this work and can be skipped.

    An output of the same command and inputs is stale, and False is returned, if it was made
    with other settings or an input has changed since; one that is gone has not.

    Raises:
        OutputError: something else is in the way.
    """
    if overwrite or not os.path.exists(output):
        return False
    there = read_provenance(output)
    if any(there.get(key) != provenance[key] for key in ("command", "inputs")):
        raise OutputError(f"{output} exists and was not made from this input; use --overwrite")
    files = there.get("files", {}) | provenance["files"]
    return there == {**provenance, "files": files}


def check_apart(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Make sure, before any work is done, that no output would replace an input.

    Raises:
        UsageError: one would, under whatever name.
    """
    taken = {os.path.realpath(path) for path in inputs}
    for output in outputs:
        if os.path.realpath(output) in taken:
            raise UsageError(f"{output} is an input and would be replaced; choose another -o")


def check_outside(output: Path, inputs: Iterable[str]) -> None:
    """Refuse an output in an input folder: done again, its own files would be inputs.

    Raises:
        UsageError: it is in one, under whatever name.
    """
    place = Path(os.path.realpath(output))
    for folder in filter(os.path.isdir, inputs):
        if place.is_relative_to(os.path.realpath(folder)):
            raise UsageError(f"{output} is in the input {folder}; choose a folder beside it")


def name_outputs(
    inputs: Sequence[Path], output: Path, suffix: str | None = None
) -> dict[Path, Path]:
    """Return where each input's output goes: one to `output` itself, several into that folder.

    `output` is a folder too when it is one already or has no suffix. In a folder an output is
    called like its input, with `suffix` or else the input's own; inputs that share a name keep
    as much of their path or suffix as tells them apart.

    Raises:
        UsageError: several inputs for one file, or an output that is an input.
    """
    if output.suffix and not os.path.isdir(output):
        if len(inputs) > 1:
            raise UsageError(f"{len(inputs)} inputs need a folder as -o, not the file {output}")
        outputs = {path: output for path in inputs}
    else:
        names = _name_in_folder(inputs, suffix)
        outputs = {path: output / name for path, name in zip(inputs, names, strict=True)}
    if suffix != "":  # these are folders, which replace no file
        check_apart(outputs.values(), inputs)
    return outputs


def _name_in_folder(inputs: Sequence[Path], suffix: str | None) -> list[str]:
    names = [path.stem for path in inputs]
    if len(set(names)) < len(names):
        full = [Path(os.path.abspath(path)) for path in inputs]  # without any `..`
        root = Path(os.path.commonpath([path.parent for path in full]))
        places = [path.relative_to(root) for path in full]
        names = [str(place.with_suffix("")) for place in places]
        if len(set(names)) < len(names):
            names = [str(place) for place in places]
    return [
        name + (path.suffix if suffix is None else suffix)
        for path, name in zip(inputs, names, strict=True)
    ]
