"""Checks of values in tables; messages name the first wrong line (csv) or row (parquet)."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from abawcli.config import EXPR
from abawcli.errors import InputError
from abawcli.formats.table_schemas import find_table_task
from abawcli.labels import IGNORE, LOGIT_COLUMNS, N_CLASSES, PROBABILITY_COLUMNS
from abawcli.logits import softmax
from abawcli.segments import split_people
from abawcli.sources import NONE, SOURCES
from abawcli.tasks import TASKS, Task

LOG = logging.getLogger(__name__)
MAX_FRAME = 9_999_999  # 46 hours at 60 a second; arrays by frame number are as long as the last one
MAX_NUMBER = 1e9  # times in seconds and coordinates in pixels are smaller; also excludes inf
ROUNDING = 1e-5  # of probabilities in tables
SUM_TOLERANCE = 1e-3  # tables of other programs may have only 4 digits
KEYS = ("video", "subject", "frame")  # of which no two rows have the same


def name_row(path: str | Path, row: int) -> str:
    """Return the name of row `row`, counted from 0, for messages."""
    path = Path(path)
    return f"{path}, line {row + 2}" if path.suffix.lower() == ".csv" else f"{path}, row {row + 1}"


def check_width(table: pd.DataFrame) -> None:
    """Check that no row of a csv, as `read_csv` returned it, has more cells than the header.

    pandas takes the first cells of such a file for an index, and shifts the others.

    Raises:
        ValueError: there is such a row.
    """
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("its rows have more cells than its header")


def refuse_rows(
    path: str | Path, bad: NDArray[np.bool_], problem: str, value: pd.Series | None
) -> None:
    """Refuse a table with rows of the mask `bad` (N,); the message names the first one.

    Raises:
        InputError: there is such a row.
    """
    if bad.any():
        row = int(bad.argmax())
        found = "" if value is None else f", not {value.iloc[row]}"
        raise InputError(f"{name_row(path, row)}: {problem}{found}")


def check_table(path: str | Path, table: pd.DataFrame) -> None:
    """Check the rules of the prediction tables of all tasks.

    Raises:
        InputError: a value is invalid, a row is given twice, or times go back.
    """
    task = find_table_task(table) or EXPR
    if task in TASKS:
        check_values(path, table, TASKS[task])
    else:
        check_numbers(path, table)
        check_predictions(path, table)
        check_logits(path, table)
    check_times(path, table)


def check_numbers(path: str | Path, table: pd.DataFrame) -> None:
    """Check the rules of all tables of frames with labels.

    Raises:
        InputError: a frame, label or number is invalid, or a row is given twice.
    """
    check_classes(path, table)
    check_frames(path, table)


def check_frames(path: str | Path, table: pd.DataFrame) -> None:
    """Check the rules of all tables of frames.

    Raises:
        InputError: a frame or number is invalid, or a row is given twice.
    """
    frame = table["frame"].to_numpy()
    refuse_rows(path, frame < 1, "frame must be 1 or more", table["frame"])
    refuse_rows(path, frame > MAX_FRAME, f"frame must be {MAX_FRAME} or less", table["frame"])
    numbers = table.select_dtypes("float")
    with np.errstate(invalid="ignore"):
        beyond = np.abs(numbers.to_numpy()) >= MAX_NUMBER  # (N, K), all columns at once
    for k in np.flatnonzero(beyond.any(axis=0)).tolist():
        name = numbers.columns[k]
        wrong = f"{name} must be a number below {MAX_NUMBER:.0e}"
        refuse_rows(path, beyond[:, k], wrong, table[name])
    if len(pd.unique(frame)) < len(frame):  # comparing texts is slow; of one person, it is needless
        keys = [name for name in table if name in KEYS]
        twice = table.duplicated(keys).to_numpy()
        refuse_rows(path, twice, f"an earlier row has the same {', '.join(keys)}", None)


def check_times(path: str | Path, table: pd.DataFrame) -> None:
    """Check that the times of each person's frames do not go back.

    Frames may have the same time: those of crops beyond the end of their video have its last one.

    Raises:
        InputError: they do.
    """
    frame, time_s = table["frame"].to_numpy(), table["time_s"].to_numpy(np.float64)
    known = np.flatnonzero(~np.isnan(time_s))
    ordered = known[np.argsort(frame[known], kind="stable")]
    if (np.diff(time_s[ordered]) >= 0).all():  # then those of each person do not; it is faster
        return
    wrong: list[tuple[int, int]] = []  # rows, each with the one before
    for _, rows in split_people(table):
        rows = rows[~np.isnan(time_s[rows])]
        back = np.flatnonzero(np.diff(time_s[rows]) < 0)
        wrong += zip(rows[back + 1].tolist(), rows[back].tolist(), strict=True)
    if wrong:
        row, before = min(wrong)
        raise InputError(
            f"{name_row(path, row)}: time_s of frame {frame[row]} is {time_s[row].round(6)}, and "
            f"{time_s[before].round(6)} of frame {frame[before]} before it; times must not go back"
        )


def _stack(table: pd.DataFrame, names: Iterable[str]) -> NDArray[Any]:
    """Return columns of numbers (N, K); that is faster than `table[names].to_numpy()`."""
    return np.stack([table[name].to_numpy() for name in names]).T


def check_classes(path: str | Path, table: pd.DataFrame) -> None:
    """Check that labels are classes or -1.

    Raises:
        InputError: one is not.
    """
    label = table["label"].to_numpy()
    outside = (label < IGNORE) | (label >= N_CLASSES)
    refuse_rows(path, outside, f"label must be {IGNORE} to {N_CLASSES - 1}", table["label"])


def check_predictions(path: str | Path, table: pd.DataFrame) -> None:
    """Check that sources, labels and probabilities are valid, and there together.

    Raises:
        InputError: they are not.
    """
    p = _stack(table, PROBABILITY_COLUMNS)  # (N, 8)
    none = _find_unpredicted(path, table)
    label = table["label"]
    unlabelled = label.to_numpy() == IGNORE
    refuse_rows(path, none & ~unlabelled, "label must be -1 where source is none", label)
    what = "label is -1; a row without a label has the source none, and no probabilities"
    refuse_rows(path, ~none & unlabelled, what, None)
    partly = (~np.isnan(p)).any(axis=1) == none
    refuse_rows(
        path, partly, "probabilities must be empty where source is none, and only there", None
    )
    with np.errstate(invalid="ignore"):
        wrong = ~none & ~((p >= 0).all(axis=1) & (np.abs(p.sum(axis=1) - 1) <= SUM_TOLERANCE))
    refuse_rows(path, wrong, "probabilities must be eight numbers from 0 that sum to 1", None)


def _find_unpredicted(path: str | Path, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows (N,) have the source none; refuse sources that are unknown."""
    source = pa.array(table["source"])
    known = pa.compute.is_in(source, value_set=pa.array(SOURCES))
    unknown = ~np.asarray(known)
    refuse_rows(path, unknown, f"source must be one of {', '.join(SOURCES)}", table["source"])
    return np.asarray(pa.compute.equal(source, NONE))


