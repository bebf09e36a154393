"""Annotated predictions, smoothed and with class biases, which a sweep compares."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from abawcli.balance import apply_bias, find_bias
from abawcli.config import Smoothing
from abawcli.datasets.pairing import Pair, PredictedTrack
from abawcli.formats.abaw import Labels
from abawcli.labels import IGNORE, N_CLASSES
from abawcli.metrics import Counts, choose_labels, count_confusion
from abawcli.smoothing import smooth_rows
from abawcli.sources import SOURCES


def smooth_track(track: PredictedTrack, smoothing: Smoothing) -> NDArray[np.float64]:
    """Return the probabilities (T, 8) that `smooth` gives a track with probabilities, or NaN.

    Frames without a row are ignored.
    """
    assert track.probabilities is not None and track.source is not None
    assert track.times_s is not None
    there = np.flatnonzero(track.source >= 0)
    source = np.array(SOURCES)[track.source[there]]
    found = np.full((len(track.source), N_CLASSES), np.nan)
    found[there], _ = smooth_rows(
        track.probabilities[there], source, there + 1, track.times_s[there],
        config=smoothing, logits=None if track.logits is None else track.logits[there],
    )  # fmt: skip
    return found


def smooth_labels(track: PredictedTrack, smoothing: Smoothing) -> Labels:
    """Return the labels (T,) that `smooth` gives a track with probabilities."""
    return choose_labels(smooth_track(track, smoothing))


def tune_bias(pairs: Sequence[Pair], smoothing: Smoothing) -> tuple[float, ...]:
    """Return the bias of each class, (8,), with the best macro-F1 after a smoothing."""
    return tuple(find_bias(*_gather_rows(pairs, smoothing)).tolist())


def count_biased(pairs: Sequence[Pair], smoothing: Smoothing, bias: Sequence[float]) -> Counts:
    """Count the frames of annotations, smoothed and with a bias (8,), (8, 9)."""
    p, labels = _gather_rows(pairs, smoothing)
    return count_confusion(labels, choose_labels(apply_bias(p, np.array(bias))))


def _gather_rows(pairs: Sequence[Pair], smoothing: Smoothing) -> tuple[NDArray[np.float64], Labels]:
    """Return the smoothed probabilities (N, 8) and labels (N,) of all annotated frames."""
    known = [pair.annotation != IGNORE for pair in pairs]
    p = [
        smooth_track(pair.track, smoothing)[pair.rows[rows]]
        for pair, rows in zip(pairs, known, strict=True)
    ]
    labels = [pair.annotation[rows] for pair, rows in zip(pairs, known, strict=True)]
    return np.concatenate(p), np.concatenate(labels)
