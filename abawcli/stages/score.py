"""Score predictions against annotations, all videos pooled.

Videos are matched by name: see `formats.tracks` for where a file says it. An
annotation `<video>_left` or `_right` takes predictions of that name, or those of `<video>`
with that subject, or the only subject of `<video>`. Rows that an annotation has beyond the last
predicted frame (2 at most) take the last frame's prediction, as the organisers count them.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.errors import InputError
from abawcli.formats.abaw import Labels, align_rows, find_track, split_side
from abawcli.formats.tracks import (
    Track,
    Tracks,
    gather,
    read_tracks,
    read_truth,
    summarise_failures,
)
from abawcli.labels import CLASSES, IGNORE
from abawcli.metrics import Score, score_labels

LOG = logging.getLogger(__name__)
Pair = tuple[Labels, Track, NDArray[np.intp]]  # annotation (T,), predictions, frame of each row


@dataclass(frozen=True)
class Scoring:
    """What `score_files` found."""

    overall: Score
    with_face: Score | None  # frames with a face only; None where the predictions do not say
    unlabelled: int  # annotated frames with prediction -1
    videos: list[str]  # annotations that were scored
    failed: dict[str, str]  # file or annotation -> why it could not be scored


def _pair_up(truth: dict[str, Labels], tracks: Tracks, failed: dict[str, str]) -> dict[str, Pair]:
    """Match annotations with predictions, and their rows with frames; note what fails."""
    predicted = {video for video, _ in tracks}
    if len(truth) == len(predicted) == 1 and not failed:
        (name,), (video,) = truth, predicted
        if video not in (name, split_side(name)[0]):
            LOG.warning("the predictions of %s are scored against %s: names differ", video, name)
            tracks = {(name, subject): track for (_, subject), track in tracks.items()}
    pairs = {}
    for name, labels in truth.items():
        try:
            track = tracks[find_track(name, tracks, "predictions")]
            pairs[name] = labels, track, align_rows(labels, len(track.labels), name)
        except InputError as error:
            failed[name] = str(error)
    uneven = sum(len(labels) != len(track.labels) for labels, track, _ in pairs.values())
    if uneven:
        LOG.warning(
            "%d of %d annotations have a row or two more or less than the video has frames; "
            "rows beyond the last frame are scored with its prediction", uneven, len(pairs),
        )  # fmt: skip
    return pairs


def _find_faces(pairs: Iterable[Pair]) -> NDArray[np.bool_] | None:
    """Return for every row of all annotations whether a face was seen; None: not known."""
    seen = [None if track.found is None else track.found[rows] for _, track, rows in pairs]
    known = [found for found in seen if found is not None]
    return np.concatenate(known) if len(known) == len(seen) else None


def score_files(predictions: Iterable[Path], annotations: Iterable[Path]) -> Scoring:
    """Score prediction files against annotation files: tables, ABAW text, submissions.

    Files that cannot be read and annotations without predictions are named in `failed`; the
    others are scored.

    Raises:
        InputError: nothing can be scored.
    """
    failed: dict[str, str] = {}
    tracks = gather(predictions, read_tracks, failed)
    truth = gather(annotations, read_truth, failed)
    pairs = _pair_up(truth, tracks, failed)
    if not pairs:
        raise InputError(summarise_failures(failed))
    y = np.concatenate([labels for labels, _, _ in pairs.values()])
    p = np.concatenate([track.labels[rows] for _, track, rows in pairs.values()])
    seen = _find_faces(pairs.values())
    faces = seen is not None and bool((y[seen] != IGNORE).any())
    return Scoring(
        overall=score_labels(y, p),
        with_face=score_labels(y[seen], p[seen]) if faces else None,
        unlabelled=int(((y != IGNORE) & (p == IGNORE)).sum()),
        videos=list(pairs),
        failed=failed,
    )


def describe_scoring(scoring: Scoring) -> dict[str, Any]:
    """Return a score as JSON: overall figures, per class, and the confusion matrix by rows."""
    overall, with_face = scoring.overall, scoring.with_face
    return {
        "macro_f1": overall.macro_f1,
        "accuracy": overall.accuracy,
        "frames": overall.frames,
        "unlabelled_frames": scoring.unlabelled,
        "with_face": with_face
        and {
            "macro_f1": with_face.macro_f1,
            "accuracy": with_face.accuracy,
            "frames": with_face.frames,
        },
        "classes": {
            name: {
                "precision": float(overall.precision[k]),
                "recall": float(overall.recall[k]),
                "f1": float(overall.f1[k]),
                "support": int(overall.support[k]),
            }
            for k, name in enumerate(CLASSES)
        },
        "confusion": overall.confusion.tolist(),
        "videos": scoring.videos,
        "failed": scoring.failed,
    }
