"""Score predictions against annotations, all videos pooled.

Videos are matched by name: the `video` column of a table, the file name of a text file. An
annotation `<video>_left` or `_right` takes predictions of that name, or those of `<video>`
with that subject, or the only subject of `<video>`. Rows that an annotation has beyond the last
predicted frame (2 at most) take the last frame's prediction, as the organisers count them.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.errors import InputError
from abawcli.formats.abaw import Labels, align_rows, find_track, read_annotation, split_side
from abawcli.formats.files import VIDEO_SUFFIXES
from abawcli.formats.tables import TABLE_SUFFIXES, read_labels, read_table
from abawcli.labels import CLASSES, IGNORE
from abawcli.metrics import Score, score_labels

LOG = logging.getLogger(__name__)
LABEL_SUFFIXES = TABLE_SUFFIXES | {".txt"}


@dataclass(frozen=True)
class Track:
    """The labels of one person in one video, one a frame, (T,)."""

    labels: Labels
    found: NDArray[np.bool_] | None  # (T,) was a face seen; None: the file does not say


Tracks = dict[tuple[str, str], Track]  # video, subject ("" in text files)
Pair = tuple[Labels, Track, NDArray[np.intp]]  # annotation (T,), predictions, frame of each row
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Scoring:
    """What `score_files` found."""

    overall: Score
    with_face: Score | None  # frames with a face only; None where the predictions do not say
    unlabelled: int  # annotated frames with prediction -1
    videos: list[str]  # annotations that were scored
    failed: dict[str, str]  # file or annotation -> why it could not be scored


def _video_name(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name


def _by_frame(rows: pd.DataFrame, column: str, missing: int) -> NDArray[Any]:
    """Return a column's values by frame number, (last frame,)."""
    frame = rows["frame"].to_numpy()
    values = np.full(int(frame.max()), missing, rows[column].to_numpy().dtype)
    values[frame - 1] = rows[column]
    return values


def _read_tracks(path: Path) -> Tracks:
    if path.suffix.lower() not in TABLE_SUFFIXES:
        return {(path.stem, ""): Track(read_annotation(path), None)}
    groups = read_table(path).groupby(["video", "subject"], sort=False)
    return {
        (_video_name(str(video)), str(subject)): Track(
            _by_frame(rows, "label", IGNORE), _by_frame(rows, "found", False)
        )
        for (video, subject), rows in groups
    }


def _read_truth(path: Path) -> dict[str, Labels]:
    if path.suffix.lower() not in TABLE_SUFFIXES:
        return {path.stem: read_annotation(path)}
    groups = read_labels(path).groupby("video", sort=False)
    return {_video_name(str(v)): _by_frame(rows, "label", IGNORE) for v, rows in groups}


def _gather(
    files: Iterable[Path], read: Callable[[Path], dict[Key, Value]], failed: dict[str, str]
) -> dict[Key, Value]:
    """Read all files into one dict; note those that cannot be read or come twice."""
    gathered: dict[Key, Value] = {}
    for path in files:
        try:
            items = read(path)
        except InputError as error:
            failed[str(path)] = str(error)
            continue
        if twice := [key for key in items if key in gathered]:
            video = twice[0][0] if isinstance(twice[0], tuple) else twice[0]
            failed[str(path)] = f"{path}: labels of {video} are in another file too, left out here"
        gathered |= {key: value for key, value in items.items() if key not in twice}
    return gathered


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
    """Score prediction files (tables, ABAW text) against annotation files (ABAW text, tables).

    Files that cannot be read and annotations without predictions are named in `failed`; the
    others are scored.

    Raises:
        InputError: nothing can be scored.
    """
    failed: dict[str, str] = {}
    tracks = _gather(predictions, _read_tracks, failed)
    truth = _gather(annotations, _read_truth, failed)
    pairs = _pair_up(truth, tracks, failed)
    if not pairs:
        first, *others = failed.values()
        raise InputError(first + (f" (and {len(others)} other failures)" if others else ""))
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
