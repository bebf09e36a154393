"""Pairing of predictions with annotations, in all their formats.

Predictions are tables, text files of one video, or submissions of several. Annotations are the
same, tables of frames or time intervals (`label_tables.read_labels`), or files of other programs.
Videos are matched by name (`names`): the `video` of a table or submission, the relative path of
other files. An annotation `<video>_left` or `_right` matches predictions of that name, or of
`<video>` with that subject, or of the only subject of `<video>`. Up to 2 rows of an annotation
after the last predicted frame get the last frame's prediction, as in the organisers' evaluation.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.datasets.intervals import Annotation, label_frames, read_program_file, split_intervals
from abawcli.errors import InputError
from abawcli.formats.abaw import Labels, align_rows, match_tracks, read_annotation, split_side
from abawcli.formats.imports import detect_format
from abawcli.formats.inputs import check_input, locate_inputs
from abawcli.formats.label_tables import read_labels
from abawcli.formats.names import compose_name, find_names, name_input
from abawcli.formats.submission import is_submission, read_submission
from abawcli.formats.table_schemas import LOGITS, PROBABILITIES
from abawcli.formats.tables import TABLE_SUFFIXES, has_logits, read_table
from abawcli.labels import IGNORE
from abawcli.segments import split_people
from abawcli.sources import SOURCES

LOG = logging.getLogger(__name__)
LABEL_SUFFIXES = TABLE_SUFFIXES | {".txt"}
BLOCKS = {"probabilities": PROBABILITIES, "logits": LOGITS}  # of columns
# In folders; a file of Label Studio (.json) is named itself, as provenance has that suffix, too.
ANNOTATION_SUFFIXES = LABEL_SUFFIXES | {".eaf", ".textgrid", ".tsv"}


@dataclass(frozen=True)
class PredictedTrack:
    """Predictions of one subject of one video, with one row for each frame from 1 to T.

    None: the file has no such column. Frames without a row in the file have the label -1, no face,
    and NaN.
    """

    labels: Labels  # (T,)
    found: NDArray[np.bool_] | None = None  # (T,) whether there is a face
    probabilities: NDArray[np.float64] | None = None  # (T, 8)
    times_s: NDArray[np.float64] | None = None  # (T,)
    logits: NDArray[np.float64] | None = None  # (T, 8)
    source: NDArray[np.int8] | None = None  # (T,) index in `sources.SOURCES`; -1: no row


@dataclass(frozen=True)
class Pair:
    """An annotation and its predictions."""

    annotation: Labels  # (R,)
    track: PredictedTrack
    rows: NDArray[np.intp]  # (R,) index of each row's frame in the track


PredictedTracks = dict[
    tuple[str, str], PredictedTrack
]  # video, subject ("" where a file has no subjects)
A = TypeVar("A")  # an annotation
P = TypeVar("P")  # the predictions of a track
Key = TypeVar("Key", str, tuple[str, str])
Value = TypeVar("Value")


def _by_frame(values: NDArray[Any], frame: NDArray[np.int64], missing: Any) -> NDArray[Any]:
    """Return values (N, ...) of frames (N,) by frame number, (last frame, ...)."""
    table = np.full((int(frame.max()), *values.shape[1:]), missing, values.dtype)
    table[frame - 1] = values
    return table


def _split_videos(
    table: pd.DataFrame, missing: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, str], dict[str, NDArray[Any]]]]:
    """Yield each subject's columns by frame number; `missing` has their names and defaults."""
    columns: dict[str, NDArray[Any]]
    columns = {name: table[BLOCKS.get(name, name)].to_numpy() for name in missing}
    frames = table["frame"].to_numpy()
    people = dict(split_people(table if "subject" in table else table.assign(subject="")))
    for (video, subject), rows in sorted(people.items()):
        key = compose_name(video), subject
        yield key, {n: _by_frame(v[rows], frames[rows], missing[n]) for n, v in columns.items()}


def read_predictions(path: str | Path, relative: str | Path | None = None) -> PredictedTracks:
    """Read predictions: a table, a submission, or the text file of one video.

    `relative` is the path that names the video of a text file; None: the file's name.

    Raises:
        InputError: the file cannot be read.
    """
    path = Path(path)
    relative = None if relative is None else Path(relative)
    if path.suffix.lower() in TABLE_SUFFIXES:
        return lay_tracks(read_table(path))
    if is_submission(path):
        parts = _split_videos(read_submission(path), {"label": IGNORE})
        return {key: PredictedTrack(part["label"]) for key, part in parts}
    return {
        (compose_name(name_input(relative or Path(path.name))), ""): PredictedTrack(
            read_annotation(path)
        )
    }


def lay_tracks(table: pd.DataFrame) -> PredictedTracks:
    """Return the predictions of each subject of a prediction table."""
    missing = {"label": IGNORE, "found": False, "time_s": np.nan, "source": -1}
    missing |= dict.fromkeys(BLOCKS if has_logits(table) else ["probabilities"], np.nan)
    table = table.assign(source=pd.Categorical(table["source"], SOURCES).codes)
    return {
        key: PredictedTrack(
            labels=part["label"],
            found=part["found"],
            probabilities=part["probabilities"],
            times_s=part["time_s"],
            logits=part.get("logits"),
            source=part["source"],
        )
        for key, part in _split_videos(table, missing)
    }


