"""The frame-level tasks of the ABAW challenge whose annotations are values: VA and AU.

Expressions (EXPR) are classes, one per frame, with rules of their own: `labels` and `metrics`. The
other tasks have several values per frame. Values are arrays (T, K) with one column for each name of
the task, NaN where a frame is not annotated or not predicted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from abawcli.config import EXPR, UNIT_THRESHOLD
from abawcli.labels import CLASSES
from abawcli.task_metrics import Sums, find_ccc, find_unit_f1, sum_agreement, sum_moments

Values = NDArray[np.float64]  # (T, K)
Strata = NDArray[np.int64]  # (T,)


@dataclass(frozen=True)
class Task:
    """A task with K values per frame."""

    name: str  # of --task
    title: str
    columns: tuple[str, ...]  # K names, the header of its files
    ignore: int  # stands in files for a value that is not annotated
    low: int
    high: int
    whole: bool  # whether only whole numbers are values
    measure: str  # the name of the score of a column
    summarise: Callable[[Values, Values], Sums]  # truth and prediction (T, K) to sums (K, S)
    find_score: Callable[[Sums], NDArray[np.float64]]  # sums (..., K, S) to scores (..., K)
    outputs: tuple[str, ...]  # K columns of a table: what a head gives, from `low` to `high`
    decide: Callable[[Values], Values]  # outputs (T, K) to values (T, K)
    stratify: Callable[[Values], Strata]  # known values (T, K) to strata that folds are balanced by

    @property
    def header(self) -> str:
        """Return the first line of an annotation."""
        return ",".join(self.columns)

    @property
    def domain(self) -> str:
        """Return which values there are, for messages."""
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self.low} to {self.high}"

    def find_mean_score(self, sums: Sums) -> NDArray[np.float64]:
        """Return the challenge's score (...) from sums (..., K, S): the mean over the columns."""
        score: NDArray[np.float64] = self.find_score(sums).mean(axis=-1)
        return score

    def find_invalid(self, values: Values) -> NDArray[np.bool_]:
        """Return which values (..., K) are none of the task."""
        inside = (values >= self.low) & (values <= self.high)
        return ~(inside & (values == np.round(values))) if self.whole else ~inside

    def find_strata(self, values: Values) -> Strata:
        """Return the stratum of each row, (T,), -1 where no value is annotated.

        Values that are not annotated in a row with other ones count as 0.
        """
        known = ~np.isnan(values).all(axis=1)
        return np.where(known, self.stratify(np.nan_to_num(values)), -1)


def _keep(outputs: Values) -> Values:
    return outputs


def _find_active(outputs: Values) -> Values:
    """Return 1 for probabilities of active units, else 0, and NaN where they are NaN."""
    return np.where(np.isnan(outputs), np.nan, outputs >= UNIT_THRESHOLD)


def _find_quadrants(values: Values) -> Strata:
    """Return the quadrant of valence and arousal, 0 to 3."""
    return np.asarray((values > 0) @ np.array([2, 1]), np.int64)


def _count_active(values: Values) -> Strata:
    return np.asarray((values > 0).sum(axis=1), np.int64)


IMAGE_COLUMN = "image_location"  # the first one of a submission
UNITS = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)
TASKS = {
    "va": Task(
        "va", "valence and arousal", ("valence", "arousal"), ignore=-5, low=-1, high=1,
        whole=False, measure="CCC", summarise=sum_moments, find_score=find_ccc,
        outputs=("valence", "arousal"), decide=_keep, stratify=_find_quadrants,
    ),
    "au": Task(
        "au", "action units", tuple(f"AU{k}" for k in UNITS), ignore=-1, low=0, high=1,
        whole=True, measure="F1", summarise=sum_agreement, find_score=find_unit_f1,
        outputs=tuple(f"p_au{k}" for k in UNITS), decide=_find_active, stratify=_count_active,
    ),
}  # fmt: skip
# What the outputs of a head stand for, by task.
TASK_COLUMNS = {EXPR: CLASSES} | {name: task.columns for name, task in TASKS.items()}


def find_task(header: str) -> str | None:
    """Return the name of the task whose annotations or submissions have this first line."""
    cells = [cell.strip().lower() for cell in header.rstrip(" \t,").split(",")]
    names = [cell for cell in cells if cell != IMAGE_COLUMN]
    found = (name for name, columns in TASK_COLUMNS.items() if names == [*map(str.lower, columns)])
    return next(found, None)
