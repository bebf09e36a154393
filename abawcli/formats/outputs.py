"""Where outputs go: names that follow the inputs, and outputs that would replace an input."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from abawcli.errors import UsageError


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
