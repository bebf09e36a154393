"""Predictions and annotations of tasks with values (`tasks`), and the matching of both.

Both are text files of one video, or submissions of several. Names, subjects and lengths are matched
as for expressions (`pairing`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawcli.datasets.pairing import find_only_pair, gather_files
from abawcli.errors import InputError
from abawcli.formats.abaw import align_rows, match_tracks
from abawcli.formats.names import compose_name, name_input
from abawcli.formats.submission import is_submission
from abawcli.formats.task_annotations import read_values
from abawcli.formats.task_submission import read_task_submission
from abawcli.tasks import Task, Values

VALUE_SUFFIXES = frozenset([".txt", ".csv"])


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
        rows = read_task_submission(path, task)
        videos = {}
        for video, group in rows.groupby("video", sort=False):
            values = np.full((int(group["frame"].max()), len(task.columns)), np.nan)
            values[group["frame"].to_numpy() - 1] = group[list(task.columns)].to_numpy()
            videos[compose_name(str(video))] = values
        return videos

    return gather_files(files, read, failed)


def pair_values(
    truth: Mapping[str, Values], predicted: Mapping[str, Values], failed: dict[str, str]
) -> dict[str, ValuePair]:
    """Match annotations with predictions and rows with frames; errors are added to `failed`.

    One annotation and the predictions of one video are matched even if their names differ.
    """
    if only := find_only_pair(truth, predicted, failed):
        predicted = {only[0]: predicted[only[1]]}
    found, unmatched = match_tracks(truth, [(video, "") for video in predicted], "predictions")
    failed.update(unmatched)
    pairs = {}
    for name, (video, _) in found.items():
        try:
            rows = align_rows(truth[name], len(predicted[video]), name)
            pairs[name] = ValuePair(truth[name], predicted[video], rows)
        except InputError as error:
            failed[name] = str(error)
    return pairs
