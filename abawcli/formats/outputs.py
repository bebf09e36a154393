"""Where outputs go: names that follow the inputs, and outputs that cannot or must not be written.

The name of an output depends on its input alone, never on what else there is: the input's place
(`inputs.expand_inputs`) with its suffix replaced. Where two inputs would share an output, nothing
is done.
"""

import os
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

from abawcli.errors import OutputError, UsageError
from abawcli.formats.atomic import NAME_BYTES
from abawcli.formats.inputs import locate_inputs
from abawcli.formats.names import compose_name, decode_name, name_input
from abawcli.formats.provenance import provenance_path

# Names that cannot be meant as a folder's: formats that people know, and abaw does not write there.
FILE_SUFFIXES = frozenset(
    {".csv", ".parquet", ".tsv", ".txt", ".xlsx", ".xls", ".ods", ".json", ".feather"}
    | {".safetensors", ".npy", ".npz", ".pkl", ".h5", ".jpg", ".png", ".pdf", ".mp4"}
)


def check_apart(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Make sure, before any work is done, that no output would replace an input.

    Raises:
        UsageError: one would, under whatever name.
    """
    taken = {os.path.realpath(path) for path in inputs}
    for output in outputs:
        if os.path.realpath(output) in taken:
            raise UsageError(f"{output} is an input and would be replaced; choose another -o")


def check_outside(output: str | Path, inputs: Iterable[str]) -> None:
    """Refuse an output in an input folder: done again, its own files would be inputs.

    Raises:
        UsageError: it is in one, under whatever name.
    """
    output = Path(output)
    place = Path(os.path.realpath(output))
    for folder in filter(os.path.isdir, inputs):
        if place.is_relative_to(os.path.realpath(folder)):
            raise UsageError(f"{output} is in the input {folder}; choose a folder beside it")


def check_writable(outputs: Iterable[str | Path]) -> None:
    """Make sure, before any work is done, that outputs can be written where they are to go.

    Raises:
        OutputError: a name is too long for the output, its provenance or a temporary file; it is
            a link that leads nowhere; or the place is no folder, or must not be written to.
    """
    folders: dict[Path, Path] = {}  # and an output in each
    for output in map(Path, outputs):
        longest = len(os.fsencode(provenance_path(output).name))
        above = max((len(os.fsencode(part)) for part in output.parts[:-1]), default=0)
        if max(longest, above) > NAME_BYTES:
            long = max(output.parts, key=lambda part: len(os.fsencode(part)))
            raise OutputError(
                f"cannot write {output}: File name too long ({len(os.fsencode(long))} bytes; with "
                f"what is written beside it, it must stay within {NAME_BYTES})"
            )
        if os.path.islink(output) and not os.path.exists(output):
            raise OutputError(
                f"cannot write {output}: it is a dead link (to {os.readlink(output)}); remove it"
            )
        folders.setdefault(output.parent, output)
    for folder, output in folders.items():
        _check_folder(folder, output)


def _check_folder(folder: Path, output: Path) -> None:
    """Check the folder, or the first one above it that is there, in which it would be made."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not os.path.isdir(there):
        raise OutputError(f"cannot write {output}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(
            f"cannot write {output}: {there} must not be written to; choose another -o"
        )


def is_folder_name(output: str | Path, suffixes: frozenset[str], count: int) -> bool:
    """Tell whether `-o` is a folder, by what is there or else by its name.

    It is a file if it has one of `suffixes`. Any other name is a folder's, such as `out_0.3`,
    but for names that are clearly meant as files: formats that people know, and, if the `count`
    of inputs is 1, any suffix with a letter in it. Without `suffixes` it is always a folder.

    Raises:
        UsageError: it is such a name, or a file's for several inputs.
    """
    output = Path(output)
    if not suffixes or os.path.isdir(output):
        return True
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
    """Return what each input is called in tables: its place, without suffix if it is a file.

    Folders are separated by `/`. With `keep_suffix` it is `a.mov` of a.mov.

    Raises:
        UsageError: two inputs would have one name; `keep_suffix` or the folder above both tells
            them apart.
    """
    places = locate_inputs(inputs)
    names: dict[Path, str] = {}
    for path, place in places.items():
        whole = keep_suffix or os.path.isdir(path)
        names[path] = place.as_posix() if whole else name_input(place)
        parts = names[path].split("/")
        if place.is_absolute() or set(parts) & {"", ".", ".."}:
            raise UsageError(f"{path}: no output can be named after {place}; rename it")
    taken: dict[str, Path] = {}
    for path, name in names.items():
        other = taken.setdefault(compose_name(name), path)
        if other != path:
            raise UsageError(_explain_clash(other, path, decode_name(name), places, keep_suffix))
    return names


def _explain_clash(
    one: Path, other: Path, name: str, places: Mapping[Path, Path], keep_suffix: bool
) -> str:
    """Say that two inputs have one name, and what tells them apart."""
    kept = not keep_suffix and compose_name(str(places[one])) != compose_name(str(places[other]))
    way = "give --keep-suffix" if kept else "give the folder above both, or run them apart"
    return f"{one} and {other} are both called {name}; {way}"


def name_outputs(
    inputs: Iterable[str | Path],
    output: str | Path,
    suffix: str | None = None,
    suffixes: frozenset[str] = frozenset(),
    keep_suffix: bool = False,
) -> dict[Path, Path]:
    """Return where each input's output goes: one to `output` itself, or all into that folder.

    In a folder an output has the name of `name_videos` and `suffix`, which is "" for folders;
    None: it keeps the input's own, as a whole. `suffixes` are those of files, by which
    `is_folder_name` decides. All places can be written to.

    Raises:
        UsageError: several inputs for one file, an output that is an input, or two inputs that
            would share an output, or of which one's would stand in the other's folder.
        OutputError: as `check_writable`.
    """
    output = Path(output)
    places = locate_inputs(inputs)
    if is_folder_name(output, suffixes, len(places)):
        names = name_videos(places, keep_suffix or suffix is None)
        outputs = {path: output / f"{name}{suffix or ''}" for path, name in names.items()}
    else:
        outputs = dict.fromkeys(places, output)
    _check_nested(outputs)
    if suffix != "":  # folders replace no file
        check_apart(outputs.values(), places)
    check_writable(outputs.values())
    return outputs


def _check_nested(outputs: Mapping[Path, Path]) -> None:
    """Refuse an output that would stand in another one."""
    inputs = {output.parts: path for path, output in outputs.items()}
    for outer, inner in pairwise(sorted(inputs)):
        if inner[: len(outer)] == outer:
            raise UsageError(
                f"the output of {inputs[inner]} would stand in that of {inputs[outer]}; "
                "give --keep-suffix, or run them apart"
            )
