"""The scores of tasks with values, from sums over frames.

Sums (..., K, S) have S numbers for each of K columns. The sums of a set of videos are the sum of
those of its videos, which makes bootstrap samples cheap, as with the counts of `metrics`. Frames
that are NaN in the annotation or the prediction of a column are left out of it.
"""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]  # (T, K)
Sums = NDArray[np.float64]  # (..., K, S)
# Variance of values from -1 to 1 that rounding alone gives to a constant, with a wide margin.
NO_VARIANCE = 1e-12


def sum_moments(truth: Values, predicted: Values) -> Sums:
    """Return for each column the number of frames and the sums of x, y, xx, yy and xy, (K, 6)."""
    known = ~(np.isnan(truth) | np.isnan(predicted))
    x, y = np.where(known, truth, 0.0), np.where(known, predicted, 0.0)
    return np.stack([part.sum(axis=0) for part in (known, x, y, x * x, y * y, x * y)], axis=-1)


def find_ccc(sums: Sums) -> NDArray[np.float64]:
    """Return the concordance correlation coefficient (..., K) from sums (..., K, 6).

    CCC = 2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2), from -1 to 1. It is 0 where
    nothing varies, and where there are no frames.
    """
    count = np.maximum(sums[..., 0], 1)
    mean_x, mean_y, xx, yy, xy = (sums[..., k] / count for k in range(1, 6))
    covariance = xy - mean_x * mean_y
    spread = xx - mean_x**2 + yy - mean_y**2 + (mean_x - mean_y) ** 2
    varies = spread > NO_VARIANCE
    return np.where(varies, 2 * covariance / np.where(varies, spread, 1), 0.0)


def sum_agreement(truth: Values, predicted: Values) -> Sums:
    """Return for each column the frames in which a unit is annotated, predicted and both, (K, 3).

    A unit that is neither NaN nor 0 is active.
    """
    known = ~(np.isnan(truth) | np.isnan(predicted))
    x, y = known & (truth > 0), known & (predicted > 0)
    return np.stack([part.sum(axis=0) for part in (x, y, x & y)], axis=-1).astype(np.float64)


def find_unit_f1(sums: Sums) -> NDArray[np.float64]:
    """Return the F1 (..., K) of active units from sums (..., K, 3).

    A unit that is neither annotated nor predicted in any frame has 0, as in scikit-learn.
    """
    f1: NDArray[np.float64] = 2 * sums[..., 2] / np.maximum(sums[..., 0] + sums[..., 1], 1)
    return f1
