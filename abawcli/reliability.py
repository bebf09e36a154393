"""The reliability of probabilities: their error, and accuracy by confidence, with intervals.

Intervals are of bootstrap samples of whole groups, such as the frames of a video, as frames of one
video are dependent.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.config import Scores
from abawcli.labels import N_CLASSES
from abawcli.logits import log_softmax
from abawcli.metrics import find_macro_f1

BINS = Scores().calibration_bins
SAMPLES_AT_ONCE = 50  # bootstrap samples; a sample has a number for each group
_CELLS = N_CLASSES * (N_CLASSES + 1)


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Quality:
    """The calibration error and the scores of probabilities."""

    calibration_error: Estimate
    log_loss: Estimate
    accuracy: Estimate
    macro_f1: Estimate
    confidence: float  # mean
    # Of each bin of confidence: share of the examples, mean confidence and accuracy; 0 if empty.
    shares: list[float]
    confidences: list[float]
    accuracies: list[float]


def measure_quality(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> Quality:
    """Measure the probabilities of logits.

    Args:
        logits: (N, 8).
        labels: (N,) true class, 0 to 7.
        groups: (N,) number of the group of each example.
    """
    groups = np.unique(groups, return_inverse=True)[1]
    sums = _sum_by_group(logits, labels, groups)  # (G, 3 * BINS + 1 + 72)
    drawn = np.concatenate(list(_resample_sums(sums)))
    total = sums.sum(axis=0)
    low, high = np.percentile(_find_figures(drawn), [2.5, 97.5], axis=-1)
    figures = np.stack([_find_figures(total), low, high], axis=1)  # (4, 3)
    error, loss, accuracy, macro_f1 = (Estimate(*row) for row in figures.tolist())
    confidence, right, count = total[: 3 * BINS].reshape(3, BINS)
    held = np.maximum(count, 1)
    return Quality(
        calibration_error=error,
        log_loss=loss,
        accuracy=accuracy,
        macro_f1=macro_f1,
        confidence=float(confidence.sum() / count.sum()),
        shares=(count / count.sum()).tolist(),
        confidences=(confidence / held).tolist(),
        accuracies=(right / held).tolist(),
    )


def _sum_by_group(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return sums over each group: confidence, right ones and number by bin, loss, confusion."""
    log_p = log_softmax(logits.astype(np.float64))
    chosen = log_p.argmax(axis=1)
    confidence = np.exp(log_p.max(axis=1))
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    count = int(groups.max()) + 1

    def gather(cells: NDArray[np.int64], width: int, values: Any = None) -> NDArray[np.float64]:
        index = groups * width + cells
        return np.bincount(index, values, count * width).reshape(count, width).astype(np.float64)

    return np.concatenate(
        [
            gather(bins, BINS, confidence),
            gather(bins, BINS, chosen == labels),
            gather(bins, BINS),
            gather(np.zeros_like(bins), 1, -log_p[np.arange(len(labels)), labels]),
            gather(labels * (N_CLASSES + 1) + chosen, _CELLS),
        ],
        axis=1,
    )


def _resample_sums(sums: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Yield the sums (d, K) over bootstrap samples of groups, given those of each group (G, K)."""
    rng, groups = np.random.default_rng(Scores().seed), len(sums)
    for _ in range(0, Scores().bootstrap_samples, SAMPLES_AT_ONCE):
        times = rng.multinomial(groups, np.full(groups, 1 / groups), SAMPLES_AT_ONCE)
        yield times.astype(np.float64) @ sums


def _find_figures(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the figures (4, ...) of `Quality` from sums (..., K)."""
    confidence, right, number = (sums[..., k * BINS : (k + 1) * BINS] for k in range(3))
    loss, counts = sums[..., 3 * BINS], sums[..., 3 * BINS + 1 :]
    total = np.maximum(number.sum(axis=-1), 1)  # a sample may have groups without examples only
    error = np.abs(confidence - right).sum(axis=-1) / total
    macro_f1 = find_macro_f1(counts.reshape(*counts.shape[:-1], N_CLASSES, N_CLASSES + 1))
    return np.stack([error, loss / total, right.sum(axis=-1) / total, macro_f1])
