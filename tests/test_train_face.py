"""Training an encoder: results, resuming, errors."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peft
import pytest
import torch
from accelerate import Accelerator
from raw_checkpoints import read_raw, write_raw
from tiny_models import save_image_set, save_vision_backbone

from abawcli.config import (
    COMPACT_FACE,
    NO_IMAGE_AUGMENTATION,
    CompactFaceShape,
    Distillation,
    EncoderTraining,
    MoEHead,
    default_training,
)
from abawcli.errors import CheckpointError, InputError, OutputError, UsageError
from abawcli.formats.hashing import hash_file
from abawcli.formats.manifest import read_manifest
from abawcli.formats.metadata import Preprocess
from abawcli.models import precision
from abawcli.models.encoder import load_backbone, load_encoder
from abawcli.models.image_backbones import COMPACT_FACE_PREPROCESS, build_backbone
from abawcli.models.preprocessing import scale_to_unit
from abawcli.models.training_metadata import EpochResult
from abawcli.stages.train_face import train_face_encoder
from abawcli.training import distributed, face_task
from abawcli.training.distillation import Teachers, fit_images
from abawcli.training.distributed import Part
from abawcli.training.face_task import FaceNetwork, FaceTask, draw_order
from abawcli.training.image_augmentation import augment_images
from abawcli.training.losses import class_weights, mix_up, soft_cross_entropy

CPU = torch.device("cpu")
SMALL_MOE = MoEHead(experts=2, router_hidden=16, blocks=1)
FAST = replace(EncoderTraining(), epochs=3, batch_size=8, frozen_blocks=1, moe=SMALL_MOE)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    save_image_set(tmp_path / "images")
    save_vision_backbone(tmp_path / "images" / "vit", "vit")
    return tmp_path / "images"


def run(
    images: Path, out: Path, config: EncoderTraining = FAST, backbone: str = ""
) -> list[EpochResult]:
    """Train a tiny transformer, or another backbone, on the images."""
    name = backbone or str(images / "vit")
    return train_face_encoder(
        images, images / "manifest.csv", out, name, config=config, device="cpu"
    )


def test_run_writes_encoder_metrics_and_config(images: Path, tmp_path: Path) -> None:
    history = run(images, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows == [result.to_json() for result in history]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    tensors, about = read_raw(tmp_path / "run/encoder.safetensors")
    assert about["backbone"] == str(images / "vit")
    assert about["result"] == max(rows, key=lambda row: row["macro_f1"])
    assert about["preprocess"]["size"] == 28
    assert not any(name.startswith("head") for name in tensors)  # the training head is gone
    settings = json.loads((tmp_path / "run/config.json").read_text())
    assert settings["training"]["epochs"] == 3


def test_either_head_chooses_the_epoch(images: Path, tmp_path: Path) -> None:
    for select in ("linear", "moe"):
        history = run(
            images, tmp_path / select, replace(FAST, epochs=4, head_lr=0.03, select=select)
        )
        rows = [result.to_json() for result in history]
        assert all(0 <= row["moe_macro_f1"] <= 1 and row["valid_loss"] > 0 for row in rows)
        assert [row["lr"] for row in rows] == sorted((row["lr"] for row in rows), reverse=True)
        key = "moe_macro_f1" if select == "moe" else "macro_f1"
        _, about = read_raw(tmp_path / select / "encoder.safetensors")
        assert about["result"] == max(rows, key=lambda row: row[key])
    with pytest.raises(UsageError, match="a mixture-of-experts head that is not there"):
        run(images, tmp_path / "none", replace(FAST, moe=None, select="moe"))
    with pytest.raises(UsageError, match="unknown selection 'both'; choose linear or moe"):
        run(images, tmp_path / "none", replace(FAST, select="both"))


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_interrupted_run_ends_with_the_same_weights(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema_decay: float
) -> None:
    config = replace(FAST, epochs=2, ema_decay=ema_decay)
    run(images, tmp_path / "whole", config)
    calls = []

    def stop_in_the_second_epoch(*args: Any, **options: Any) -> torch.Tensor:
        calls.append(args)
        if len(calls) == 5:  # three batches an epoch
            raise KeyboardInterrupt
        return original(*args, **options)

    original = augment_images
    monkeypatch.setattr(face_task, "augment_images", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run(images, tmp_path / "cut", config)
    run(images, tmp_path / "cut", config)
    for name in ("encoder.safetensors", "last.safetensors", "metrics.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_ema_of_the_weights_is_kept(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "run", replace(FAST, epochs=1, ema_decay=0.9))
    kept, _ = read_raw(tmp_path / "run/encoder.safetensors")
    state, _ = read_raw(tmp_path / "run/last.safetensors")
    mean, last = (state[f"model.{k}.classifier.weight"] for k in ("ema.module", "network"))
    assert torch.equal(kept["classifier.weight"], mean.half())
    assert not torch.equal(mean, last)


def test_learning_rates_warm_up(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *args: Any, **options: Any) -> Any:
        rates.append(self.param_groups[-1]["lr"])
        return original(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run(images, tmp_path / "run", replace(FAST, epochs=1, warmup_steps=2))
    assert rates == pytest.approx([1e-4, 2e-4, 3e-4])


def test_finished_run_is_not_trained_again(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(images, tmp_path / "run")
    monkeypatch.setattr(face_task, "augment_images", None)
    assert run(images, tmp_path / "run") == first


def test_any_spelling_of_the_data_resumes_a_run_and_other_data_do_not(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = replace(FAST, epochs=1)
    first = run(images, tmp_path / "run", once)
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("images")
    Path("study").mkdir()
    for spelled in ("images", "./run/../images", "link"):
        assert run(Path(spelled), Path("run"), once) == first
    assert str(tmp_path) not in json.loads(Path("run/config.json").read_text())["images"]
    shutil.copytree("images", "study/images")
    with pytest.raises(OutputError, match="other settings"):
        run(Path("study/images"), Path("run"), once)
    shutil.move("run", "study/run")
    assert run(Path("study/images"), Path("study/run"), once) == first


def test_other_settings_need_overwrite(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "run", replace(FAST, epochs=1))
    with pytest.raises(OutputError, match="other settings"):
        run(images, tmp_path / "run", replace(FAST, epochs=2))
    again = train_face_encoder(
        images, images / "manifest.csv", tmp_path / "run", str(images / "vit"),
        config=replace(FAST, epochs=2), device="cpu", overwrite=True,
    )  # fmt: skip
    assert len(again) == 2


def test_it_learns(images: Path, tmp_path: Path) -> None:
    config = replace(FAST, epochs=40, backbone_lr=3e-3, head_lr=1e-2, mixup_alpha=0.0, moe=None)
    quiet = replace(config.augmentation, jitter_p=0, padaug_p=0, erase_p=0)
    history = run(images, tmp_path / "run", replace(config, frozen_blocks=0, augmentation=quiet))
    assert max(row.validation.accuracy for row in history if row.validation) >= 0.75
    encoder, _ = load_encoder(tmp_path / "run/encoder.safetensors", CPU)
    dark, bright = (np.full((1, 3, 32, 32, 3), level, np.uint8) for level in (20, 230))
    assert encoder.classify(dark).argmax() < encoder.classify(bright).argmax()


def test_compact_backbone(images: Path, tmp_path: Path) -> None:
    config = replace(default_training(COMPACT_FACE), epochs=2, batch_size=12)
    run(images, tmp_path / "run", config, COMPACT_FACE)
    encoder, metadata = load_encoder(tmp_path / "run/encoder.safetensors", CPU)
    assert metadata.backbone == COMPACT_FACE and metadata.preprocess.size == 44
    probabilities = encoder.classify(np.zeros((2, 1, 48, 48, 3), np.uint8))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_features_of_several_scales_are_averaged(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "run", replace(FAST, epochs=1))
    encoder, metadata = load_encoder(tmp_path / "run/encoder.safetensors", CPU)
    assert metadata.preprocess.crop_scales == (0.9, 1.2, 1.5)
    crops = np.random.default_rng(0).integers(0, 255, (2, 3, 32, 32, 3), dtype=np.uint8)
    apart = torch.stack([encoder.encode(crops[:, k : k + 1]) for k in range(3)])
    assert torch.allclose(encoder.encode(crops), apart.mean(dim=0), atol=1e-5)


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


def test_adapters_are_trained_in_place_of_weights_and_saved_within_them(
    images: Path, tmp_path: Path
) -> None:
    config = replace(FAST, epochs=2, lora_rank=2, backbone_lr=1e-2, precision="float32")
    run(images, tmp_path / "run", config)
    history = (tmp_path / "run/metrics.jsonl").read_text()
    assert run(images, tmp_path / "run", config) and history  # is finished
    start = build_backbone(str(images / "vit")).state_dict()
    (images / "vit").rename(images / "away")  # the encoder does not need it
    backbone, _, metadata = load_backbone(tmp_path / "run/encoder.safetensors")
    assert metadata.training and metadata.training.config["lora_rank"] == 2
    changed = set()
    for name, value in backbone.state_dict().items():
        difference = value - start[name].half().float() if value.ndim > 1 else value - start[name]
        if difference.abs().max() > 1e-3:
            changed.add(name)
            assert torch.linalg.matrix_rank(difference, atol=1e-3) <= 2
    linear = {n for n, m in backbone.named_modules() if isinstance(m, torch.nn.Linear)}
    blocks = {n for n in linear if ".layers.1." in n or ".layers.2." in n}
    assert changed == {f"{name}.weight" for name in blocks} and len(blocks) == 12


def test_an_interrupted_run_of_adapters_is_resumed(images: Path, tmp_path: Path) -> None:
    config = replace(FAST, epochs=2, lora_rank=2, precision="float32", ema_decay=0.9)
    run(images, tmp_path / "whole", config)

    def stop(done: int, total: int | None, what: str) -> None:
        if what.startswith("epoch 2"):
            raise KeyboardInterrupt

    manifest, vit = images / "manifest.csv", str(images / "vit")
    with pytest.raises(KeyboardInterrupt):
        train_face_encoder(
            images, manifest, tmp_path / "cut", vit, config=config, device="cpu", progress=stop
        )
    run(images, tmp_path / "cut", config)
    files = [(tmp_path / name / "encoder.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]


def test_adapters_that_cannot_be(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(FAST, lora_rank=2)
    with pytest.raises(UsageError, match="DINOv2, BEiT and ViT, not for compact-face"):
        run(images, tmp_path / "run", config, COMPACT_FACE)
    with pytest.raises(UsageError, match="has 3 blocks, and 3 are frozen"):
        run(images, tmp_path / "run", replace(config, frozen_blocks=3))
    with monkeypatch.context() as patch:
        patch.delattr(peft, "inject_adapter_in_model")  # as without peft: it cannot be imported
        with pytest.raises(UsageError, match=r"needs peft: pip install 'abawcli\[lora\]'"):
            run(images, tmp_path / "run", config)
    (images / "vit/config.json").unlink()
    (images / "vit/adapter_config.json").write_text(
        '{"base_model_name_or_path": "facebook/dinov2-large", "peft_type": "LORA"}'
    )
    with pytest.raises(
        CheckpointError, match=r"vit has an adapter \(LoRA\) of 'facebook/dinov2-large'"
    ):
        run(images, tmp_path / "run")
    assert not (tmp_path / "run").exists()


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


SMALL = CompactFaceShape(4, (8, 8), (1, 1))  # features still have 256 entries
STUDENT = replace(
    default_training(COMPACT_FACE), epochs=1, batch_size=12, shape=SMALL, moe=None,
    precision="float32",
)  # fmt: skip


def teach(
    images: Path, out: Path, teachers: list[Path], config: EncoderTraining = STUDENT
) -> list[EpochResult]:
    return train_face_encoder(
        images,
        images / "manifest.csv",
        out,
        COMPACT_FACE,
        config=config,
        device="cpu",
        teachers=teachers,
    )


def test_teachers_are_averaged_each_in_its_own_size(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # in float32, as teachers are
    teach(images, tmp_path / "compact", [])
    run(images, tmp_path / "vit", replace(FAST, epochs=1))
    paths = [tmp_path / name / "encoder.safetensors" for name in ("compact", "vit")]
    crops = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
    unit = scale_to_unit(crops[:, 2:46, 2:46], COMPACT_FACE_PREPROCESS)  # (3, 1, 44, 44)
    small = fit_images(unit, Preprocess(28, 28, (0.5,) * 3, (0.5,) * 3))  # (3, 3, 28, 28)
    seen = (small * 255).permute(0, 2, 3, 1).numpy().round().clip(0, 255).astype(np.uint8)
    inputs = (crops, np.pad(seen, ((0, 0), (2, 2), (2, 2), (0, 0))))  # the centre of 32
    encoders = [load_encoder(path, CPU)[0] for path in paths]
    expected = [e.classify(x[:, None]) for e, x in zip(encoders, inputs, strict=True)]
    p, features = Teachers(paths, CPU, "float32").read(unit, 1.0)
    np.testing.assert_allclose(p, np.mean(expected, axis=0), atol=2e-3)
    assert torch.allclose(features, encoders[0].encode(crops[:, None]), atol=1e-4)
    soft, _ = Teachers(paths, CPU, "float32").read(unit, 50.0)
    assert (soft - 1 / 8).abs().max() < 0.02


def test_teachers_have_their_share_of_the_loss(images: Path, tmp_path: Path) -> None:
    """With weight 1 the labels do not matter; with less they do; features count as well."""
    teach(images, tmp_path / "teacher", [], replace(STUDENT, seed=1))
    teacher = tmp_path / "teacher/encoder.safetensors"
    losses = dict[tuple[float, float, bool], float]()
    for swapped in (False, True):
        if swapped:
            table = pd.read_csv(images / "manifest.csv")
            votes = [name for name in table.columns if name.startswith("v_")]
            table[votes] = table[votes].to_numpy()[:, ::-1]
            table.to_csv(images / "manifest.csv", index=False)
        for weight, feature_weight in ((1.0, 0.0), (0.5, 0.0), (0.5, 1.0)):
            how = Distillation(2.0, weight, feature_weight)
            out = tmp_path / f"{swapped}{weight}{feature_weight}"
            history = teach(images, out, [teacher], replace(STUDENT, distillation=how))
            losses[weight, feature_weight, swapped] = history[0].loss
    assert losses[1.0, 0.0, False] == losses[1.0, 0.0, True]
    assert losses[0.5, 0.0, False] != losses[0.5, 0.0, True]
    assert losses[0.5, 1.0, False] > losses[0.5, 0.0, False] + 0.1
    _, about = read_raw(tmp_path / "True0.51.0/encoder.safetensors")
    assert about["data"]["teachers"] == [hash_file(teacher)]


def test_a_run_with_other_teachers_is_another_run(images: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        teach(images, tmp_path / f"teacher{seed}", [], replace(STUDENT, seed=seed))
    first, second = (tmp_path / f"teacher{k}/encoder.safetensors" for k in (0, 1))
    teach(images, tmp_path / "run", [first])
    with pytest.raises(OutputError, match="other settings"):
        teach(images, tmp_path / "run", [second])


def test_teachers_that_cannot_be(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "vit", replace(FAST, epochs=1))
    vit = tmp_path / "vit/encoder.safetensors"
    with pytest.raises(CheckpointError, match=r"no\.safetensors"):
        teach(images, tmp_path / "run", [tmp_path / "no.safetensors"])
    config = replace(STUDENT, distillation=Distillation(feature_weight=1.0))
    with pytest.raises(UsageError, match="single --teacher"):
        teach(images, tmp_path / "run", [vit, vit], config)
    with pytest.raises(UsageError, match="teacher's have 16, the student's 256"):
        teach(images, tmp_path / "run", [vit], config)


def test_shapes_that_cannot_be(images: Path, tmp_path: Path) -> None:
    uneven = replace(STUDENT, shape=CompactFaceShape(4, (8, 8), (1,)))
    with pytest.raises(UsageError, match="2 widths and 1 numbers of blocks"):
        teach(images, tmp_path / "run", [], uneven)
    with pytest.raises(UsageError, match="--widths"):
        run(images, tmp_path / "run", replace(FAST, shape=SMALL))


def make_task(images: Path) -> FaceTask:
    """Return the task of training compact-face on images."""
    splits = read_manifest(images / "manifest.csv", images)
    backbone = build_backbone("compact-face", CompactFaceShape(8, (8, 16), (1, 1)))
    config = replace(EncoderTraining(), moe=None)
    return FaceTask(backbone, splits, config, torch.device("cpu"), settings={}, data={})


def test_processes_share_the_evaluation(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_task, "VALID_BATCH", 3)
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
        "face_task.VALID_BATCH = 3\n"
        "main()\n"
    )
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    options = ["--backbone", "compact-face", "--epochs", "1", "--batch-size", "4"]
    options += ["--device", "cpu", "--precision", "float32"]
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


def spy(calls: list[Any], function: Any) -> Any:
    """Return the function, which notes its arguments."""

    def noting(*args: Any) -> Any:
        calls.append(args)
        return function(*args)

    return noting


def test_bad_input(images: Path, tmp_path: Path) -> None:
    (images / "3.png").write_text("no picture")
    with pytest.raises(InputError, match=r"3\.png"):
        run(images, tmp_path / "run")
    (images / "in the way").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        run(images, images / "in the way")
    for device in ("tpu", "cuda"):
        with pytest.raises(UsageError, match=device):
            train_face_encoder(images, images / "manifest.csv", tmp_path / "run", device=device)
    with pytest.raises(UsageError, match="at least 1 epoch"):
        run(images, tmp_path / "run", replace(FAST, epochs=0))
    with pytest.raises(CheckpointError, match="no such backbone folder"):
        run(images, tmp_path / "run2", FAST, str(tmp_path / "nothing"))


def test_encoder_of_other_classes_is_refused(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "run", replace(FAST, epochs=1))
    path = tmp_path / "run/encoder.safetensors"
    tensors, about = read_raw(path)
    write_raw(path, tensors, about | {"backbone": COMPACT_FACE, "network": {"w": 1}})
    with pytest.raises(CheckpointError, match="describes no backbone"):
        load_encoder(path, CPU)
    write_raw(path, tensors, about | {"classes": ["a", "b"]})
    with pytest.raises(CheckpointError, match="other classes"):
        load_encoder(path, CPU)
    del tensors["classifier.bias"]
    write_raw(path, tensors, about)
    with pytest.raises(CheckpointError, match="does not fit its network"):
        load_encoder(path, CPU)


def test_fine_tuning_goes_on_from_an_encoder(images: Path, tmp_path: Path) -> None:
    """Without a learning rate the weights stay; the run depends on the encoder."""
    teach(images, tmp_path / "start", [])
    start = tmp_path / "start/encoder.safetensors"
    still = replace(STUDENT, shape=None, backbone_lr=0.0, head_lr=0.0, ema_decay=0.0)

    def tune(init: Path, config: EncoderTraining) -> None:
        manifest = images / "manifest.csv"
        out = tmp_path / "tuned"
        train_face_encoder(images, manifest, out, config=config, device="cpu", init=init)

    with pytest.raises(UsageError, match="exclude --init"):
        tune(start, STUDENT)
    tune(start, still)
    before, after = read_raw(start)[0], read_raw(tmp_path / "tuned/encoder.safetensors")
    same = [k for k in before if "running" not in k and "num_batches" not in k]
    assert all(torch.equal(before[k], after[0][k]) for k in same)
    assert after[1]["data"]["init"] == hash_file(start)
    teach(images, tmp_path / "other", [], replace(STUDENT, seed=1))
    with pytest.raises(OutputError, match="other settings"):
        tune(tmp_path / "other/encoder.safetensors", still)
    with pytest.raises(CheckpointError, match=r"no\.safetensors"):
        tune(tmp_path / "no.safetensors", still)


def test_training_is_in_float32_where_bfloat16_is_wrong(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "choose_precision", lambda wanted, device: "bfloat16")
    monkeypatch.setattr(precision, "measure_difference", lambda rough, exact: 0.3)
    run(images, tmp_path / "run", replace(FAST, epochs=1))
    settings = json.loads((tmp_path / "run/config.json").read_text())
    assert settings["training"]["precision"] == "float32"
    assert "in bfloat16 outputs differ by 30 %, more than 5 %" in caplog.text
