"""Training the dual-branch head: both modalities, resuming, its schedule and running mean."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from head_runs import list_files, run
from raw_checkpoints import read_raw
from sample_features import NAMES, SMALL_DUAL, VISUAL, make_features, save_videos

from abawcli.config import Smoothing, default_head_training
from abawcli.datasets.annotated import read_annotated
from abawcli.errors import UsageError
from abawcli.formats.metadata import Backbones
from abawcli.metrics import choose_labels
from abawcli.models.heads import load_head
from abawcli.stages.train_head import Files, hold_out, train_fusion_head
from abawcli.training import head_task, objectives
from abawcli.training.losses import effective_weights, focal_loss
from abawcli.training.window_samples import WindowSamples, drop_modalities

CPU = torch.device("cpu")
DUAL = replace(default_head_training("dual-branch"), epochs=4, batch_frames=60, lr=5e-3)

LEARNING = replace(DUAL, epochs=8, batch_frames=120, lr=1e-2)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return list_files(save_videos(tmp_path, NAMES))


def classify(path: Path, **options: Any) -> Any:
    head, _ = load_head(path, CPU)
    features = make_features(np.repeat(np.arange(8), 10), seed=100, **options)
    p, _ = head.classify(features.visual, features.audio, features.has_visual, features.has_audio)
    return choose_labels(p)


def test_the_dual_branch_learns_with_either_modality(files: Files, tmp_path: Path) -> None:
    history = run(files, tmp_path / "run", "dual-branch", config=LEARNING)
    assert history[-1].loss < history[0].loss / 2
    truth = np.repeat(np.arange(8), 10)
    for options in ({}, {"missing": 0.6}, {"backbones": Backbones(VISUAL)}):
        found = classify(tmp_path / "run/head.safetensors", **options)
        assert (found == truth).mean() > 0.7
    _, metadata = read_raw(tmp_path / "run/head.safetensors")
    assert metadata["network"] == asdict(SMALL_DUAL)
    assert metadata["smoothing"] == Smoothing().to_json()
    assert metadata["result"] == max(history, key=lambda row: row.criterion or 0).to_json()


def test_interrupted_dual_branch_ends_with_the_same_weights(files: Files, tmp_path: Path) -> None:
    config = replace(DUAL, epochs=2, batch_frames=200)
    run(files, tmp_path / "whole", "dual-branch", config=config)

    def stop(done: int, total: int | None, what: str) -> None:
        if what.startswith("epoch 2") and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(files, tmp_path / "cut", "dual-branch", config=config, progress=stop)
    run(files, tmp_path / "cut", "dual-branch", config=config)
    for name in ("head.safetensors", "last.safetensors", "metrics.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_dual_branch_training_is_what_the_settings_say(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, rates, drops = [], [], []
    step = torch.optim.AdamW.step

    def note_loss(*arguments: Any) -> torch.Tensor:
        if arguments[0].requires_grad:  # not the validation loss
            calls.append(arguments)
        return focal_loss(*arguments)

    def note_rate(self: torch.optim.AdamW, *args: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        assert self.param_groups[0]["weight_decay"] == 1e-2
        return step(self, *args)

    def note_drop(*arguments: Any) -> Any:
        drops.append(arguments[2])
        return drop_modalities(*arguments)

    monkeypatch.setattr(objectives, "focal_loss", note_loss)
    monkeypatch.setattr(head_task, "drop_modalities", note_drop)
    monkeypatch.setattr(torch.optim.AdamW, "step", note_rate)
    run(files, tmp_path / "run", "dual-branch", config=replace(DUAL, epochs=2, lr=1e-4))
    warm = round(0.1 * len(rates))
    assert warm > 2
    ascent = [1e-4 * (k + 1) / (warm + 1) for k in range(warm)]
    cosine = [1e-4 * 0.5 * (1 + math.cos(math.pi * k / (len(rates) - warm)))
              for k in range(len(rates) - warm)]  # fmt: skip
    assert rates == pytest.approx(ascent + cosine)
    assert set(drops) == {0.1} and len(drops) == len(calls) == len(rates)
    train, _ = hold_out(read_annotated(*files), 5)
    samples = WindowSamples(train, ("visual", "audio"), 12, 5)
    alpha = effective_weights(samples.labels().bincount(minlength=8), 0.9999)
    for logits, y, gamma, weight in calls:
        assert gamma == 2 and torch.allclose(weight, alpha)
        assert len(logits) == len(y) and not logits.isnan().any()


def test_the_running_mean_is_what_is_kept(files: Files, tmp_path: Path) -> None:
    once = replace(DUAL, epochs=1, batch_frames=200)
    run(files, tmp_path / "mean", "dual-branch", config=once)
    run(files, tmp_path / "last", "dual-branch", config=replace(once, ema_decay=0.0))
    mean, last = (
        load_head(tmp_path / name / "head.safetensors", CPU)[0].head.state_dict()
        for name in ("mean", "last")
    )
    for name in ("visual.norm.mean", "audio.norm.scale"):
        assert torch.equal(mean[name], last[name])
    assert not torch.equal(mean["classifier.layers.2.weight"], last["classifier.layers.2.weight"])


def test_windows_must_not_leave_frames_out(files: Files, tmp_path: Path) -> None:
    network = replace(SMALL_DUAL, stride_frames=13)
    with pytest.raises(UsageError, match="windows of 12 frames every 13"):
        train_fusion_head(files, tmp_path / "run", "dual-branch", replace(DUAL, network=network))
