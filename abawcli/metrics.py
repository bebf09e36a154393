"""The challenge's score and its relatives: arrays in, numbers out.

Scores are made of counts (..., 8, 9) of annotated frames: row = annotated class, column = predicted
class, the last of them for none. Counts of videos add up to those of all, so that videos can be
scored alone, together, and drawn again and again. (scikit-learn would count each time anew, and
takes longer to import than a million frames to score; tests hold that the figures are its own.)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from abawcli.errors import InputError
from abawcli.labels import CLASSES, IGNORE, N_CLASSES

Counts = NDArray[np.int64]  # (..., 8, 9): annotated class, predicted class or none


@dataclass(frozen=True)
class Score:
    """What `score_labels` found; per-class arrays (8,) in the order of `labels.CLASSES`."""

    macro_f1: float
    occurring_f1: float  # the mean of the classes that occur, annotated or predicted
    accuracy: float
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]  # annotated frames of each class
    confusion: NDArray[np.int64]  # (8, 8): row = annotation, column = prediction

    @property
    def absent(self) -> list[str]:
        """Return the classes that are neither annotated nor predicted."""
        seen = self.support + self.confusion.sum(axis=0) > 0
        return [name for name, there in zip(CLASSES, seen, strict=True) if not there]

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
        InputError: the lengths differ, a label is none of -1 to 7, or no frame is annotated.
    """
    counts = count_confusion(truth, predicted)
    support, confusion = counts.sum(axis=1), counts[:, :N_CLASSES]
    if not support.any():
        raise InputError("no annotated frame to score (all annotations are -1, or there are none)")
    hits = confusion.diagonal()
    f1 = _find_f1(counts)[0]
    return Score(
        macro_f1=float(f1.mean()),
        occurring_f1=float(find_own_f1(counts)),
        accuracy=float(hits.sum() / support.sum()),
        precision=hits / np.maximum(confusion.sum(axis=0), 1),
        recall=hits / np.maximum(support, 1),
        f1=f1,
        support=support,
        confusion=confusion,
    )


def count_confusion(truth: ArrayLike, predicted: ArrayLike) -> Counts:
    """Count annotated frames (N,) by class and prediction, (8, 9); the last column is none.

    Raises:
        InputError: the lengths differ, or a label is none of -1 to 7.
    """
    y, p = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    if y.shape != p.shape:
        raise InputError(f"{len(y)} annotations cannot be scored with {len(p)} predictions")
    for labels in (y, p):
        outside = labels[(labels < IGNORE) | (labels >= N_CLASSES)]
        if len(outside):
            raise InputError(f"labels must be {IGNORE} to {N_CLASSES - 1}, not {outside[0]}")
    column = np.where(p == IGNORE, N_CLASSES, p)
    cells = (y * (N_CLASSES + 1) + column)[y != IGNORE]
    counts = np.bincount(cells, minlength=N_CLASSES * (N_CLASSES + 1))
    return counts.reshape(N_CLASSES, N_CLASSES + 1)


def _find_f1(
    counts: NDArray[np.number[Any]],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return each class's F1 in counts (..., 8, 9), (..., 8), and whether it occurs at all."""
    confusion = counts[..., :N_CLASSES]
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    both = counts.sum(axis=-1) + confusion.sum(axis=-2)  # annotated frames and predicted ones
    return 2 * hits / np.maximum(both, 1), both > 0


def find_macro_f1(counts: NDArray[np.number[Any]]) -> NDArray[np.float64]:
    """Return the macro-F1 of counts (..., 8, 9), (...): that of `score_labels`."""
    macro_f1: NDArray[np.float64] = _find_f1(counts)[0].mean(axis=-1)
    return macro_f1


def find_own_f1(counts: Counts) -> NDArray[np.float64]:
    """Return the mean F1 of the classes that occur in counts (..., 8, 9), (...); 0 if none does.

    That is what a single video is judged by: few have all classes, and the mean over all eight
    would rate it by how many it has.
    """
    f1, occurs = _find_f1(counts)
    own_f1: NDArray[np.float64] = f1.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)
    return own_f1


def bootstrap_macro_f1(counts: Counts, draws: int, seed: int) -> NDArray[np.float64]:
    """Return the macro-F1 (draws,) of as many videos, drawn with replacement each time.

    `counts` (V, 8, 9) are those of each video. Whole videos are drawn and not frames: frames of
    one video resemble each other, and would make every difference look certain. The same seed
    draws the same videos, so that two predictions of them can be compared draw by draw.
    """
    videos = len(counts)
    times = np.random.default_rng(seed).multinomial(videos, np.full(videos, 1 / videos), draws)
    # Floats, because BLAS multiplies no integers; counts are exact in them.
    drawn = np.tensordot(times.astype(np.float64), counts.astype(np.float64), axes=1)
    return find_macro_f1(drawn)


def find_calibration_error(
    confidence: NDArray[np.floating[Any]], right: NDArray[np.bool_], bins: int
) -> float:
    """Return the expected calibration error of confidences (N,), from 0 (none) to 1.

    Frames are put into bins of equal width by their confidence; the error is how far share of
    right answers and mean confidence are apart, averaged over the frames.
    """
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)  # (N,)
    gap = np.bincount(place, confidence - right, bins)  # (bins,) sums
    return float(np.abs(gap).sum() / len(confidence))