def check_values(path: str | Path, table: pd.DataFrame, task: Task) -> None:
    """Check a prediction table of a task with values.

    Raises:
        InputError: a frame, number or source is invalid, a row is given twice, or values are
            beyond their range or not there together with a source.
    """
    check_frames(path, table)
    none = _find_unpredicted(path, table)
    values, outputs = (_stack(table, names) for names in (task.columns, task.outputs))
    every = np.concatenate([values, outputs], axis=1)
    partly = np.where(none, ~np.isnan(every).all(axis=1), np.isnan(every).any(axis=1))
    refuse_rows(path, partly, "values must be empty where source is none, and only there", None)
    with np.errstate(invalid="ignore"):
        wrong = ~none & task.find_invalid(values).any(axis=1)
        beyond = ~none & ((outputs < task.low) | (outputs > task.high)).any(axis=1)
    what = f"{task.columns[0]} to {task.columns[-1]}"
    refuse_rows(path, wrong, f"{what} must each be {task.domain}", None)
    names = f"{task.outputs[0]} to {task.outputs[-1]}"
    refuse_rows(path, beyond, f"{names} must be from {task.low} to {task.high}", None)


def warn_edited(path: str | Path, table: pd.DataFrame, others: str) -> None:
    """Warn of labels by hand in a table (N rows), where a command replaces labels by `others`."""
    if "label" not in table:
        return
    p, label = _stack(table, PROBABILITY_COLUMNS), table["label"].to_numpy()
    own = np.take_along_axis(p, np.maximum(label, 0)[:, None], axis=1)[:, 0]  # (N,)
    edited = (label != IGNORE) & (own < p.max(axis=1) - ROUNDING)
    if count := int(edited.sum()):
        LOG.warning(
            "%s: %d labels are not of the highest probability, as after an edit by hand; they "
            "are replaced by %s", path, count, others,
        )  # fmt: skip


def check_logits(path: str | Path, table: pd.DataFrame) -> None:
    """Check that logits, if there are any, are those of the probabilities.

    Raises:
        InputError: they are not, or some columns are missing.
    """
    columns = list(LOGIT_COLUMNS)
    there = [name for name in columns if name in table]
    if not there:
        return
    if missing := [name for name in columns if name not in table]:
        raise InputError(f"{path} has the column {there[0]}, but not {', '.join(missing)}")
    p, z = (_stack(table, names) for names in (PROBABILITY_COLUMNS, columns))  # (N, 8)
    none = (table["source"] == NONE).to_numpy()
    partly = np.isnan(z).any(axis=1) != none
    refuse_rows(path, partly, "logits must be empty where source is none, and only there", None)
    apart = np.abs(softmax(z[~none]) - p[~none]).max(axis=1, initial=0)
    wrong = np.zeros(len(z), bool)
    wrong[~none] = apart > SUM_TOLERANCE
    refuse_rows(path, wrong, "the softmax of the logits z_* must be the probabilities p_*", None)
