"""The outputs of heads, by task.

For expressions they are eight probabilities and the scale of the logits (`logits`). For tasks with
values (`tasks`), they are a number for each of the task's outputs. All are NaN in frames without a
prediction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abawcli.config import EXPR
from abawcli.fusion import average_outputs, average_values
from abawcli.labels import N_CLASSES
from abawcli.logits import N_OUTPUTS
from abawcli.tasks import TASKS

Average = Callable[[Sequence[NDArray[np.floating[Any]]]], NDArray[np.float64]]


@dataclass(frozen=True)
class OutputForm:
    """The outputs of heads of one task."""

    logits: int  # K, the width of the last layer
    outputs: int  # M, numbers per frame
    activate: Callable[[Tensor], Tensor]  # logits (..., K) to outputs (..., M)
    average: Average  # outputs of several heads, (N, M) each, to their mean (N, M)


def _find_probabilities(logits: Tensor) -> Tensor:
    """Return the outputs (..., 9) of logits (..., 8)."""
    scale = logits.logsumexp(dim=-1, keepdim=True)  # (..., 1)
    return torch.cat([logits.softmax(dim=-1), scale], dim=-1)


ACTIVATIONS = {"va": torch.tanh, "au": torch.sigmoid}  # of tasks with values: to their range
OUTPUT_FORMS = {EXPR: OutputForm(N_CLASSES, N_OUTPUTS, _find_probabilities, average_outputs)} | {
    name: OutputForm(len(task.outputs), len(task.outputs), ACTIVATIONS[name], average_values)
    for name, task in TASKS.items()
}
