"""Late fusion: the mean of the predictions of several tables or networks.

A table or network without a prediction for a row is left out of that row's mean.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.labels import N_CLASSES


def average_outputs(
    outputs: Sequence[NDArray[np.floating[Any]]], weights: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Return the weighted mean of probabilities (N, 8) or outputs (N, 9), which `logits` describes.

    Args:
        outputs: K arrays; rows of NaN are not predicted. Probabilities of a row have the sum 1.
        weights: K positive numbers, of which only the ratio counts; None: all equal.

    Returns:
        (N, 8) or (N, 9); NaN in rows without any prediction.
    """
    total, share = _sum_known(outputs, weights)
    p, scale = total[:, :N_CLASSES], total[:, N_CLASSES:]
    with np.errstate(invalid="ignore"):  # without any prediction, 0 / 0 is NaN
        p, scale = p / p.sum(axis=1, keepdims=True), scale / share
    return np.concatenate([p, scale], axis=1)


def average_values(
    values: Sequence[NDArray[np.floating[Any]]], weights: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Return the weighted mean of values (N, K) of a task with values.

    Args:
        values: arrays (N, K); rows of NaN are not predicted.
        weights: as for `average_outputs`.

    Returns:
        (N, K); NaN in rows without any prediction.
    """
    total, share = _sum_known(values, weights)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = total / share
    return mean


def prefer_confident(
    first: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]], confidence: float
) -> NDArray[np.bool_]:
    """Return the rows (N,) that keep the first member's prediction, of outputs (N, C) of both.

    They are those whose highest probability in it exceeds `confidence`, and those that the others
    do not predict. This is the filter of confident predictions of the HSEmotion team (arXiv
    2503.10399, 2603.12693): where the model that was pre-trained on still faces is sure, its
    prediction is used; elsewhere that of a classifier trained on videos.
    """
    p = first[:, :N_CLASSES]
    sure = np.nan_to_num(p).max(axis=1) > confidence
    return np.asarray(sure | (~np.isnan(p[:, 0]) & np.isnan(others[:, 0])))


def _sum_known(
    members: Sequence[NDArray[np.floating[Any]]], weights: Sequence[float] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted sum (N, C) of members (N, C) and the sum of their weights (N, 1)."""
    x = np.stack(members).astype(np.float64)  # (K, N, C)
    known = ~np.isnan(x[..., 0])  # (K, N)
    share = known * np.array(weights or [1] * len(x), np.float64)[:, None]  # (K, N)
    with np.errstate(invalid="ignore"):  # without any prediction, 0 / 0 is NaN
        share /= share.max(axis=0)  # the largest weight is 1, so that sums do not overflow
    total = np.einsum("kn,knc->nc", share, np.where(known[..., None], x, 0))  # (N, C)
    return total, share.sum(axis=0)[:, None]
