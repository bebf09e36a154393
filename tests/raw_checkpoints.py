"""Checkpoints as they stand in files: tensors, and metadata as JSON that no record has checked."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file


def read_raw(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the metadata of a checkpoint."""
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, Any] = json.loads(file.metadata()["abaw"])
    return load_file(path), metadata


def write_raw(path: str | Path, tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    """Write a checkpoint, whatever its metadata say."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    copied = {name: value.contiguous() for name, value in tensors.items()}
    save_file(copied, path, {"abaw": json.dumps({"format": 1} | metadata)})
