"""The objectives of heads, by task: the loss of logits, and the scores of outputs."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abawcli.config import EXPR, HeadTraining
from abawcli.datasets.annotated import VideoSet
from abawcli.labels import CLASSES, IGNORE, N_CLASSES
from abawcli.logits import restore_logits
from abawcli.metrics import Score, choose_labels, score_labels
from abawcli.models.training_metadata import Validation, ValueValidation
from abawcli.tasks import TASKS
from abawcli.training.losses import (
    ccc_loss,
    class_weights,
    effective_weights,
    focal_loss,
    unit_loss,
    unit_weights,
)
from abawcli.training.window_samples import WindowSamples

LOG = logging.getLogger(__name__)
Outputs = NDArray[np.floating[Any]]
NEAR = 1e-6  # distance of outputs from the ends of their range before logits are restored


class Objective(Protocol):
    """The loss and the scores of a task."""

    def find_loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return the loss of logits (N, K) against labels (N,) or values (N, K)."""

    def validate(self, outputs: Outputs, videos: VideoSet) -> Validation | ValueValidation:
        """Return the scores of outputs (N, M) of all rows of videos."""


class ExpressionObjective:
    """Focal loss with class weights, and macro-F1."""

    def __init__(self, config: HeadTraining, samples: WindowSamples, device: torch.device) -> None:
        """Compute class weights from the training frames; warn of classes without frames."""
        self.gamma = config.focal_gamma
        counts = torch.bincount(samples.labels(), minlength=N_CLASSES)  # (8,)
        _warn_of_absent(CLASSES, counts)
        if config.effective_beta is not None:
            weight = effective_weights(counts, config.effective_beta)
        else:
            weight = class_weights(counts.float(), config.class_weight_power)
        self.weight = weight.to(device)  # (8,)

    def find_loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return the focal loss of logits (N, 8) against labels (N,)."""
        return focal_loss(logits, truth, self.gamma, self.weight)

    def validate(self, outputs: Outputs, videos: VideoSet) -> Validation:
        """Return the scores of outputs (N, 9)."""
        labels = videos.labels()
        score = score_labels(labels, choose_labels(outputs[:, :N_CLASSES]))
        f1 = dict(zip(CLASSES, score.f1.tolist(), strict=True))
        truth = torch.from_numpy(np.where(np.isnan(outputs[:, 0]), IGNORE, labels))
        logits = torch.from_numpy(restore_logits(outputs)).float()
        loss = focal_loss(logits, truth, self.gamma, self.weight.cpu())
        return Validation(score.macro_f1, score.accuracy, f1, loss=loss.item())


def _warn_of_absent(names: tuple[str, ...], counts: Tensor) -> None:
    absent = [name for name, count in zip(names, counts, strict=True) if count == 0]
    if absent:
        LOG.warning(
            "no training frame is annotated %s: the head will hardly ever predict it",
            " or ".join(absent),
        )


def validate_values(name: str, outputs: Outputs, truth: Outputs) -> ValueValidation:
    """Return the scores of outputs (N, K) of a task against values (N, K).

    Values without a prediction count as predicted 0, as in `abaw score`.
    """
    task = TASKS[name]
    values = np.nan_to_num(task.decide(outputs.astype(np.float64)))
    sums = task.summarise(truth.astype(np.float64), values)
    columns = dict(zip(task.columns, task.find_score(sums).tolist(), strict=True))
    return ValueValidation(name, float(task.find_mean_score(sums)), columns)


def score_outputs(task: str, outputs: Outputs, videos: VideoSet) -> Score | ValueValidation:
    """Return the scores of probabilities (N, 8), or values (N, K), of all rows of videos."""
    if task == EXPR:
        return score_labels(videos.labels(), choose_labels(outputs))
    return validate_values(task, outputs, videos.values(task))


class ValenceObjective:
    """1 - CCC of valence and arousal, the mean of both, over the annotated frames of a batch."""

    def __init__(self, config: HeadTraining, samples: WindowSamples, device: torch.device) -> None:
        """Do nothing: the loss has no settings."""

    def find_loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return the loss of logits (N, 2) against values (N, 2)."""
        return ccc_loss(logits.tanh(), truth)

    def validate(self, outputs: Outputs, videos: VideoSet) -> ValueValidation:
        """Return the scores of outputs (N, 2)."""
        truth = videos.values("va")
        loss = ccc_loss(torch.from_numpy(outputs), torch.from_numpy(truth))
        return replace(validate_values("va", outputs, truth), loss=loss.item())


class UnitObjective:
    """Binary cross-entropy of action units, with weights of active frames."""

    def __init__(self, config: HeadTraining, samples: WindowSamples, device: torch.device) -> None:
        """Compute the weights of active frames; warn of units that are never active."""
        values = samples.list_values("au")  # (N, 12)
        _warn_of_absent(TASKS["au"].columns, (values == 1).sum(dim=0))
        weight = unit_weights(values, config.class_weight_power, config.effective_beta)
        self.weight = weight.to(device)  # (12,)

    def find_loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return the loss of logits (N, 12) against values (N, 12)."""
        return unit_loss(logits, truth, self.weight)

    def validate(self, outputs: Outputs, videos: VideoSet) -> ValueValidation:
        """Return the scores of outputs (N, 12)."""
        truth = videos.values("au")
        logits = torch.logit(torch.from_numpy(outputs), eps=NEAR)
        loss = unit_loss(logits, torch.from_numpy(truth), self.weight.cpu())
        return replace(validate_values("au", outputs, truth), loss=loss.item())


OBJECTIVES: dict[str, Callable[[HeadTraining, WindowSamples, torch.device], Objective]]
OBJECTIVES = {EXPR: ExpressionObjective, "va": ValenceObjective, "au": UnitObjective}
