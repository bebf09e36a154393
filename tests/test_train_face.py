"""Training an encoder: results, resuming, errors."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from face_runs import FAST, SMALL, STUDENT, run, save_images, teach
from raw_checkpoints import read_raw, write_raw
from tiny_models import save_image_set, save_vision_backbone

from abawcli.config import COMPACT_FACE, CompactFaceShape, EncoderTraining, default_training
from abawcli.errors import CheckpointError, InputError, OutputError, UsageError
from abawcli.formats.hashing import hash_file
from abawcli.models import precision
from abawcli.models.encoder import load_encoder
from abawcli.models.training_metadata import Validation
from abawcli.stages.train_face import train_face_encoder
from abawcli.training import face_task
from abawcli.training.image_augmentation import augment_images

CPU = torch.device("cpu")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return save_images(tmp_path / "images")


def test_run_writes_encoder_metrics_and_config(images: Path, tmp_path: Path) -> None:
    history = run(images, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows == [result.to_json() for result in history]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    tensors, metadata = read_raw(tmp_path / "run/encoder.safetensors")
    assert metadata["backbone"] == str(images / "vit")
    assert metadata["result"] == max(rows, key=lambda row: row["macro_f1"])
    assert metadata["preprocess"]["size"] == 28
    assert not any(name.startswith("head") for name in tensors)  # the training head is gone
    settings = json.loads((tmp_path / "run/config.json").read_text())
    assert settings["training"]["epochs"] == 3


def test_either_head_chooses_the_epoch(images: Path, tmp_path: Path) -> None:
    for select in ("linear", "moe"):
        history = run(images, tmp_path / select, replace(FAST, head_lr=0.03, select=select))
        rows = [result.to_json() for result in history]
        assert all(0 <= row["moe_macro_f1"] <= 1 and row["valid_loss"] > 0 for row in rows)
        assert [row["lr"] for row in rows] == sorted((row["lr"] for row in rows), reverse=True)
        key = "moe_macro_f1" if select == "moe" else "macro_f1"
        _, metadata = read_raw(tmp_path / select / "encoder.safetensors")
        assert metadata["result"] == max(rows, key=lambda row: row[key])
    with pytest.raises(UsageError, match="a mixture-of-experts head that is not there"):
        run(images, tmp_path / "none", replace(FAST, moe=None, select="moe"))
    with pytest.raises(UsageError, match="unknown selection 'both'; choose linear or moe"):
        run(images, tmp_path / "none", replace(FAST, select="both"))


def test_interrupted_run_ends_with_the_same_weights(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It says if it began before the augmentation was defined as it is, and remembers that."""
    config = replace(FAST, epochs=2, ema_decay=0.9)
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
    path = tmp_path / "cut/config.json"
    settings = json.loads(path.read_text())
    assert settings.pop("definitions") == {"the augmentation of images": 2}
    path.write_text(json.dumps(settings))
    assert "defined differently" not in caplog.text
    run(images, tmp_path / "cut", config)
    assert "cut: the augmentation of images was defined differently when" in caplog.text
    assert json.loads(path.read_text())["definitions"] == {"the augmentation of images": 1}
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
    once = replace(FAST, epochs=1)
    first = run(images, tmp_path / "run", once)
    monkeypatch.setattr(face_task, "augment_images", None)
    assert run(images, tmp_path / "run", once) == first


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
    first, other = (replace(FAST, epochs=1, seed=seed) for seed in (0, 1))
    history = run(images, tmp_path / "run", first)
    with pytest.raises(OutputError, match="other settings"):
        run(images, tmp_path / "run", other)
    again = train_face_encoder(
        images, images / "manifest.csv", tmp_path / "run", str(images / "vit"),
        config=other, device="cpu", overwrite=True,
    )  # fmt: skip
    assert len(again) == 1 and again != history


def test_images_that_changed_need_overwrite(images: Path, tmp_path: Path) -> None:
    once = replace(FAST, epochs=1)
    first = run(images, tmp_path / "run", once)
    config = tmp_path / "run/config.json"
    settings = json.loads(config.read_text())
    del settings["images_sha256"]  # of an older version
    config.write_text(json.dumps(settings))
    assert run(images, tmp_path / "run", once) == first
    save_image_set(images, side=50)  # under the same names
    with pytest.raises(OutputError, match="other settings or data"):
        run(images, tmp_path / "run", once)


