"""Outputs of heads: eight probabilities, and the scale that restores the logits behind them.

A softmax loses the scale of its logits z, the logarithm of the sum of their exponentials. With it
they are known again: z = log p + scale. Averages of outputs are averages of both, so that their
logits are those of their probabilities.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.labels import N_CLASSES

N_OUTPUTS = N_CLASSES + 1  # the probabilities and the scale
LEAST = np.finfo(np.float32).tiny  # probabilities are in single precision


def make_outputs(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the outputs (N, 9) of logits (N, 8)."""
    exact = logits.astype(np.float64)
    return np.concatenate([softmax(exact), _find_scale(exact)], axis=1)


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Return the probabilities (N, K) of logits (N, K), as scipy does, which is slow to import."""
    shares: NDArray[Any] = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def log_softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Return the logarithms (N, K) of the probabilities of logits (N, K), as scipy does."""
    lowered: NDArray[Any] = logits - logits.max(axis=1, keepdims=True)
    lowered -= np.log(np.exp(lowered).sum(axis=1, keepdims=True))
    return lowered


def _find_scale(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm (N, 1) of the sum of the exponentials of logits (N, K), finite or NaN.

    The greatest are left out of the sum: what the others add to them keeps its digits.
    """
    top = logits.max(axis=1, keepdims=True)
    is_top = logits == top
    others = np.exp(np.where(is_top, -np.inf, logits) - top).sum(axis=1, keepdims=True)
    count = is_top.sum(axis=1, keepdims=True).clip(1)  # of NaN there is no greatest
    scale: NDArray[np.float64] = np.log1p(others / count) + np.log(count) + top
    return scale


def restore_logits(outputs: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the logits (N, 8) of outputs (N, 9); NaN where these are."""
    exact = outputs.astype(np.float64)
    logits: NDArray[np.float64] = np.log(np.maximum(exact[:, :N_CLASSES], LEAST))
    return logits + exact[:, N_CLASSES:]
