"""Probabilities of several tables or networks: the mean of those that say something.

Arrays in, arrays out. Who says nothing of a row takes no part in it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def average_probabilities(
    opinions: Sequence[NDArray[np.floating[Any]]], weights: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Return the mean (N, 8), each row with the sum 1, of opinions (N, 8) with NaN for none.

    Weights are positive, and by default equal; only their ratio counts. Rows of which nobody
    says anything are NaN.
    """
    p = np.stack(opinions).astype(np.float64)  # (K, N, 8)
    known = ~np.isnan(p[..., 0])  # (K, N)
    share = known * np.array(weights or [1] * len(p), np.float64)[:, None]  # (K, N)
    with np.errstate(invalid="ignore"):  # nobody: 0 / 0 is NaN
        share /= share.max(axis=0)  # the largest is 1: no weights are too large to add
        total = np.einsum("kn,knc->nc", share, np.where(known[..., None], p, 0))  # (N, 8)
        mean: NDArray[np.float64] = total / total.sum(axis=1, keepdims=True)
    return mean
