"""Self-describing weight files: safetensors with metadata in the header, as JSON.

The metadata (`models.metadata`) describe the network, the preprocessing of its input and its
training, so that loading needs only the file. No pickle.
"""

import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.numpy import save_file
from torch import nn

from abawcli.errors import AbawError, CheckpointError, InputError
from abawcli.formats.atomic import write_whole
from abawcli.formats.json_values import JsonObject
from abawcli.formats.tensors import METADATA_KEY, open_tensors, read_header, saving_tensors
from abawcli.models.metadata import CheckpointMetadata

FORMAT = 1  # raised when older versions would misread new metadata
RUN_RESULTS = ("head.safetensors", "encoder.safetensors")  # weights in run folders of training
Network = TypeVar("Network", bound=nn.Module)
Metadata = TypeVar("Metadata", bound=CheckpointMetadata)
Tensors = Mapping[str, torch.Tensor]


def save_checkpoint(path: str | Path, tensors: Tensors, metadata: CheckpointMetadata) -> None:
    """Write tensors and their metadata to `path`, completely or not at all.

    Raises:
        OutputError: the path cannot be written.
    """
    with write_whole(path) as temporary:
        write_tensors(temporary, tensors, metadata)


def write_tensors(temporary: str | Path, tensors: Tensors, metadata: CheckpointMetadata) -> None:
    """Write tensors and their metadata to a temporary path.

    Raises:
        OSError: it cannot be written.
    """
    temporary = Path(temporary)
    header = {METADATA_KEY: json.dumps({"format": FORMAT} | metadata.to_json())}
    # Arrays of many small tensors are written in a quarter of the time that tensors take.
    arrays = {k: v.detach().cpu().contiguous().numpy() for k, v in tensors.items()}
    with saving_tensors(temporary) as target:
        save_file(arrays, target, header)


def halve_matrices(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Return weights with matrices in half precision: half the size, with the same scores.

    Vectors (biases, means, deviations) are small, and are not changed.
    """
    return {name: v.half() if v.ndim > 1 else v for name, v in tensors.items()}


def load_checkpoint(
    path: str | Path, record: type[Metadata]
) -> tuple[dict[str, torch.Tensor], Metadata]:
    """Return the tensors of a checkpoint, and its metadata as a record of the type `record`.

    Raises:
        CheckpointError: as `read_metadata`.
    """
    path = Path(path)
    metadata = read_metadata(path, record)
    with _open_checkpoint(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118


def read_metadata(path: str | Path, record: type[Metadata]) -> Metadata:
    """Return a checkpoint's metadata without reading its weights.

    Raises:
        CheckpointError: the file is missing, is not a checkpoint of abaw, has a newer format or
            another kind than `record`, or a value is missing or has another type.
    """
    path = Path(path)
    header = _read_header(path)
    if header.get("kind") != record.kind:
        raise CheckpointError(
            f"{path} holds {header.get('kind')!r} weights, {record.kind!r} is needed"
        )
    try:
        return record.from_json(header, path)
    except InputError as error:
        raise CheckpointError(str(error)) from error


def read_kind(path: str | Path) -> str | None:
    """Return the kind of a checkpoint, such as `encoder` or `head`; None if it has none.

    Raises:
        CheckpointError: the file is missing, or is not a checkpoint that this version can read.
    """
    kind = _read_header(Path(path)).get("kind")
    return None if kind is None else str(kind)


@contextmanager
def _open_checkpoint(path: Path) -> Iterator[Any]:
    try:
        with open_tensors(path, "pt") as file:
            yield file
    except InputError as error:
        inside = [name for name in RUN_RESULTS if (path / name).is_file()]
        hint = f"; give {path / inside[0]}" if inside else ""
        raise CheckpointError(f"{error}{hint}") from error


def _read_header(path: Path) -> JsonObject:
    with _open_checkpoint(path) as file:
        header = read_header(path, file)
    if header is None:
        raise CheckpointError(
            f"{path} has no metadata of abaw in its header; "
            "checkpoints come from `abaw train`, backbones are given by folder or hub name"
        )
    if not isinstance(header.get("format"), int) or header["format"] > FORMAT:
        raise CheckpointError(
            f"{path} is of format {header.get('format')!r}, this version reads up to {FORMAT}: "
            "upgrade abawcli"
        )
    return header


def load_network(
    path: str | Path,
    tensors: Tensors,
    shape: JsonObject,
    build: Callable[[], Network],
    *,
    what: str,
) -> Network:
    """Build the network that a checkpoint describes, and load the checkpoint's weights into it.

    The network is first built on the meta device, without memory, because metadata may state any
    size. They are refused if the file's weights have another size.

    Args:
        path: of the checkpoint.
        tensors: its weights.
        shape: the network's settings in its metadata.
        build: function that makes the network from them.
        what: kind of network, for messages.

    Raises:
        CheckpointError: the metadata describe no known network, or the weights do not fit it.
    """
    path = Path(path)
    held, claimed = sum(v.numel() for v in tensors.values()), _find_largest(shape)
    if claimed > held:  # as a number of layers, these would take for ever even without memory
        raise CheckpointError(f"{path} describes a size of {claimed:,}, and holds {held:,} numbers")
    try:
        with torch.device("meta"):
            empty = build()
    except (
        AbawError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        raise CheckpointError(f"{path} describes no {what} known here: {error!r}") from error
    load_into(empty, tensors, path, assign=True)
    if not any(v.is_meta for v in itertools.chain(empty.parameters(), empty.buffers())):
        return empty.float()  # files have matrices in half precision
    network = build()  # some tensors are no weights, and come from the constructor
    load_into(network, tensors, path)
    return network


def load_into(
    module: nn.Module, tensors: Tensors, path: str | Path, *, assign: bool = False
) -> None:
    """Load the weights of the file at `path` into a module; with `assign`, without copying them.

    Raises:
        CheckpointError: they do not fit the module.
    """
    try:
        module.load_state_dict(tensors, assign=assign)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{path} does not fit its network: {reason}") from error


def _find_largest(value: Any) -> int:
    """Return the largest whole number in JSON, 0 if there is none."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return max(map(_find_largest, value), default=0)
    return value if isinstance(value, int) else 0


def find_location(name: str) -> str:
    """Return a name that finds the weights from any working folder: a path becomes absolute."""
    return os.path.abspath(name) if os.path.exists(name) else name
