"""The forms of submissions by task: their rows, and the predictions that they are made of."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from abawcli.config import EXPR
from abawcli.datasets.pairing import LABEL_SUFFIXES, gather_tracks
from abawcli.datasets.task_pairing import VALUE_SUFFIXES, gather_value_tracks
from abawcli.formats.provenance import Provenance
from abawcli.formats.submission import (
    HEADER,
    LOCATION,
    ROW_FORM,
    read_submission,
    write_submission,
)
from abawcli.formats.task_submission import (
    compose_header,
    read_task_submission,
    write_task_submission,
)
from abawcli.labels import N_CLASSES
from abawcli.tasks import TASKS, Task

PredictedValues = Mapping[
    tuple[str, str], NDArray[np.float64]
]  # video and subject -> (T, C), or NaN
_ROW = rf"^{LOCATION},[0-{N_CLASSES - 1}]$"
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"


@dataclass(frozen=True)
class SubmissionForm:
    """The submissions of one task, whose rows have C columns beside video and frame."""

    header: str
    columns: tuple[str, ...]
    type: type[np.generic]  # of the columns
    suffixes: frozenset[str]  # of predictions
    gather: Callable[[Iterable[str | Path], dict[str, str]], PredictedValues]  # adds failures
    read: Callable[[Path], pd.DataFrame]  # a sample
    write: Callable[[pd.DataFrame, Path, Provenance], None]
    find_malformed: Callable[[Sequence[str]], Iterator[str]]  # lines from the second one on


def _gather_labels(files: Iterable[str | Path], failed: dict[str, str]) -> PredictedValues:
    found = gather_tracks(files, failed)
    return {
        key: np.where(track.labels < 0, np.nan, track.labels)[:, None]
        for key, track in found.items()
    }


def _find_malformed_labels(lines: Sequence[str]) -> Iterator[str]:
    right = pa.compute.match_substring_regex(pa.array(lines, pa.string()), _ROW)
    for row in np.flatnonzero(~right.to_numpy(zero_copy_only=False)).tolist():
        yield (
            f"line {row + 2}: a row must be {ROW_FORM} with a class from 0 to {N_CLASSES - 1}, "
            f"not {lines[row][:80]!r}"
        )


def _find_malformed_values(task: Task, lines: Sequence[str]) -> Iterator[str]:
    form = re.compile(rf"{LOCATION}(,{_NUMBER}){{{len(task.columns)}}}")
    for number, line in enumerate(lines, 2):
        right = form.fullmatch(line)
        values = [float(cell) for cell in line.split(",")[1:]] if right else [np.nan]
        if task.find_invalid(np.array(values)).any():
            yield (
                f"line {number}: a row must be <name>/00001.jpg,{task.header}, each "
                f"{task.domain}, not {line[:80]!r}"
            )


def _make_form(task: Task) -> SubmissionForm:
    return SubmissionForm(
        header=compose_header(task),
        columns=task.columns,
        type=np.float64,
        suffixes=frozenset(VALUE_SUFFIXES),
        gather=lambda files, failed: gather_value_tracks(files, task, failed),
        read=lambda path: read_task_submission(path, task),
        write=lambda rows, path, work: write_task_submission(rows, path, task, work),
        find_malformed=partial(_find_malformed_values, task),
    )


SUBMISSION_FORMS = {
    EXPR: SubmissionForm(
        header=HEADER,
        columns=("label",),
        type=np.int64,
        suffixes=frozenset(LABEL_SUFFIXES),
        gather=_gather_labels,
        read=read_submission,
        write=write_submission,
        find_malformed=_find_malformed_labels,
    )
} | {name: _make_form(task) for name, task in TASKS.items()}
