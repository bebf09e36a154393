"""Pairing of predictions with annotations for tasks with values (`tasks`).

Both are text files of one video, or submissions of several; predictions are also tables. Names,
subjects and lengths are matched as for expressions (`pairing`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.datasets.pairing import gather_files, match_predictions, warn_of_uneven
from abawcli.errors import InputError
from abawcli.formats.abaw import align_rows
from abawcli.formats.names import compose_name, name_input
from abawcli.formats.submission import is_submission
from abawcli.formats.tables import TABLE_SUFFIXES, is_table, read_table
from abawcli.formats.task_annotations import read_values
from abawcli.formats.task_submission import read_task_submission
from abawcli.tasks import Task, Values

VALUE_SUFFIXES = TABLE_SUFFIXES | {".txt"}
ValueTracks = dict[tuple[str, str], Values]  # of video and subject ("": the file has none)


@dataclass(frozen=True)
class ValuePair:
    """An annotation and its predictions."""

    annotation: Values  # (R, K)
    predicted: Values  # (T, K)
    rows: NDArray[np.intp]  # (R,) index of each row's frame in the predictions


def gather_values(
    files: Iterable[str | Path], task: Task, failed: dict[str, str]
) -> dict[str, Values]:
    """Read the values of all files by name; errors and duplicates are added to `failed`."""

    def read(path: Path, relative: Path) -> dict[str, Values]:
        if not is_submission(path):
            return {compose_name(name_input(relative)): read_values(path, task)}
        tracks = _lay_tracks(read_task_submission(path, task).assign(subject=""), task)
        return {video: values for (video, _), values in tracks.items()}

    return gather_files(files, read, failed)


def gather_value_tracks(
    files: Iterable[str | Path], task: Task, failed: dict[str, str]
) -> ValueTracks:
    """Read the predictions of all files: values (T, K) of frames 1 to T of each video and subject.

    Errors and duplicates are added to `failed`.
    """

    def read(path: Path, relative: Path) -> ValueTracks:
        if is_submission(path):
            return _lay_tracks(read_task_submission(path, task).assign(subject=""), task)
        if is_table(path):
            return _lay_tracks(read_table(path, task.name), task)
        return {(compose_name(name_input(relative)), ""): read_values(path, task)}

    return gather_files(files, read, failed)


def _lay_tracks(rows: pd.DataFrame, task: Task) -> ValueTracks:
    """Return the values of each video and subject by frame; NaN of frames without a row."""
    tracks = {}
    for (video, subject), group in rows.groupby(["video", "subject"], sort=False):
        values = np.full((int(group["frame"].max()), len(task.columns)), np.nan)
        values[group["frame"].to_numpy() - 1] = group[list(task.columns)].to_numpy()
        tracks[compose_name(str(video)), str(subject)] = values
    return tracks


def pair_values(
    truth: Mapping[str, Values], predicted: ValueTracks, failed: dict[str, str]
) -> dict[str, ValuePair]:
    """Match annotations with predictions, and rows with frames; errors are added to `failed`."""
    pairs = {}
    for name, values, track in match_predictions(truth, predicted, failed):
        try:
            pairs[name] = ValuePair(values, track, align_rows(values, len(track), name))
        except InputError as error:
            failed[name] = str(error)
    warn_of_uneven(
        {name: (len(pair.annotation), len(pair.predicted)) for name, pair in pairs.items()}
    )
    return pairs
