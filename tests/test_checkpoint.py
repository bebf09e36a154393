"""Self-describing checkpoints and their errors."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
import torch
from raw_checkpoints import write_raw
from safetensors.torch import save_file

from abawcli.errors import CheckpointError
from abawcli.formats.atomic import PREFIX
from abawcli.formats.hashing import hash_file
from abawcli.models import checkpoint
from abawcli.models.checkpoint import (
    FORMAT,
    load_checkpoint,
    read_kind,
    save_checkpoint,
)
from abawcli.models.training_metadata import EpochResult, TrainingState


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "x.safetensors"
    weights = {"a": torch.randn(2, 3).t(), "n": torch.tensor(5)}
    state = TrainingState([EpochResult(1, 0.5), EpochResult(2, 0.25)])
    save_checkpoint(path, weights, state)
    tensors, metadata = load_checkpoint(path, TrainingState)
    assert torch.equal(tensors["a"], weights["a"]) and tensors["n"] == 5
    assert metadata == state
    assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]


def test_safetensors_writes_in_a_folder_that_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []

    def save(arrays: dict[str, Any], target: Path, header: dict[str, str]) -> None:
        folders.append(target.parent.name)
        safetensors.numpy.save_file(arrays, target, header)

    monkeypatch.setattr(checkpoint, "save_file", save)
    save_checkpoint(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, TrainingState())
    assert [name[: len(PREFIX)] for name in folders] == [PREFIX]
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, {"a": torch.zeros(1)}, TrainingState())
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_checkpoint(path, {"a": torch.ones(1)}, TrainingState([EpochResult(1, object())]))  # type: ignore[arg-type]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.write_text("not safetensors at all"), "not a safetensors file"),
        (lambda p: save_file({"a": torch.zeros(1)}, p), "no metadata of abaw"),
        (lambda p: save_file({"a": torch.zeros(1)}, p, {"abaw": "{half"}), "damaged metadata"),
        (lambda p: write_raw(p, {"a": torch.zeros(1)}, {"kind": "head"}), "'training-state' is"),
        (
            lambda p: save_file(
                {"a": torch.zeros(1)}, p, {"abaw": json.dumps({"format": FORMAT + 1})}
            ),
            "upgrade",
        ),
    ],
)
def test_errors_say_what_is_wrong(tmp_path: Path, make, message: str) -> None:
    path = tmp_path / "x.safetensors"
    make(path)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, TrainingState)


def test_a_run_folder_is_not_its_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="it is a folder$"):
        read_kind(tmp_path)
    save_checkpoint(tmp_path / "head.safetensors", {"a": torch.ones(1)}, TrainingState())
    wrong = f"cannot read {tmp_path}: it is a folder; give {tmp_path}/head.safetensors"
    with pytest.raises(CheckpointError, match=re.escape(wrong)):
        read_kind(tmp_path)


def test_truncated_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, {"a": torch.randn(100)}, TrainingState())
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_kind(path)


def test_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert hash_file(tmp_path / "f").startswith("ba7816bf")
