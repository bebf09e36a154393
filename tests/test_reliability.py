"""The quality of probabilities: the figures are those of their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from abawcli.metrics import find_calibration_error, score_labels
from abawcli.reliability import BINS, measure_quality


@given(st.integers(2, 60), st.integers(0, 999))
def test_figures_are_those_of_their_definitions(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, 2, (count, 8)), rng.integers(0, 8, count)
    found = measure_quality(logits, labels, rng.integers(0, 5, count))
    p = special.softmax(logits, axis=1)
    chosen = p.argmax(axis=1)
    score = score_labels(labels, chosen)
    error = find_calibration_error(p.max(axis=1), chosen == labels, BINS)
    assert found.calibration_error.value == pytest.approx(error)
    assert found.log_loss.value == pytest.approx(-np.log(p[np.arange(count), labels]).mean())
    assert found.accuracy.value == pytest.approx(score.accuracy)
    assert found.macro_f1.value == pytest.approx(score.macro_f1)
    assert found.confidence == pytest.approx(p.max(axis=1).mean())
    assert sum(found.shares) == pytest.approx(1)
    error_of_bins = np.abs(np.subtract(found.confidences, found.accuracies)) @ found.shares
    assert error_of_bins == pytest.approx(error)


def test_interval_is_of_whole_groups() -> None:
    rng = np.random.default_rng(0)
    logits = np.repeat(rng.normal(0, 2, (20, 8)), 50, axis=0)
    labels = np.repeat(rng.integers(0, 8, 20), 50)
    wide = measure_quality(logits, labels, np.arange(1000) // 50).accuracy
    narrow = measure_quality(logits, labels, np.arange(1000)).accuracy
    assert wide.value == narrow.value
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_one_group_has_no_interval() -> None:
    found = measure_quality(np.eye(8), np.arange(8), np.zeros(8, np.int64))
    assert found.accuracy.low == found.accuracy.high == found.accuracy.value == 1
