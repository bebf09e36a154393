"""Operations on the columns of prediction tables that depend on the task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import EXPR
from abawcli.formats.table_schemas import COLUMNS, LOGITS, OUTPUTS, SCHEMAS, find_table_task
from abawcli.formats.tables import set_probabilities, set_values
from abawcli.fusion import average_outputs, average_values
from abawcli.labels import N_CLASSES
from abawcli.logits import restore_logits
from abawcli.smoothing import Smooth, smooth_probabilities, smooth_values
from abawcli.tasks import TASKS, Task

Array = NDArray[np.floating[Any]]
Change = Callable[[pd.DataFrame, Array, NDArray[np.str_]], pd.DataFrame]


@dataclass(frozen=True)
class TableForm:
    """The prediction tables of one task."""

    columns: Sequence[str]  # as predicted, in order
    outputs: list[str]  # that smoothing changes, K
    smooth: Smooth  # how (T, K) are smoothed
    average: Callable[..., NDArray[np.float64]]  # as `fusion.average_outputs`
    set: Change  # a table with other outputs (N, K) and sources (N,)
    lay: Change  # a table with the outputs (N, M) of a head and sources (N,)


def _lay_probabilities(
    table: pd.DataFrame, outputs: Array, source: NDArray[np.str_]
) -> pd.DataFrame:
    """Return a table with the probabilities and logits of outputs (N, 9)."""
    p = outputs[:, :N_CLASSES].astype(np.float64)
    return set_probabilities(table, p, source, restore_logits(outputs))


def _make_form(task: Task) -> TableForm:
    change = partial(set_values, task)
    names = SCHEMAS[task.name].names
    return TableForm(
        columns=names,
        outputs=OUTPUTS[task.name],
        smooth=smooth_values,
        average=average_values,
        set=change,
        lay=change,
    )


TABLE_FORMS = {
    EXPR: TableForm(
        columns=[*COLUMNS, *LOGITS],
        outputs=OUTPUTS[EXPR],
        smooth=smooth_probabilities,
        average=average_outputs,
        set=set_probabilities,
        lay=_lay_probabilities,
    )
} | {name: _make_form(task) for name, task in TASKS.items()}


def find_form(table: pd.DataFrame) -> TableForm:
    """Return the form of a prediction table."""
    return TABLE_FORMS[find_table_task(table) or EXPR]
