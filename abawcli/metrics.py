"""The challenge's score and its relatives: arrays in, numbers out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from abawcli.errors import InputError
from abawcli.labels import IGNORE, N_CLASSES


@dataclass(frozen=True)
class Score:
    """What `score_labels` found; per-class arrays (8,) in the order of `labels.CLASSES`."""

    macro_f1: float
    accuracy: float
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]  # annotated frames of each class
    confusion: NDArray[np.int64]  # (8, 8): row = annotation, column = prediction

    @property
    def frames(self) -> int:
        """Return the number of annotated frames that were scored."""
        return int(self.support.sum())


def score_labels(truth: ArrayLike, predicted: ArrayLike) -> Score:
    """Score predicted labels (N,) against annotations (N,).

    Frames annotated -1 are left out. A predicted -1 counts as wrong for its true class. The
    macro-F1 is the plain mean over all eight classes; one that is absent from both sides
    counts 0, as the challenge's scorer has it.

    Raises:
        InputError: the lengths differ, or no frame is annotated.
    """
    y, p = np.asarray(truth, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if y.shape != p.shape:
        raise InputError(f"{len(y)} annotations cannot be scored with {len(p)} predictions")
    kept = y != IGNORE
    y, p = y[kept], p[kept]
    if len(y) == 0:
        raise InputError("no annotated frame to score (all annotations are -1, or there are none)")
    classes = list(range(N_CLASSES))
    precision, recall, f1, support = precision_recall_fscore_support(
        y, p, labels=classes, zero_division=0
    )
    return Score(
        macro_f1=float(f1.mean()),
        accuracy=float((y == p).mean()),
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
        confusion=confusion_matrix(y, p, labels=[IGNORE, *classes])[1:, 1:],
    )
