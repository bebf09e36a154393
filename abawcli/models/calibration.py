"""Calibration: a temperature and a bias per class, so that confidence matches accuracy."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from abawcli.config import CALIBRATION
from abawcli.labels import N_CLASSES
from abawcli.models.metadata import Calibration

Logits = NDArray[np.floating]


def calibrate_logits(logits: Logits, how: Calibration) -> NDArray[np.float64]:
    """Return logits / temperature + bias, (N, 8)."""
    out: NDArray[np.float64] = logits.astype(np.float64) / how.temperature + np.array(how.bias)
    return out


@torch.no_grad()
def calibrate_linear(linear: nn.Linear, how: Calibration) -> None:
    """Change a linear classifier in place, so that its logits are calibrated."""
    linear.weight.div_(how.temperature)
    linear.bias.div_(how.temperature).add_(linear.bias.new_tensor(how.bias))


def fit_calibration(
    logits: Logits, labels: NDArray[np.int64], *, biases: bool = True
) -> Calibration:
    """Return the temperature and the biases with the lowest cross-entropy.

    A penalty keeps the bias of a class with few examples near 0.

    Args:
        logits: (N, 8), of examples that the network was not trained on.
        labels: (N,) 0 to 7.
        biases: False: the temperature alone.
    """
    from scipy.optimize import minimize  # applying a calibration does not need it

    x = np.asarray(logits, np.float64)
    truth = np.eye(N_CLASSES)[labels]  # (N, 8)

    def miss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the penalised cross-entropy and its gradient, for log T and the biases."""
        power, bias = values[0], values[1:]
        scaled = x * np.exp(-power)
        z = scaled + bias
        z -= z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        wrong = np.exp(log_p) - truth  # (N, 8)
        penalty = CALIBRATION.bias_penalty
        loss = -(truth * log_p).sum() + penalty / 2 * (bias**2).sum()
        slope = np.concatenate([[-(wrong * scaled).sum()], wrong.sum(axis=0) + penalty * bias])
        return loss / len(x), slope / len(x)

    edge = np.log(CALIBRATION.largest_temperature)
    free = (None, None) if biases else (0.0, 0.0)
    bounds = [(-edge, edge)] + [free] * N_CLASSES
    best = minimize(miss, np.zeros(1 + N_CLASSES), jac=True, bounds=bounds, method="L-BFGS-B").x
    return Calibration(float(np.exp(best[0])), tuple((best[1:] - best[1:].mean()).tolist()))


def draw_folds(count: int, seed: int = 0) -> NDArray[np.int64]:
    """Return a random fold, from 0, for each of `count` independent examples, (count,)."""
    return np.random.default_rng(seed).permutation(count) % CALIBRATION.folds


def calibrate_out_of_fold(
    logits: Logits, labels: NDArray[np.int64], fold: NDArray[np.int64], *, biases: bool = True
) -> NDArray[np.float64]:
    """Return logits (N, 8), each calibrated with the parameters that the other folds give.

    Their scores are not optimistic, unlike those of parameters fitted on the same examples.

    Args:
        logits: (N, 8).
        labels: (N,) 0 to 7.
        fold: (N,) the fold of each example; those of one video must be in the same fold.
        biases: as in `fit_calibration`.
    """
    out = np.empty((len(labels), N_CLASSES))
    for k in np.unique(fold):
        held = fold == k
        how = fit_calibration(logits[~held], labels[~held], biases=biases)
        out[held] = calibrate_logits(logits[held], how)
    return out
