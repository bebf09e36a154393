"""A linear classifier of a voice encoder's final features.

The classifier that is trained with the network follows features that change, under mixup, dropout
and beside a contrast. A logistic regression on the features of the trained network has one optimum.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abawcli.labels import N_CLASSES
from abawcli.training.audio_data import AudioDataset, balance

Floats = NDArray[np.float64]
RECORDINGS = 2400  # drawn from the train split: more change little
MOMENTS = 6  # of a recording
MAX_ITERATIONS, TOLERANCE = 300, 1e-3  # of the logistic regression


@dataclass(frozen=True)
class LabelledMoments:
    """Features around moments of recordings, to learn from."""

    features: Floats  # (N, D)
    labels: NDArray[np.int64]  # (N,)
    weights: NDArray[np.float32]  # (N,) how much each counts


def draw_moments(
    data: AudioDataset, average: Callable[[Tensor], Tensor], seed: int
) -> LabelledMoments:
    """Return random moments of random recordings; corpora and their classes count the same.

    `average` gives the averages (S, D) of a recording that the classifier is to classify.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(data))[:RECORDINGS])
    features = []
    for k in chosen:
        means = average(data[k]).cpu()
        features.append(means[torch.from_numpy(rng.integers(len(means), size=MOMENTS))])
    labels, corpora = data.recordings.labels[chosen], data.recordings.corpora[chosen]
    return LabelledMoments(
        torch.cat(features).double().numpy(),
        labels.repeat(MOMENTS),
        balance(labels, corpora).repeat(MOMENTS),
    )


def fit_linear(moments: LabelledMoments, strength: float, unseen: float) -> nn.Linear:
    """Return the logistic regression (D to 8) on standardised features.

    Args:
        moments: what it learns from.
        strength: inverse strength of the L2 penalty, relative to the mean loss of a moment.
        unseen: probability of each class that no moment has, at the mean of the features.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import; few runs need it

    mean, deviation = moments.features.mean(axis=0), moments.features.std(axis=0) + 1e-6
    scaled = (moments.features - mean) / deviation
    share = moments.weights / moments.weights.sum()  # C multiplies the sum of the losses
    model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS, tol=TOLERANCE)
    model.fit(scaled, moments.labels, sample_weight=share)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # of the second class, relative to the first
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weights, biases = np.zeros((N_CLASSES, scaled.shape[1])), np.zeros(N_CLASSES)
    weights[model.classes_] = coefficients / deviation
    biases[model.classes_] = intercepts
    missing = np.setdiff1d(np.arange(N_CLASSES), model.classes_)
    odds = unseen / (1 - len(missing) * unseen)
    biases[missing] = np.log(odds) + np.logaddexp.reduce(intercepts)
    linear = nn.Linear(scaled.shape[1], N_CLASSES)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weights))
        linear.bias.copy_(torch.from_numpy(biases - weights @ mean))
    return linear
