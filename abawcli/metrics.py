"""The challenge's score and related metrics, from arrays of labels.

Scores are computed from counts (..., 8, 9) of annotated frames: row = annotated class, column =
predicted class, and the last column frames without a prediction. The counts of a set of videos are
the sum of those of its videos, which makes bootstrap samples cheap. scikit-learn would count anew
for each sample, and its import takes longer than scoring a million frames; tests compare with it.
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
    """The result of `score_labels`; per-class arrays (8,) in the order of `labels.CLASSES`."""

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
    def figures(self) -> dict[str, float]:
        """Return the figures of a summary."""
        return {"macro_f1": self.macro_f1, "accuracy": self.accuracy}

    @property
    def frames(self) -> int:
        """Return the number of annotated frames that were scored."""
        return int(self.support.sum())


def choose_labels(p: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Return the most likely class (T,) of probabilities (T, 8), -1 where they are NaN."""
    none = np.isnan(p[:, 0])
    return np.where(none, IGNORE, np.where(none[:, None], 0, p).argmax(axis=1))


def score_labels(truth: ArrayLike, predicted: ArrayLike) -> Score:
    """Score predicted labels (N,) against annotations `truth` (N,), both -1 to 7.

    Frames annotated -1 are left out. A predicted -1 is an error of the annotated class. The
    macro-F1 is the mean over all eight classes; a class that is neither annotated nor predicted
    counts 0, as in the challenge's scorer.

    Raises:
        InputError: the lengths differ, a label is not -1 to 7, or no frame is annotated.
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
    """Count frames by annotated class (N,) and predicted class (N,), (8, 9).

    The last column counts frames without a prediction. Frames annotated -1 are left out.

    Raises:
        InputError: the lengths differ, or a label is not -1 to 7.
    """
    y, p = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    if y.shape != p.shape:
        raise InputError(f"{len(y)} annotations cannot be scored with {len(p)} predictions")
    for labels in (y, p):
        if len(labels) and (labels.min() < IGNORE or labels.max() >= N_CLASSES):
            outside = labels[(labels < IGNORE) | (labels >= N_CLASSES)]
            raise InputError(f"labels must be {IGNORE} to {N_CLASSES - 1}, not {outside[0]}")
    column = np.where(p == IGNORE, N_CLASSES, p)
    cells = (y * (N_CLASSES + 1) + column)[y != IGNORE]
    counts = np.bincount(cells, minlength=N_CLASSES * (N_CLASSES + 1))
    return counts.reshape(N_CLASSES, N_CLASSES + 1)


def _find_f1(
    counts: NDArray[np.number[Any]],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the F1 (..., 8) of each class from counts (..., 8, 9), and whether it occurs."""
    confusion = counts[..., :N_CLASSES]
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    both = counts.sum(axis=-1) + confusion.sum(axis=-2)  # annotated frames and predicted ones
    return 2 * hits / np.maximum(both, 1), both > 0


def find_macro_f1(counts: NDArray[np.number[Any]]) -> NDArray[np.float64]:
    """Return the macro-F1 (...) from counts (..., 8, 9), as in `score_labels`."""
    macro_f1: NDArray[np.float64] = _find_f1(counts)[0].mean(axis=-1)
    return macro_f1


def find_own_f1(counts: Counts) -> NDArray[np.float64]:
    """Return the mean F1 (...) of the classes that occur in counts (..., 8, 9); 0 if none does.

    It is the score of a single video: few videos have all classes, and a mean over all eight would
    mainly depend on their number.
    """
    f1, occurs = _find_f1(counts)
    own_f1: NDArray[np.float64] = f1.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)
    return own_f1


def resample_videos(
    statistics: NDArray[np.number[Any]], samples: int, seed: int
) -> NDArray[np.float64]:
    """Return the summed statistics of bootstrap samples of videos, (samples, ...).

    Each sample has V videos, chosen with replacement. Whole videos are resampled, because frames
    of one video are dependent: single frames would give intervals that are too narrow.

    Args:
        statistics: (V, ...) counts or sums of each video.
        samples: number of samples.
        seed: the same seed gives the same samples, so that two predictions can be compared in
            pairs.
    """
    videos = len(statistics)
    times = np.random.default_rng(seed).multinomial(videos, np.full(videos, 1 / videos), samples)
    # Floats, because BLAS multiplies no integers; counts are exact in them.
    return np.tensordot(times.astype(np.float64), statistics.astype(np.float64), axes=1)


def find_calibration_error(
    confidence: NDArray[np.floating[Any]], right: NDArray[np.bool_], bins: int
) -> float:
    """Return the expected calibration error, from 0 to 1.

    It is the difference of accuracy and mean confidence in `bins` bins of equal width, averaged
    over the frames.

    Args:
        confidence: (N,) probability of the predicted class.
        right: (N,) whether the prediction is correct.
        bins: number of bins.
    """
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)  # (N,)
    gap = np.bincount(index, confidence - right, bins)  # (bins,) sums
    return float(np.abs(gap).sum() / len(confidence))
