"""Training on the outputs of teachers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from face_runs import FAST, STUDENT, run, save_images, teach
from raw_checkpoints import read_raw

from abawcli.config import Distillation
from abawcli.errors import CheckpointError, OutputError, UsageError
from abawcli.formats.hashing import hash_file
from abawcli.formats.metadata import Preprocess
from abawcli.models.encoder import load_encoder
from abawcli.models.image_backbones import COMPACT_FACE_PREPROCESS
from abawcli.models.preprocessing import scale_to_unit
from abawcli.training.distillation import Teachers, fit_images

CPU = torch.device("cpu")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return save_images(tmp_path / "images")


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
    p, features = Teachers(paths, CPU, "float32").predict(unit, 1.0)
    np.testing.assert_allclose(p, np.mean(expected, axis=0), atol=2e-3)
    assert torch.allclose(features, encoders[0].encode(crops[:, None]), atol=1e-4)
    soft, _ = Teachers(paths, CPU, "float32").predict(unit, 50.0)
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
        for weight, feature_weight in ((1.0, 0.0), (0.5, 0.0), *([] if swapped else [(0.5, 1.0)])):
            how = Distillation(2.0, weight, feature_weight)
            out = tmp_path / f"{swapped}{weight}{feature_weight}"
            history = teach(images, out, [teacher], replace(STUDENT, distillation=how))
            losses[weight, feature_weight, swapped] = history[0].loss
    assert losses[1.0, 0.0, False] == losses[1.0, 0.0, True]
    assert losses[0.5, 0.0, False] != losses[0.5, 0.0, True]
    assert losses[0.5, 1.0, False] > losses[0.5, 0.0, False] + 0.1
    _, about = read_raw(tmp_path / "True0.50.0/encoder.safetensors")
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