def read_truth(path: str | Path, relative: str | Path | None = None) -> dict[str, Annotation]:
    """Read annotations by name: a table, a submission, or the file of one video.

    The file of one video is ABAW text, or comes from a program of `formats.imports`. `relative` is
    as for `read_predictions`.

    Raises:
        InputError: the file cannot be read.
    """
    path = Path(path)
    relative = None if relative is None else Path(relative)
    name = compose_name(name_input(relative or Path(path.name)))
    if kind := detect_format(path):
        # `abaw export` writes clip.boris.tsv, clip.audacity.txt and clip.labelstudio.json.
        return {name.removesuffix(f".{kind}"): read_program_file(path, kind)}
    if path.suffix.lower() in TABLE_SUFFIXES:
        table = read_labels(path, name)
        if "onset" in table:
            return dict(split_intervals(table))
    elif is_submission(path):
        table = read_submission(path)
    else:
        return {name: read_annotation(path)}
    return {video: part["label"] for (video, _), part in _split_videos(table, {"label": IGNORE})}


def gather_files(
    files: Iterable[str | Path],
    read: Callable[[Path, Path], dict[Key, Value]],
    failed: dict[str, str],
) -> dict[Key, Value]:
    """Read files by `read`, given path and relative path; errors and duplicates go to `failed`."""
    gathered: dict[Key, Value] = {}
    origins: dict[Key, Path] = {}
    for path, relative in locate_inputs(files).items():
        try:
            check_input(path)
            items = read(path, relative)
        except InputError as error:
            failed[str(path)] = str(error)
            continue
        twice = [key for key in items if key in gathered]
        if twice:
            key = twice[0]
            video = key if isinstance(key, str) else key[0]
            failed[str(path)] = (
                f"{path}: labels of {video} are in {origins[key]}, too; they are left out here"
            )
        new = {key: value for key, value in items.items() if key not in gathered}
        gathered |= new
        origins |= dict.fromkeys(new, path)
    return gathered


def gather_tracks(files: Iterable[str | Path], failed: dict[str, str]) -> PredictedTracks:
    """Read all predictions; errors and duplicates are added to `failed`."""
    return gather_files(files, read_predictions, failed)


def gather_truth(files: Iterable[str | Path], failed: dict[str, str]) -> dict[str, Annotation]:
    """Read all annotations; errors and duplicates are added to `failed`."""
    return gather_files(files, read_truth, failed)


def summarise_failures(failed: Mapping[str, str]) -> str:
    """Return the first message of `failed` and the number of the others."""
    first, *others = failed.values()
    more = "another failure" if len(others) == 1 else f"{len(others)} other failures"
    return f"{first} (and {more})" if others else first


def _find_only_pair(
    truth: Collection[str], predicted: Collection[str], failed: Mapping[str, str]
) -> tuple[str, str] | None:
    """Return the names of the only annotation and the only video if they differ, with a warning.

    None: there are several, or an input failed.
    """
    if not len(truth) == len(predicted) == 1 or failed:
        return None
    (name,), (video,) = truth, predicted
    if find_names(name, predicted) or find_names(split_side(name)[0], predicted):
        return None
    LOG.warning("the predictions of %s are scored against %s: names differ", video, name)
    return name, video


def match_predictions(
    truth: Mapping[str, A], predicted: Mapping[tuple[str, str], P], failed: dict[str, str]
) -> list[tuple[str, A, P]]:
    """Return the name, labels and predictions of each annotation; errors are added to `failed`.

    One annotation and the predictions of one video are matched even if their names differ.
    """
    if only := _find_only_pair(truth, {video for video, _ in predicted}, failed):
        predicted = {(only[0], subject): track for (_, subject), track in predicted.items()}
    found, unmatched = match_tracks(truth, predicted, "predictions")
    failed.update(unmatched)
    return [(name, truth[name], predicted[track]) for name, track in found.items()]


def pair_tracks(
    truth: Mapping[str, Annotation], tracks: PredictedTracks, failed: dict[str, str]
) -> dict[str, Pair]:
    """Match annotations with predictions, and rows with frames; errors are added to `failed`."""
    pairs = {}
    for name, labels, track in match_predictions(truth, tracks, failed):
        try:
            labels = label_frames(labels, track.times_s, len(track.labels), name)
            pairs[name] = Pair(labels, track, align_rows(labels, len(track.labels), name))
        except InputError as error:
            failed[name] = str(error)
    warn_of_uneven(
        {name: (len(pair.annotation), len(pair.track.labels)) for name, pair in pairs.items()}
    )
    return pairs


def warn_of_uneven(counts: Mapping[str, tuple[int, int]]) -> None:
    """Warn if annotations have other numbers of rows than their videos have frames."""
    uneven = [name for name, (rows, frames) in counts.items() if rows != frames]
    if uneven:
        LOG.warning(
            "%d of %d annotations have one or two rows more or less than the video has frames "
            "(such as %s: %d and %d); rows after the last frame are scored with its prediction",
            len(uneven), len(counts), uneven[0], *counts[uneven[0]],
        )  # fmt: skip
