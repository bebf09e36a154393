"""Wrong segments of annotated predictions, for the error browser of a report.

A wrong segment is consecutive frames with one label and one annotation that differ. The worst come
first, by the sum over their frames of the confidence in the wrong label times the duration. So a
long error of high confidence comes before a short one or one of low confidence, and frames without
a label come last.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from abawcli.labels import CLASSES, IGNORE
from abawcli.views.timeline import Timeline

NO_LABEL = "no label"


@dataclass(frozen=True)
class WrongSegment:
    """Consecutive frames with one wrong label."""

    start_s: float
    end_s: float
    first: int  # frame number
    last: int
    shown: int  # number of its frame of the highest confidence, one with a face if there is any
    annotation: str
    label: str  # NO_LABEL: none was predicted
    mean_confidence: float | None  # None: no label
    cost: float  # sum of confidence times seconds

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.end_s - self.start_s


def find_errors(
    timeline: Timeline, frame: NDArray[np.int64], found: NDArray[np.bool_]
) -> list[WrongSegment]:
    """Return the wrong segments of a subject, the worst first.

    Args:
        timeline: of the subject, T rows.
        frame: (T,) number of each row.
        found: (T,) whether it has a face.
    """
    if timeline.annotation is None:
        return []
    label, truth = timeline.label, timeline.annotation
    wrong = (truth != IGNORE) & (label != truth)
    rows = np.arange(len(label))
    own = np.where(label == IGNORE, 0, timeline.probabilities[rows, np.maximum(label, 0)])
    confidence = np.nan_to_num(own)  # (T,)
    changes = np.flatnonzero((np.diff(label) != 0) | (np.diff(truth) != 0) | (np.diff(frame) != 1))
    errors = [
        _describe_segment(timeline, frame, found, confidence, rows=part)
        for part in np.split(rows, changes + 1)
        if wrong[part[0]]
    ]
    return rank_errors(errors)


def rank_errors(errors: Sequence[WrongSegment]) -> list[WrongSegment]:
    """Return errors, the worst first; of equal ones the longer, then the earlier."""
    return sorted(errors, key=lambda each: (-each.cost, -each.seconds, each.start_s))


def _describe_segment(
    timeline: Timeline,
    frame: NDArray[np.int64],
    found: NDArray[np.bool_],
    confidence: NDArray[np.float64],
    *,
    rows: NDArray[np.intp],
) -> WrongSegment:
    """Describe the error of consecutive rows (R,) with one label and one annotation."""
    assert timeline.annotation is not None
    first, last = rows[0], rows[-1]
    faces = rows[found[rows]]
    candidates = faces if len(faces) else rows
    label = int(timeline.label[first])
    lasts = timeline.end_s[rows] - timeline.start_s[rows]
    return WrongSegment(
        start_s=float(timeline.start_s[first]),
        end_s=float(timeline.end_s[last]),
        first=int(frame[first]),
        last=int(frame[last]),
        shown=int(frame[candidates[confidence[candidates].argmax()]]),
        annotation=CLASSES[timeline.annotation[first]],
        label=NO_LABEL if label == IGNORE else CLASSES[label],
        mean_confidence=None if label == IGNORE else float(confidence[rows].mean()),
        cost=float((confidence[rows] * lasts).sum()),
    )
