"""What one step of training an encoder does: settings, order of images, shares of processes."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from face_runs import FAST, STUDENT, run, save_images, spy, teach
from raw_checkpoints import read_raw
from tiny_models import save_vision_backbone

from abawcli.config import (
    COMPACT_FACE,
    NO_IMAGE_AUGMENTATION,
    CompactFaceShape,
    EncoderTraining,
    default_training,
)
from abawcli.errors import UsageError
from abawcli.formats.manifest import read_manifest
from abawcli.models.encoder import load_encoder
from abawcli.models.image_backbones import build_backbone
from abawcli.training import distributed, face_task
from abawcli.training.distributed import Part
from abawcli.training.face_task import FaceNetwork, FaceTask, draw_order, split_order
from abawcli.training.losses import class_weights, mix_up, soft_cross_entropy


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return save_images(tmp_path / "images")


@pytest.mark.parametrize("joint", [False, True])
def test_backbone_learns_through_the_classifier_only_if_it_is_joint(joint: bool) -> None:
    config = replace(default_training(COMPACT_FACE), joint_classifier=joint)
    trainee = FaceNetwork(build_backbone(COMPACT_FACE), config)
    pixels = torch.randn(4, 1, 44, 44)
    for head, taught in ((0, True), (1, joint)):
        trainee.zero_grad()
        trainee(pixels)[1][head].square().sum().backward()
        reached = [p.grad is not None for p in trainee.backbone.parameters()]
        assert all(reached) if taught else not any(reached)


def test_training_uses_what_the_settings_say(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, mixed, clipped, rates = [], [], [], []
    monkeypatch.setattr(face_task, "soft_cross_entropy", spy(losses, soft_cross_entropy))
    monkeypatch.setattr(face_task, "mix_up", spy(mixed, mix_up))
    monkeypatch.setattr(
        "accelerate.Accelerator.clip_grad_norm_",
        spy(clipped, Accelerator.clip_grad_norm_),
    )
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *args: Any, **options: Any) -> Any:
        rates.append(self.param_groups[-1]["lr"])
        return original(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run(images, tmp_path / "run", FAST)
    counts = torch.full((8,), 3.0)
    for _, _, weight, smoothing in losses:
        assert torch.allclose(weight, class_weights(counts, 1.0)) and smoothing == 0.1
    assert {alpha for _, _, alpha, _ in mixed} == {0.2}
    assert {norm for _, _, norm in clipped} == {1.0}
    steps = torch.arange(9) / 9  # three epochs of three batches
    cosine = 3e-4 * 0.5 * (1 + torch.cos(torch.pi * steps))
    assert rates == pytest.approx(cosine.tolist())


def make_task(images: Path) -> FaceTask:
    """Return the task of training compact-face on images."""
    splits = read_manifest(images / "manifest.csv", images)
    backbone = build_backbone("compact-face", CompactFaceShape(8, (8, 16), (1, 1)))
    config = replace(EncoderTraining(), moe=None)
    return FaceTask(backbone, splits, config, torch.device("cpu"), settings={}, data={})


def test_processes_share_the_evaluation(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_task, "MAP_BATCH", 3)
    task = make_task(images)
    count = len(task.valid)
    assert count % 3 and count > 6
    whole = task._classify_valid(task.network, Part())
    assert whole.shape == (1, count, 8)
    found: dict[int, torch.Tensor] = {}

    def keep(items: dict[int, torch.Tensor]) -> list[torch.Tensor]:
        assert items and not items.keys() & found.keys()
        found.update(items)
        return list(items.values())

    monkeypatch.setattr(face_task, "gather_items", keep)
    for index in range(2):
        own = task._classify_valid(task.network, Part(index, 2))
        assert own.shape[1] < count
    parts = [found[k] for k in sorted(found)]
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_items_of_processes_are_put_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "gather_object", lambda own: [*own, (3, "d"), (1, "b")])
    assert distributed.gather_items({0: "a", 2: "c"}) == ["a", "b", "c", "d"]


@pytest.mark.slow
def test_two_processes_score_what_one_scores(images: Path, tmp_path: Path) -> None:
    """Batch norm has other statistics in each process, until they are shared."""
    out, script = tmp_path / "run", tmp_path / "train.py"
    script.write_text(
        "from abawcli.cli import main\n"
        "from abawcli.training import face_task\n"
        "face_task.MAP_BATCH = 3\n"
        "main()\n"
    )
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    options = ["--backbone", "compact-face", "--epochs", "1", "--batch-size", "4"]
    options += ["--device", "cpu", "--precision", "float32", "--teacher", "compact-face"]
    options += ["--teacher-images", "clean", "--feature-weight", "1"]
    subprocess.run(
        [sys.executable, *run, "train", "face", "--images", images, "-o", out, *options,
         "--manifest", images / "manifest.csv"],
        check=True, timeout=120,
    )  # fmt: skip
    logged = json.loads((out / "metrics.jsonl").read_text())
    encoder, _ = load_encoder(out / "encoder.safetensors", torch.device("cpu"))
    task = make_task(images)
    network = FaceNetwork(encoder.backbone, task.config, encoder.classifier)
    scored = task.validate(network)
    assert scored.loss == pytest.approx(logged["valid_loss"], rel=2e-2)  # matrices are halved
    assert scored.accuracy == logged["accuracy"]


def test_rare_classes_are_drawn_more_often() -> None:
    targets = torch.eye(8)[torch.tensor([0] * 90 + [1] * 10)]
    mass = targets.sum(dim=0)
    chances = targets @ class_weights(mass, 1.0)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([draw_order(chances, 100, generator) for _ in range(50)])
    assert (drawn >= 90).float().mean() == pytest.approx(0.5, abs=0.03)
    assert sorted(draw_order(None, 100, generator)) == list(range(100))


def test_logit_adjustment_adds_log_frequencies_in_training_only(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(face_task, "soft_cross_entropy", spy(seen, soft_cross_entropy))
    table = pd.read_csv(images / "manifest.csv").head(27)  # four images of some classes
    table.loc[24:, "split"] = "Train"
    table = pd.concat([table, pd.read_csv(images / "manifest.csv").tail(5)])
    table.to_csv(images / "manifest.csv", index=False)
    config = replace(STUDENT, backbone_lr=0.0, head_lr=0.0, augmentation=NO_IMAGE_AUGMENTATION)
    for factor in (0.0, 1.0):
        teach(images, tmp_path / f"run{factor}", [], replace(config, logit_adjustment=factor))
    prior = torch.tensor([4.0, 4, 4, 3, 3, 3, 3, 3]) / 27
    assert len(seen) == 4
    assert torch.allclose(seen[2][0] - seen[0][0], prior.log().expand(12, 8), atol=1e-5)
    kept = [read_raw(tmp_path / f"run{f}/encoder.safetensors")[0] for f in (0.0, 1.0)]
    assert torch.equal(kept[0]["classifier.bias"], kept[1]["classifier.bias"])


def test_layer_decay_and_freezing_follow_depth(tmp_path: Path) -> None:
    backbone = build_backbone(str(save_vision_backbone(tmp_path)))
    config = replace(EncoderTraining(), frozen_blocks=1)
    groups = FaceNetwork(backbone, config).parameter_groups(config)
    depth = backbone.depth_groups()
    assert not any(p.requires_grad for p in [*depth[0], *depth[1]])
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert all(rate[id(p)] == pytest.approx(1e-5 * 0.85) for p in depth[2])
    assert all(rate[id(p)] == pytest.approx(1e-5) for p in [*depth[3], *depth[4]])
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert all(decay[id(p)] == (0.05 if p.ndim > 1 else 0) for p in depth[3])


def test_processes_share_the_batches_of_an_epoch() -> None:
    order = list(range(10))
    parts = [split_order(order, 2, Part(k, 2)) for k in range(2)]
    assert parts == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]
    assert split_order(order[:3], 4, Part()) == [[0, 1, 2]]
    with pytest.raises(UsageError, match="3 images are too few for 4 processes"):
        split_order(order[:3], 4, Part(0, 4))
