"""Self-describing weight files: safetensors with a JSON description in the header.

The description says what the weights are (`kind`, `backbone`), how their input is prepared and
where they come from, so that loading needs nothing but the file. No pickle.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from abawcli.errors import CheckpointError
from abawcli.formats.atomic import write_whole

FORMAT = 1  # raised when a reader of the older description would go wrong
METADATA_KEY = "abaw"


def save_checkpoint(path: Path, tensors: dict[str, torch.Tensor], about: dict[str, Any]) -> None:
    """Write tensors and their description to `path`, whole or not at all.

    Raises:
        OutputError: the place cannot be written.
    """
    header = {METADATA_KEY: json.dumps({"format": FORMAT} | about)}
    with write_whole(path) as temporary:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, header)


def halve_matrices(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights with matrices in half precision: half the size, for less than a score tells.

    Vectors (biases, means, deviations) are few, and stay as they are.
    """
    return {name: v.half() if v.ndim > 1 else v for name, v in tensors.items()}


def load_checkpoint(path: Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the description of a checkpoint of the given kind.

    Raises:
        CheckpointError: no such file, not a checkpoint of abaw, of a newer format, or of
            another kind than asked for.
    """
    about = describe_checkpoint(path)
    if about.get("kind") != kind:
        raise CheckpointError(f"{path} holds {about.get('kind')!r} weights, {kind!r} is needed")
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118


def describe_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint's description without reading its weights.

    Raises:
        CheckpointError: no such file, or not a checkpoint that this version can read.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"no such checkpoint: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error
    if text is None:
        raise CheckpointError(
            f"{path} has no description of abaw in its header; "
            "checkpoints come from `abaw train`, backbones are given by folder or hub name"
        )
    try:
        about: dict[str, Any] = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} has a damaged description: {error}") from error
    if not isinstance(about.get("format"), int) or about["format"] > FORMAT:
        raise CheckpointError(
            f"{path} is of format {about.get('format')!r}, this version reads up to {FORMAT}: "
            "upgrade abawcli"
        )
    return about


def find_place(name: str) -> str:
    """Return a name by which weights are found again from anywhere: a path becomes absolute."""
    return os.path.abspath(name) if os.path.exists(name) else name
