"""Metrics for TensorBoard, whose package a module of the same interface stands for."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sample_features import NAMES, SMALL_GATED, save_videos

from abawcli.config import HeadTraining
from abawcli.stages.train_head import train_fusion_head

CONFIG = HeadTraining(epochs=2, batch_frames=400, network=SMALL_GATED, precision="float32")


class Writer:
    """A `SummaryWriter` whose log is a text file."""

    def __init__(self, log_dir: str, purge_step: int) -> None:
        self.path = Path(log_dir) / "log.jsonl"
        self.path.parent.mkdir(exist_ok=True)
        self.rows: list[Any] = [["purge", purge_step]]

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.rows.append([tag, value, step])

    def flush(self) -> None:
        with self.path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in self.rows)
        self.rows.clear()


def read_log(run: Path) -> Iterator[list[Any]]:
    return map(json.loads, (run / "tensorboard/log.jsonl").read_text().splitlines())


def test_metrics_are_logged_where_tensorboard_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = save_videos(tmp_path, NAMES)
    files = sorted(features.glob("*.safetensors")), sorted(labels.glob("*.txt"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    train_fusion_head(files, tmp_path / "without", config=CONFIG, device="cpu")
    assert not (tmp_path / "without/tensorboard").exists()
    fake = ModuleType("tensorboard")
    fake.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    run = tmp_path / "run"

    def stop(done: int, total: int | None, what: str) -> None:
        if what.startswith("epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_fusion_head(files, run, config=CONFIG, device="cpu", progress=stop)
    train_fusion_head(files, run, config=CONFIG, device="cpu")
    train_fusion_head(files, run, config=CONFIG, device="cpu")  # is finished: nothing is logged
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = list(read_log(run))
    assert [row[1] for row in rows if row[0] == "purge"] == [1, 2]
    for name in ("loss", "lr", "valid_loss", "macro_f1", "accuracy"):
        expected = [[name, epoch[name], epoch["epoch"]] for epoch in history]
        assert [row for row in rows if row[0] == name] == expected
    assert ["f1/Anger", history[1]["f1"]["Anger"], 2] in rows
    whole = replace(CONFIG, seed=1)
    train_fusion_head(files, run, config=whole, device="cpu", overwrite=True)
    assert ["purge", 1] in list(read_log(run))[len(rows) :]
