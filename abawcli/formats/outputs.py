"""Paths of outputs: names that follow from the inputs, and checks before any work is done.

The name of an output depends only on its input: it is the input's relative path
(`inputs.RelativePaths`) with another suffix. Two inputs that would share an output are an error.
"""

import os
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

from abawcli.errors import OutputError, UsageError
from abawcli.formats.atomic import NAME_BYTES, check_name
from abawcli.formats.inputs import locate_inputs
from abawcli.formats.names import compose_name, decode_name, name_input
from abawcli.formats.provenance import Provenance, find_finished, provenance_path

# Suffixes that cannot be part of a folder's name: common formats, also those not written here.
FILE_SUFFIXES = frozenset(
    {".csv", ".parquet", ".tsv", ".txt", ".xlsx", ".xls", ".ods", ".json", ".feather"}
    | {".safetensors", ".npy", ".npz", ".pkl", ".h5", ".jpg", ".png", ".pdf", ".mp4"}
)


def check_apart(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Check, before any work is done, that no output would replace an input.

    Raises:
        UsageError: an output is an input, also through links.
    """
    taken = {os.path.realpath(path) for path in inputs}
    for output in outputs:
        if os.path.realpath(output) in taken:
            raise UsageError(f"{output} is an input and would be replaced; choose another -o")


def check_outside(output: str | Path, inputs: Iterable[str]) -> None:
    """Check that an output is not in an input folder, where it would be an input the next time.

    Raises:
        UsageError: it is in one, also through links.
    """
    output = Path(output)
    real = Path(os.path.realpath(output))
    for folder in filter(os.path.isdir, inputs):
        if real.is_relative_to(os.path.realpath(folder)):
            raise UsageError(f"{output} is in the input {folder}; choose a folder beside it")


def check_results(
    outputs: Iterable[str | Path],
    inputs: Iterable[str | Path],
    work: Provenance,
    overwrite: bool,
) -> None:
    """Check, before any work is done, that outputs may be written and replace nothing else.

    Raises:
        UsageError: an output is an input.
        OutputError: as `check_writable` and `provenance.find_finished`.
    """
    outputs = list(outputs)
    check_apart(outputs, inputs)
    check_writable(outputs)
    for output in outputs:
        find_finished(output, work, overwrite)


def check_writable(outputs: Iterable[str | Path]) -> None:
    """Check, before any work is done, that outputs can be written.

    Raises:
        OutputError: the output has no name, as `.`; the name of the output, its provenance or a
            temporary file is too long; the output is a dead link; or its folder is no folder or
            not writable.
    """
    folders: dict[Path, Path] = {}  # with one of their outputs
    for output in map(Path, outputs):
        check_name(output)
        longest = len(os.fsencode(provenance_path(output).name))
        above = max((len(os.fsencode(part)) for part in output.parts[:-1]), default=0)
        if max(longest, above) > NAME_BYTES:
            long = max(output.parts, key=lambda part: len(os.fsencode(part)))
            raise OutputError(
                f"cannot write {output}: File name too long ({len(os.fsencode(long))} bytes; with "
                f"what is written beside it, it must stay within {NAME_BYTES}); shorten the "
                "input's name, or -o"
            )
        if os.path.islink(output) and not os.path.exists(output):
            raise OutputError(
                f"cannot write {output}: it is a dead link (to {os.readlink(output)}); remove it"
            )
        folders.setdefault(output.parent, output)
    for folder, output in folders.items():
        _check_folder(folder, output)


def _check_folder(folder: Path, output: Path) -> None:
    """Check that a folder, or else the nearest existing one above it, is writable."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not os.path.isdir(there):
        raise OutputError(f"cannot write {output}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {output}: {there} is not writable; choose another -o")


def check_folder_name(output: str | Path) -> None:
    """Check, before any work is done, that a folder to write into is not named like a file.

    Raises:
        UsageError: its name has the suffix of a common format of files, or is one, and no such
            folder exists.
    """
    output = Path(output)
    if os.path.isdir(output):
        return
    _check_named(output, FILE_SUFFIXES)
    if output.suffix.lower() in FILE_SUFFIXES:
        raise UsageError(
            f"{output} is named like a file, and -o is a folder here; leave out {output.suffix}"
        )


def _check_named(output: Path, suffixes: frozenset[str]) -> None:
    """Refuse a suffix without a name, as of a shell variable that is not set: `$name.csv`."""
    if output.name.lower() in suffixes:
        raise UsageError(f"{output} is a suffix without a name; give a name before it")


def is_folder_name(output: str | Path, suffixes: frozenset[str], count: int) -> bool:
    """Tell whether `-o` is a folder: an existing one, or a name without a file suffix.

    A name with one of `suffixes` is a file. Other names, such as `out_0.3`, are folders, unless
    they are probably meant as files: with suffixes of common formats, or, for one input, any suffix
    with a letter. Without `suffixes`, every name is a folder.

    Args:
        output: the value of `-o`.
        suffixes: of files that can be written.
        count: number of inputs.

    Raises:
        UsageError: the name is probably meant as a file of another format, is a suffix alone, or is
            a file for several inputs.
    """
    output = Path(output)
    if not suffixes or os.path.isdir(output):
        return True
    _check_named(output, FILE_SUFFIXES | suffixes)
    suffix = output.suffix.lower()
    if suffix in suffixes:
        if count > 1:
            raise UsageError(f"{count} inputs need a folder as -o, not the file {output}")
        return False
    if suffix in FILE_SUFFIXES or (count == 1 and any(map(str.isalpha, suffix))):
        formats = " or ".join(sorted(suffixes))
        raise UsageError(f"{output} must end in {formats}, or be a folder")
    return True


def name_videos(inputs: Iterable[str | Path], keep_suffix: bool = False) -> dict[Path, str]:
    """Return the name of each input in tables: its relative path, without the suffix of files.

    Folders are separated by `/`. With `keep_suffix`, the suffix is part of the name.

    Raises:
        UsageError: an input has no valid name, or two have the same one; `keep_suffix`, or the
            folder above both as the input, may distinguish them.
    """
    relative_paths = locate_inputs(inputs)
    names: dict[Path, str] = {}
    for path, relative in relative_paths.items():
        whole = keep_suffix or os.path.isdir(path)
        names[path] = relative.as_posix() if whole else name_input(relative)
        parts = names[path].split("/")
        if relative.is_absolute() or set(parts) & {"", ".", ".."}:
            raise UsageError(f"{path}: no output can be named after {relative}; rename it")
    taken: dict[str, Path] = {}
    for path, name in names.items():
        other = taken.setdefault(compose_name(name), path)
        if other != path:
            raise UsageError(
                _explain_clash(
                    other, path, decode_name(name), relative_paths, keep_suffix=keep_suffix
                )
            )
    return names


def _explain_clash(
    one: Path, other: Path, name: str, relative_paths: Mapping[Path, Path], *, keep_suffix: bool
) -> str:
    """Return the message that two inputs have one name, and how to distinguish them."""
    kept = not keep_suffix and compose_name(str(relative_paths[one])) != compose_name(
        str(relative_paths[other])
    )
    way = "give --keep-suffix" if kept else "give the folder above both, or run them apart"
    return f"{one} and {other} are both called {name}; {way}"


def name_outputs(
    inputs: Iterable[str | Path],
    output: str | Path,
    suffix: str | None = None,
    suffixes: frozenset[str] = frozenset(),
    *,
    keep_suffix: bool = False,
) -> dict[Path, Path]:
    """Return the path of each input's output: the file `output`, or files in that folder.

    Args:
        inputs: paths, or `inputs.RelativePaths`.
        output: the value of `-o`.
        suffix: of outputs in a folder, whose names are those of `name_videos`; "": they are
            folders; None: they have the full names of their inputs.
        suffixes: of files, as for `is_folder_name`.
        keep_suffix: as for `name_videos`.

    Raises:
        UsageError: there are several inputs for one file, an output is an input, two inputs would
            share an output, or the output of one would be in the folder of another.
        OutputError: as `check_writable`.
    """
    output = Path(output)
    relative_paths = locate_inputs(inputs)
    if is_folder_name(output, suffixes, len(relative_paths)):
        names = name_videos(relative_paths, keep_suffix or suffix is None)
        outputs = {path: output / f"{name}{suffix or ''}" for path, name in names.items()}
    else:
        outputs = dict.fromkeys(relative_paths, output)
    _check_nested(outputs)
    if suffix != "":  # folders replace no file
        check_apart(outputs.values(), relative_paths)
    check_writable(outputs.values())
    return outputs


def _check_nested(outputs: Mapping[Path, Path]) -> None:
    """Check that no output is inside another one."""
    inputs = {output.parts: path for path, output in outputs.items()}
    for outer, inner in pairwise(sorted(inputs)):
        if inner[: len(outer)] == outer:
            raise UsageError(
                f"the output of {inputs[inner]} would be inside that of {inputs[outer]}; "
                "give --keep-suffix, or run them apart"
            )
