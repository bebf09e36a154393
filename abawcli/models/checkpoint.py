"""Self-describing weight files: safetensors with a JSON description in the header.

The description says what the weights are (`kind`, `backbone`), how their input is prepared and
where they come from, so that loading needs nothing but the file. No pickle.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import nn

from abawcli.errors import AbawError, CheckpointError, InputError
from abawcli.formats.atomic import write_whole
from abawcli.formats.tensors import METADATA_KEY, open_tensors, read_description, saving_tensors

FORMAT = 1  # raised when a reader of the older description would go wrong
Network = TypeVar("Network", bound=nn.Module)


def save_checkpoint(
    path: str | Path, tensors: dict[str, torch.Tensor], about: dict[str, Any]
) -> None:
    """Write tensors and their description to `path`, whole or not at all.

    Raises:
        OutputError: the place cannot be written.
    """
    path = Path(path)
    header = {METADATA_KEY: json.dumps({"format": FORMAT} | about)}
    with write_whole(path) as temporary, saving_tensors():
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, header)


def halve_matrices(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights with matrices in half precision: half the size, for less than a score tells.

    Vectors (biases, means, deviations) are few, and stay as they are.
    """
    return {name: v.half() if v.ndim > 1 else v for name, v in tensors.items()}


def load_checkpoint(path: str | Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the description of a checkpoint of the given kind.

    Raises:
        CheckpointError: no such file, not a checkpoint of abaw, of a newer format, or of
            another kind than asked for.
    """
    path = Path(path)
    about = describe_checkpoint(path)
    if about.get("kind") != kind:
        raise CheckpointError(f"{path} holds {about.get('kind')!r} weights, {kind!r} is needed")
    with _open_checkpoint(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118


@contextmanager
def _open_checkpoint(path: Path) -> Iterator[Any]:
    try:
        with open_tensors(path, "pt") as file:
            yield file
    except InputError as error:
        raise CheckpointError(str(error)) from error


def describe_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint's description without reading its weights.

    Raises:
        CheckpointError: no such file, or not a checkpoint that this version can read.
    """
    path = Path(path)
    with _open_checkpoint(path) as file:
        about = read_description(path, file)
    if about is None:
        raise CheckpointError(
            f"{path} has no description of abaw in its header; "
            "checkpoints come from `abaw train`, backbones are given by folder or hub name"
        )
    if not isinstance(about.get("format"), int) or about["format"] > FORMAT:
        raise CheckpointError(
            f"{path} is of format {about.get('format')!r}, this version reads up to {FORMAT}: "
            "upgrade abawcli"
        )
    return about


def load_network(
    path: str | Path,
    checkpoint: tuple[Mapping[str, torch.Tensor], Mapping[str, Any]],
    build: Callable[[], Network],
    what: str,
) -> Network:
    """Build the network that a loaded checkpoint describes, and give it the checkpoint's weights.

    It is first built without memory: a description may claim any size, and is refused if the
    file's weights are not of that size. `what` it is goes into messages.

    Raises:
        CheckpointError: the description is of nothing known here, or the weights do not fit it.
    """
    path = Path(path)
    tensors, about = checkpoint
    held, claimed = sum(v.numel() for v in tensors.values()), _find_largest(about.get("network"))
    if claimed > held:  # as a number of layers, these would take for ever even without memory
        raise CheckpointError(f"{path} describes a size of {claimed:,}, and holds {held:,} numbers")
    try:
        with torch.device("meta"):
            build().load_state_dict(tensors, assign=True)
        network = build()
        network.load_state_dict(tensors)
    except (AbawError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as e:
        raise CheckpointError(f"{path} describes no {what} known here: {e!r}") from e
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{path} does not fit the {what}: {reason}") from error
    return network


def _find_largest(value: Any) -> int:
    """Return the largest whole number in JSON, 0 where there is none."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return max(map(_find_largest, value), default=0)
    return value if isinstance(value, int) else 0


def find_place(name: str) -> str:
    """Return a name by which weights are found again from anywhere: a path becomes absolute."""
    return os.path.abspath(name) if os.path.exists(name) else name
