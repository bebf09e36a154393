"""Agreement between coders, from arrays of labels.

Agreement is computed from matrices (8, 8) that count the pairs of labels of one frame by two
coders. The matrix of a set of videos is the sum of those of its videos, which makes bootstrap
samples cheap.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from abawcli.labels import IGNORE, N_CLASSES

Labels = NDArray[np.int64]
Matrix = NDArray[np.float64]


def count_pairs(one: Labels, other: Labels) -> Matrix:
    """Return the confusion matrix (8, 8) of two coders' labels (T,): rows `one`, columns `other`.

    Frames that one of them did not label are left out.
    """
    both = (one != IGNORE) & (other != IGNORE)
    cells = one[both] * N_CLASSES + other[both]
    counts = np.bincount(cells, minlength=N_CLASSES**2).reshape(N_CLASSES, N_CLASSES)
    return counts.astype(np.float64)


def find_kappa(confusion: Matrix) -> float:
    """Return Cohen's kappa of a confusion matrix (8, 8); NaN where chance agreement is 1.

    Source: Cohen (1960), doi 10.1177/001316446002000104.
    """
    total = confusion.sum()
    if total == 0:
        return float("nan")
    observed = np.trace(confusion) / total
    expected = (confusion.sum(axis=0) @ confusion.sum(axis=1)) / total**2
    return float("nan") if expected == 1 else float((observed - expected) / (1 - expected))


def count_coincidences(labels: Labels) -> Matrix:
    """Return the coincidence matrix (8, 8) of the labels of all coders, (C, T).

    Each frame with m >= 2 labels contributes all its ordered pairs of labels, weighted 1 / (m - 1).
    """
    counts = np.stack([(labels == k).sum(axis=0) for k in range(N_CLASSES)])  # (8, T)
    given = counts.sum(axis=0)  # (T,) labels of a frame
    pairable = given >= 2
    n = counts[:, pairable].astype(np.float64)  # (8, U)
    weight = 1 / (given[pairable] - 1)  # (U,)
    coincidences: Matrix = (n * weight) @ n.T - np.diag((n * weight).sum(axis=1))
    return coincidences


def find_alpha(coincidences: Matrix) -> float:
    """Return Krippendorff's alpha of a coincidence matrix (8, 8); NaN if only one class occurs.

    Labels are nominal. Source: Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability",
    section C.
    """
    totals = coincidences.sum(axis=1)  # (8,)
    n = totals.sum()
    expected = n**2 - (totals**2).sum()
    if expected == 0:
        return float("nan")
    return float(1 - (n - 1) * (n - np.trace(coincidences)) / expected)


def find_class_agreement(coincidences: Matrix) -> Matrix:
    """Return the specific agreement of each class (8,) from a coincidence matrix (8, 8).

    It is the share of the labels of a class that another coder gave the same frame, too; NaN for a
    class without labels.
    """
    totals = coincidences.sum(axis=1)  # (8,)
    with np.errstate(invalid="ignore"):
        share: Matrix = np.where(totals > 0, coincidences.diagonal() / totals, np.nan)
    return share


@dataclass(frozen=True)
class LabelSegments:
    """S segments of one label each: index of the first frame and of the one after the last."""

    label: Labels  # (S,)
    start: Labels  # (S,)
    end: Labels  # (S,)


def find_label_segments(labels: Labels) -> LabelSegments:
    """Return the segments of equal labels (T,), without unlabelled frames."""
    if len(labels) == 0:
        return LabelSegments(labels, labels, labels)
    start = np.flatnonzero(np.append(True, labels[1:] != labels[:-1]))
    end = np.append(start[1:], len(labels))
    known = labels[start] != IGNORE
    return LabelSegments(labels[start][known], start[known], end[known])


def count_matched_segments(one: Labels, other: Labels, min_iou: float = 0.5) -> tuple[int, int]:
    """Return how many segments of `one` (T,) match one of `other` (T,), and how many there are.

    Two segments of one label match if their intersection over union is `min_iou` or more. From 0.5
    on, a segment has at most one match.
    """
    a, b = find_label_segments(one), find_label_segments(other)
    matched = 0
    for k in range(len(a.label)):
        low = np.searchsorted(b.end, a.start[k], side="right")
        high = np.searchsorted(b.start, a.end[k], side="left")
        near = slice(int(low), int(high))
        shared = np.minimum(b.end[near], a.end[k]) - np.maximum(b.start[near], a.start[k])
        union = np.maximum(b.end[near], a.end[k]) - np.minimum(b.start[near], a.start[k])
        matched += bool(((shared >= min_iou * union) & (b.label[near] == a.label[k])).any())
    return matched, len(a.label)
