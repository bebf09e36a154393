"""Pseudo-labels: confident predictions as labels of frames without an annotation.

They come from prediction tables, which are matched with features by video and subject.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawcli.datasets.pairing import gather_tracks, summarise_failures
from abawcli.errors import InputError
from abawcli.formats.abaw import Labels, split_side
from abawcli.formats.feature_sets import TrackKey
from abawcli.labels import IGNORE

SPARE_FRAMES = 2  # by which a table may be longer or shorter than the features, as annotations may


@dataclass(frozen=True)
class PseudoLabels:
    """Labels by video and subject: one for each frame from 1, -1 for those not confident."""

    min_confidence: float
    labels: Mapping[TrackKey, Labels]  # (T,) each

    def leave_out(self, videos: Collection[str]) -> "PseudoLabels":
        """Return the labels without those of these source videos, such as those for validation."""
        labels = {k: v for k, v in self.labels.items() if split_side(k[0])[0] not in videos}
        return replace(self, labels=labels)

    def find(self, name: str, track: TrackKey) -> Labels | None:
        """Return the labels (T,) for an annotation's name and its track of features, or None.

        They are those of the same video and subject, of a video with the annotation's name, or the
        only ones of the video.
        """
        if track in self.labels:
            return self.labels[track]
        for video in (name, track[0]):
            found = [labels for (own, _), labels in self.labels.items() if own == video]
            if len(found) == 1:
                return found[0]
        return None

    def label_rows(self, name: str, track: TrackKey, frame: NDArray[np.int64]) -> Labels:
        """Return the label of each row of features with these frame numbers, (N,), -1 without one.

        Raises:
            InputError: predictions and features have different numbers of frames.
        """
        labels = self.find(name, track)
        if labels is None:
            return np.full(len(frame), IGNORE, np.int64)
        if abs(len(labels) - int(frame[-1])) > SPARE_FRAMES:
            raise InputError(
                f"{name}: predictions for pseudo-labels have {len(labels)} frames, features "
                f"{int(frame[-1])}; predict the same recording"
            )
        padded = np.append(labels, np.full(SPARE_FRAMES, IGNORE))
        return np.asarray(padded[frame - 1], np.int64)


def read_pseudo_labels(tables: Iterable[str | Path], min_confidence: float) -> PseudoLabels:
    """Read the predictions of tables whose confidence is at least `min_confidence`.

    Raises:
        InputError: a file cannot be read or has no probabilities, or no row is that confident.
    """
    failed: dict[str, str] = {}
    labels = {}
    for key, track in gather_tracks(tables, failed).items():
        if track.probabilities is None:
            raise InputError(f"{key[0]}: pseudo-labels need prediction tables, with probabilities")
        p = np.nan_to_num(track.probabilities)  # (T, 8)
        own = np.where(p.max(axis=1) >= min_confidence, p.argmax(axis=1), IGNORE)
        if (own != IGNORE).any():
            labels[key] = own
    if failed:
        raise InputError(summarise_failures(failed))
    if not labels:
        raise InputError(
            f"no row of the tables has a confidence of {min_confidence:g} or more; lower "
            "--min-confidence"
        )
    return PseudoLabels(min_confidence, labels)
