"""Self-describing checkpoints and their errors."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from abawcli.errors import CheckpointError
from abawcli.formats.hashing import hash_file
from abawcli.models.checkpoint import (
    FORMAT,
    describe_checkpoint,
    load_checkpoint,
    save_checkpoint,
)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "x.safetensors"
    weights = {"a": torch.randn(2, 3).t(), "n": torch.tensor(5)}
    save_checkpoint(path, weights, {"kind": "encoder", "classes": ["x"]})
    tensors, about = load_checkpoint(path, "encoder")
    assert torch.equal(tensors["a"], weights["a"]) and tensors["n"] == 5
    assert about["classes"] == ["x"]
    assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, {"a": torch.zeros(1)}, {"kind": "encoder"})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_checkpoint(path, {"a": torch.ones(1)}, {"kind": object()})
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.write_text("not safetensors at all"), "not a safetensors file"),
        (lambda p: save_file({"a": torch.zeros(1)}, p), "no description of abaw"),
        (lambda p: save_file({"a": torch.zeros(1)}, p, {"abaw": "{half"}), "damaged description"),
        (lambda p: save_checkpoint(p, {"a": torch.zeros(1)}, {"kind": "head"}), "'encoder' is"),
        (
            lambda p: save_file(
                {"a": torch.zeros(1)}, p, {"abaw": json.dumps({"format": FORMAT + 1})}
            ),
            "upgrade",
        ),
    ],
)
def test_errors_say_what_is_wrong(tmp_path: Path, make, message: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "x.safetensors"
    make(path)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, "encoder")


def test_truncated_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, {"a": torch.randn(100)}, {"kind": "encoder"})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        describe_checkpoint(path)


def test_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert hash_file(tmp_path / "f").startswith("ba7816bf")
