"""Calibration of logits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from raw_checkpoints import read_raw, write_raw
from torch import nn

from abawcli.config import COMPACT_FACE, CompactFaceShape
from abawcli.errors import CheckpointError
from abawcli.metrics import find_calibration_error
from abawcli.models.calibration import (
    calibrate_linear,
    calibrate_logits,
    calibrate_out_of_fold,
    draw_folds,
    fit_calibration,
)
from abawcli.models.checkpoint import save_checkpoint
from abawcli.models.encoder import load_classifier, load_encoder
from abawcli.models.image_backbones import build_backbone
from abawcli.models.metadata import Calibration

CPU = torch.device("cpu")
BIAS = (0.5, -0.5, 1.0, -1.0, 0.0, 0.2, -0.2, 0.0)


def draw(
    count: int, temperature: float, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return logits that are wrong by a temperature and BIAS, and labels by the true ones."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 2, (count, 8))
    p = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1).clip(0, 7)
    return (true - np.array(BIAS)) * temperature, labels


def measure(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    p = torch.from_numpy(logits).softmax(dim=1).numpy()
    return find_calibration_error(p.max(axis=1), p.argmax(axis=1) == labels, 15)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_fit_finds_temperature_and_bias(temperature: float) -> None:
    logits, labels = draw(20_000, temperature)
    found = fit_calibration(logits, labels)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    np.testing.assert_allclose(found.bias, BIAS, atol=0.12)
    assert measure(calibrate_logits(logits, found), labels) < 0.02


def test_out_of_fold_calibration_is_good_on_examples_that_it_did_not_see() -> None:
    logits, labels = draw(4000, 3.0)
    before, after = (
        measure(logits, labels),
        measure(calibrate_out_of_fold(logits, labels, draw_folds(4000)), labels),
    )
    assert before > 0.1 and after < 0.03


def test_bias_of_a_class_without_examples_stays_finite() -> None:
    logits, labels = draw(400, 1.0)
    kept = labels != 2
    assert np.abs(fit_calibration(logits[kept], labels[kept]).bias).max() < 5


@given(st.floats(0.2, 5), st.lists(st.floats(-3, 3), min_size=8, max_size=8), st.integers(0, 99))
def test_classifier_is_calibrated_as_its_logits_are(
    temperature: float, bias: list[float], seed: int
) -> None:
    how = Calibration(temperature, tuple(bias))
    torch.manual_seed(seed)
    linear, x = nn.Linear(6, 8), torch.randn(4, 6)
    expected = calibrate_logits(linear(x).detach().numpy(), how)
    calibrate_linear(linear, how)
    np.testing.assert_allclose(linear(x).detach().numpy(), expected, atol=1e-4)


def save_encoder(path: Path, calibration: Calibration | None) -> Path:
    torch.manual_seed(0)
    backbone = build_backbone(COMPACT_FACE, CompactFaceShape(4, (8,), (1,)))
    network = nn.ModuleDict({"backbone": backbone, "classifier": nn.Linear(backbone.dim, 8)})
    save_checkpoint(
        path, network.state_dict(), replace(backbone.describe(), calibration=calibration)
    )
    return path


def test_checkpoint_with_calibration_answers_calibrated(tmp_path: Path) -> None:
    how = Calibration(2.0, BIAS)
    plain = save_encoder(tmp_path / "plain.safetensors", None)
    path = save_encoder(tmp_path / "calibrated.safetensors", how)
    crops = np.random.default_rng(0).integers(0, 256, (3, 1, 48, 48, 3), np.uint8)
    first, second = (load_encoder(each, CPU)[0] for each in (plain, path))
    with torch.inference_mode():
        logits = first.classifier(first.encode(crops)).numpy()
    expected = torch.from_numpy(calibrate_logits(logits, how)).softmax(dim=1).numpy()
    np.testing.assert_allclose(second.classify(crops), expected, atol=1e-5)
    features = second.encode(crops).numpy()[None].astype(np.float16)
    head = load_classifier(path, CPU)[0]
    there, empty = np.ones((1, 3), bool), np.zeros((1, 3, 0), np.float16)
    p, _ = head.classify(features[0], empty[0], there[0], ~there[0])
    np.testing.assert_allclose(p, expected, atol=2e-3)
    assert load_encoder(path, CPU)[1].calibration == how
    assert load_encoder(plain, CPU)[1].calibration is None


@pytest.mark.parametrize(
    "broken",
    [
        {"temperature": 0.0, "bias": [0.0] * 8},
        {"temperature": 1.0, "bias": [0.0] * 7},
        {"temperature": 1.0, "bias": ["a"] * 8},
        {"bias": [0.0] * 8},
    ],
)
def test_calibration_that_cannot_be_is_refused(tmp_path: Path, broken: dict[str, object]) -> None:
    path = save_encoder(tmp_path / "e.safetensors", Calibration(2.0, BIAS))
    tensors, metadata = read_raw(path)
    write_raw(path, tensors, metadata | {"calibration": broken})
    with pytest.raises(CheckpointError, match=r"e\.safetensors"):
        load_encoder(path, CPU)
