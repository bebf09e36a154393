"""Class biases: logit adjustment at decision time, for a higher F1 of rare classes.

A bias b of each class is added to the logarithms of its probabilities, and the label is the class
with the highest sum. Networks that were trained on unbalanced classes predict rare ones too rarely
for the best macro-F1 (arXiv 2007.07314).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.config import Balancing
from abawcli.labels import N_CLASSES
from abawcli.logits import LEAST
from abawcli.metrics import count_confusion, find_macro_f1

Array = NDArray[np.float64]


def apply_bias(p: NDArray[np.floating[Any]], bias: NDArray[np.floating[Any]]) -> Array:
    """Return probabilities (N, 8) with a bias (8,): p exp(b), with the sum 1. NaN stays NaN."""
    raised = p * np.exp(bias - np.max(bias))  # (N, 8)
    shares: Array = raised / raised.sum(axis=1, keepdims=True)
    return shares


def find_bias(p: Array, labels: NDArray[np.int64], config: Balancing | None = None) -> Array:
    """Return the bias (8,) with the highest macro-F1, by coordinate ascent from 0.

    One class at a time gets the value of a grid that scores best; of equal ones, the smallest.

    Args:
        p: (N, 8) probabilities; rows of NaN have no label.
        labels: (N,) annotations, all of them of a class.
        config: grid and number of rounds.
    """
    config = config or Balancing()
    known = ~np.isnan(p[:, 0])
    missed = count_confusion(labels[~known], np.full(int((~known).sum()), -1))  # (8, 9)
    z, truth = np.log(np.maximum(p[known], LEAST)), labels[known]  # (M, 8), (M,)
    grid = np.array(sorted(config.grid, key=abs))
    bias = np.zeros(N_CLASSES)
    for _ in range(config.rounds):
        before = bias.copy()
        for c in range(N_CLASSES):
            bias[c] = grid[_score_grid(z, truth, bias, c, grid=grid, missed=missed).argmax()]
        if (bias == before).all():
            break
    return bias


def _score_grid(
    z: Array,
    truth: NDArray[np.int64],
    bias: Array,
    c: int,
    *,
    grid: Array,
    missed: NDArray[np.int64],
) -> Array:
    """Return the macro-F1 with each value of the grid (G,) as the bias of class `c`."""
    others = z + bias  # (M, 8)
    others[:, c] = -np.inf
    rival = others.argmax(axis=1)  # (M,)
    needed = others[np.arange(len(z)), rival] - z[:, c]  # (M,) bias above which `c` is the label
    order = np.argsort(grid)
    first = np.searchsorted(grid[order], needed, side="right")  # (M,) in ascending order; G: none
    cells = np.ravel_multi_index((first, truth, rival), (len(grid) + 1, N_CLASSES, N_CLASSES))
    changing = np.bincount(cells, minlength=(len(grid) + 1) * N_CLASSES**2)
    changing = changing.reshape(-1, N_CLASSES, N_CLASSES)  # rows whose label becomes `c` there
    changed = changing.cumsum(axis=0)[:-1]  # (G, 8, 8)
    counts = np.repeat(missed[None], len(grid), axis=0)  # (G, 8, 9)
    counts[order, :, :N_CLASSES] += changing.sum(axis=0) - changed
    counts[order, :, c] += changed.sum(axis=2)
    return find_macro_f1(counts)
