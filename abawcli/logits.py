"""Outputs of heads: eight probabilities, and the scale that restores the logits behind them.

A softmax loses the scale of its logits z, the logarithm of the sum of their exponentials. With it
they are known again: z = log p + scale. Averages of outputs are averages of both, so that their
logits are those of their probabilities.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from abawcli.labels import N_CLASSES

N_OUTPUTS = N_CLASSES + 1  # the probabilities and the scale
LEAST = np.finfo(np.float32).tiny  # probabilities are in single precision


def make_outputs(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the outputs (N, 9) of logits (N, 8)."""
    exact = logits.astype(np.float64)
    scale = special.logsumexp(exact, axis=1, keepdims=True)  # (N, 1)
    return np.concatenate([special.softmax(exact, axis=1), scale], axis=1)


def restore_logits(outputs: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the logits (N, 8) of outputs (N, 9); NaN where these are."""
    exact = outputs.astype(np.float64)
    logits: NDArray[np.float64] = np.log(np.maximum(exact[:, :N_CLASSES], LEAST))
    return logits + exact[:, N_CLASSES:]
