"""Stage score: scores of predictions against annotations, over the frames of all videos.

Beside the challenge's score there are its bootstrap interval over videos, the calibration error of
the probabilities, and the scores of shifted predictions, which reveal a wrong count of frames.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.config import Scores
from abawcli.datasets.pairing import (
    ANNOTATION_SUFFIXES,
    LABEL_SUFFIXES,
    Pair,
    PredictedTrack,
    gather_tracks,
    gather_truth,
    pair_tracks,
    summarise_failures,
)
from abawcli.datasets.source_videos import find_better_shift, find_interval, sum_sources
from abawcli.errors import InputError
from abawcli.formats.abaw import Labels
from abawcli.formats.inputs import expand_inputs, locate_inputs
from abawcli.formats.json_values import JsonObject
from abawcli.formats.outputs import check_results
from abawcli.formats.provenance import Provenance, describe_work, write_result
from abawcli.formats.tables import TABLE_SUFFIXES, load_columns
from abawcli.labels import CLASSES, IGNORE
from abawcli.metrics import (
    Counts,
    Score,
    count_confusion,
    find_calibration_error,
    find_macro_f1,
    find_own_f1,
    score_labels,
)

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoScore:
    """The scores of the predictions for one annotation."""

    name: str
    frames: int  # annotated; where there are none, the figures are 0
    macro_f1: float  # of the classes that occur in it, annotated or predicted
    accuracy: float


@dataclass(frozen=True)
class Scoring:
    """The result of `score_files`."""

    overall: Score
    # 95 % bootstrap interval over source videos; None: there is only one.
    interval: tuple[float, float] | None
    with_face: Score | None  # frames with a face only; None where the predictions do not say
    calibration_error: float | None  # of labelled frames; None where there are no probabilities
    shifts: dict[int, float]  # macro-F1 if annotated frame k is predicted in frame k + shift
    better_shift: int | None  # one that is clearly better than 0
    unlabelled: dict[str, int]  # annotated frames with prediction -1, of annotations with some
    videos: list[VideoScore]  # annotations that were scored, in their order
    failed: dict[str, str]  # file or annotation -> why it could not be scored


ScoreWriter = Callable[[Scoring, Path, Provenance], None]


def score_files(
    predictions: Iterable[str | Path],
    annotations: Iterable[str | Path],
    config: Scores | None = None,
) -> Scoring:
    """Score prediction files against annotation files, in any form that `datasets.pairing` reads.

    Files that cannot be read and annotations without predictions are named in `failed`; the
    others are scored.

    Raises:
        InputError: nothing can be scored.
    """
    predictions, annotations = locate_inputs(predictions), locate_inputs(annotations)
    _warn_of_swapped(predictions, annotations)
    _warn_of_same(predictions, annotations)
    failed: dict[str, str] = {}
    tracks = gather_tracks(predictions, failed)
    truth = gather_truth(annotations, failed)
    pairs = pair_tracks(truth, tracks, failed)
    if not pairs:
        raise InputError(summarise_failures(failed))
    config = config or Scores()
    y = np.concatenate([pair.annotation for pair in pairs.values()])
    p = _join(pairs.values(), lambda track: track.labels)
    assert p is not None
    seen = _join(pairs.values(), lambda track: track.found)
    faces = seen is not None and bool((y[seen] != IGNORE).any())
    overall = score_labels(y, p)
    counts = {shift: _count_videos(pairs.values(), shift) for shift in config.shifts}
    sources = {shift: sum_sources(list(pairs), c) for shift, c in counts.items()}
    return Scoring(
        overall=overall,
        interval=find_interval(sources[0], find_macro_f1, config),
        with_face=score_labels(y[seen], p[seen]) if faces else None,
        calibration_error=_measure_calibration(pairs.values(), y, p, config),
        shifts={shift: float(find_macro_f1(c.sum(axis=0))) for shift, c in counts.items()},
        better_shift=find_better_shift(sources, find_macro_f1, config),
        unlabelled=_count_unlabelled(pairs),
        videos=[_score_video(*item) for item in zip(pairs, counts[0], strict=True)],
        failed=failed,
    )


def _count_unlabelled(pairs: Mapping[str, Pair]) -> dict[str, int]:
    lacking = {
        name: (pair.annotation != IGNORE) & (pair.track.labels[pair.rows] == IGNORE)
        for name, pair in pairs.items()
    }
    return {name: int(rows.sum()) for name, rows in lacking.items() if rows.any()}


def _warn_of_swapped(predictions: Iterable[Path], annotations: Iterable[Path]) -> None:
    """Warn if a prediction table is given for annotations, and no table for predictions."""
    if any(path.suffix.lower() in TABLE_SUFFIXES for path in predictions):
        return
    for path in annotations:
        with suppress(InputError):  # it is no prediction table
            load_columns(path, ["source", "confidence"])
            LOG.warning(
                "%s is a prediction table, but stands for the annotations; predictions are given "
                "first, annotations second",
                path,
            )
            return


def _warn_of_same(predictions: Iterable[Path], annotations: Iterable[Path]) -> None:
    """Warn if a file is on both sides: it agrees with itself."""
    given = {os.path.realpath(path) for path in predictions}
    for path in annotations:
        if os.path.realpath(path) in given:
            LOG.warning(
                "%s is given as predictions and as annotations: it agrees with itself", path
            )
            return


def score_paths(
    predictions: str | Path,
    annotations: str | Path,
    outputs: Mapping[Path, ScoreWriter],
    *,
    config: Scores | None = None,
    overwrite: bool = False,
) -> Scoring:
    """Score files, folders or globs, and write `outputs`: paths with the functions that write them.

    Scoring is fast, and is repeated if the outputs are finished.

    Raises:
        InputError: nothing can be scored.
        UsageError: an output is an input.
        OutputError: an output exists and may not be replaced, or cannot be written.
    """
    config = config or Scores()
    work = describe_work("score", [Path(predictions), Path(annotations)], asdict(config))
    predicted = expand_inputs([str(predictions)], LABEL_SUFFIXES)
    annotated = expand_inputs([str(annotations)], ANNOTATION_SUFFIXES)
    check_results(outputs, [*predicted, *annotated], work, overwrite)
    scoring = score_files(predicted, annotated, config)
    for path, write in outputs.items():
        write(scoring, path, work)
    return scoring


def write_score(scoring: Scoring, path: str | Path, work: Provenance) -> None:
    """Write a score as JSON, with its provenance beside it.

    Raises:
        OutputError: it cannot be written.
    """
    with write_result(path, work) as temporary:
        temporary.write_text(json.dumps(describe_scoring(scoring), indent=2) + "\n")


def _join(
    pairs: Iterable[Pair], choose: Callable[[PredictedTrack], NDArray[Any] | None]
) -> NDArray[Any] | None:
    """Return a column of the predictions for the rows of all annotations; None if unknown."""
    parts = [(choose(pair.track), pair.rows) for pair in pairs]
    known = [column[rows] for column, rows in parts if column is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _count_videos(pairs: Iterable[Pair], shift: int) -> Counts:
    """Return the confusion counts (V, 8, 9) of predictions shifted by `shift` frames."""
    counts = []
    for pair in pairs:
        labels = pair.track.labels
        rows = np.clip(pair.rows + shift, 0, len(labels) - 1)
        counts.append(count_confusion(pair.annotation, labels[rows]))
    return np.stack(counts)


def _measure_calibration(
    pairs: Iterable[Pair], y: Labels, p: Labels, config: Scores
) -> float | None:
    probabilities = _join(pairs, lambda track: track.probabilities)  # (N, 8)
    predicted = (y != IGNORE) & (p != IGNORE)
    if probabilities is None or not predicted.any():
        return None
    confidence = probabilities[predicted, p[predicted]]
    right = y[predicted] == p[predicted]
    return find_calibration_error(confidence, right, config.calibration_bins)


def _score_video(name: str, counts: Counts) -> VideoScore:
    frames = int(counts.sum())
    right = int(np.diagonal(counts).sum())
    return VideoScore(name, frames, float(find_own_f1(counts)), right / max(frames, 1))


def describe_scoring(scoring: Scoring) -> JsonObject:
    """Return a score as JSON: overall figures, per class, and the confusion matrix by rows."""
    overall, with_face = scoring.overall, scoring.with_face
    return {
        "macro_f1": overall.macro_f1,
        "occurring_f1": overall.occurring_f1,
        "absent_classes": overall.absent,
        "macro_f1_interval": scoring.interval and list(scoring.interval),
        "accuracy": overall.accuracy,
        "frames": overall.frames,
        "calibration_error": scoring.calibration_error,
        "shifts": {str(shift): score for shift, score in scoring.shifts.items()},
        "better_shift": scoring.better_shift,
        "unlabelled_frames": sum(scoring.unlabelled.values()),
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
        "videos": {video.name: _describe_video(video) for video in scoring.videos},
        "failed": scoring.failed,
    }


def _describe_video(video: VideoScore) -> JsonObject:
    return {key: value for key, value in asdict(video).items() if key != "name"}