def test_it_learns(tmp_path: Path) -> None:
    images = save_vision_backbone(tmp_path / "images" / "vit", "vit").parent
    save_image_set(images, 18, 6, classes=(0, 3, 7))
    config = replace(FAST, epochs=12, backbone_lr=3e-3, head_lr=1e-2, mixup_alpha=0.0, moe=None)
    quiet = replace(config.augmentation, jitter_p=0, padaug_p=0, erase_p=0)
    history = run(images, tmp_path / "run", replace(config, frozen_blocks=0, augmentation=quiet))
    assert history[-1].validation and history[-1].validation.accuracy == 1.0
    encoder, _ = load_encoder(tmp_path / "run/encoder.safetensors", CPU)
    dark, bright = (np.full((1, 3, 32, 32, 3), level, np.uint8) for level in (20, 230))
    assert encoder.classify(dark).argmax() < encoder.classify(bright).argmax()


def test_compact_backbone(images: Path, tmp_path: Path) -> None:
    config = replace(default_training(COMPACT_FACE), epochs=1, batch_size=12, shape=SMALL)
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


def test_shapes_that_cannot_be(images: Path, tmp_path: Path) -> None:
    uneven = replace(STUDENT, shape=CompactFaceShape(4, (8, 8), (1,)))
    with pytest.raises(UsageError, match="2 widths and 1 numbers of blocks"):
        teach(images, tmp_path / "run", [], uneven)
    with pytest.raises(UsageError, match="--widths"):
        run(images, tmp_path / "run", replace(FAST, shape=SMALL))


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
    tensors, metadata = read_raw(path)
    write_raw(path, tensors, metadata | {"backbone": COMPACT_FACE, "network": {"w": 1}})
    with pytest.raises(CheckpointError, match="describes no backbone"):
        load_encoder(path, CPU)
    write_raw(path, tensors, metadata | {"classes": ["a", "b"]})
    with pytest.raises(CheckpointError, match="other classes"):
        load_encoder(path, CPU)
    del tensors["classifier.bias"]
    write_raw(path, tensors, metadata)
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


def test_the_last_epoch_is_saved_where_nothing_is_to_be_chosen(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = itertools.cycle((0.6, 0.4))  # of two epochs
    score = Validation(0.0, 0.0, {})
    monkeypatch.setattr(
        face_task.FaceTask, "validate", lambda task, network: replace(score, macro_f1=next(scores))
    )
    for select, epoch in (("linear", 1), ("last", 2)):
        config = replace(STUDENT, epochs=2, select=select)
        teach(images, tmp_path / select, [], config)
        _, metadata = read_raw(tmp_path / select / "encoder.safetensors")
        assert metadata["result"]["epoch"] == epoch
    with pytest.raises(UsageError, match="--patience excludes --select last"):
        teach(images, tmp_path / "run", [], replace(config, patience=1))


def test_saved_weights_are_averaged_with_the_initial_ones(images: Path, tmp_path: Path) -> None:
    teach(images, tmp_path / "start", [])
    start, found = tmp_path / "start/encoder.safetensors", {}

    def tune(out: Path, **settings: Any) -> Path:
        config = replace(STUDENT, shape=None, **settings)
        train_face_encoder(
            images, images / "manifest.csv", out, config=config, device="cpu",
            init=None if out.name == "new" else start,
        )  # fmt: skip
        return out / "encoder.safetensors"

    for share in (0.0, 0.25, 1.0):
        tensors, metadata = read_raw(tune(tmp_path / str(share), init_share=share))
        found[share] = {k: v.float() for k, v in tensors.items()}
        assert metadata["training"]["init_share"] == share
    initial = read_raw(start)[0]
    for name, first in initial.items():
        if first.is_floating_point():  # no counter
            torch.testing.assert_close(found[1.0][name], first.float())
            mean = 0.25 * first.float() + 0.75 * found[0.0][name]
            torch.testing.assert_close(found[0.25][name], mean, atol=2e-3, rtol=2e-3)  # float16
    assert not torch.equal(found[0.0]["classifier.weight"], initial["classifier.weight"].float())
    with pytest.raises(UsageError, match="--init-share needs --init"):
        tune(tmp_path / "new", init_share=0.5)
    with pytest.raises(UsageError, match="--init-share excludes --lora"):
        tune(tmp_path / "lora", init_share=0.5, lora_rank=2)


def test_training_is_in_float32_where_bfloat16_is_wrong(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "choose_precision", lambda wanted, device: "bfloat16")
    monkeypatch.setattr(precision, "measure_difference", lambda rough, exact: 0.3)
    run(images, tmp_path / "run", replace(FAST, epochs=1))
    settings = json.loads((tmp_path / "run/config.json").read_text())
    assert settings["training"]["precision"] == "float32"
    assert "in bfloat16 outputs differ by 30 %, more than 5 %" in caplog.text
