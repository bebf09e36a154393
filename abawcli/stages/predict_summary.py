"""The summary of a prediction table, in numbers."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import EXPR
from abawcli.formats.summary import VideoSummary
from abawcli.formats.table_schemas import find_table_task
from abawcli.labels import CLASSES
from abawcli.sources import FACELESS_SOURCES, NONE, has_face
from abawcli.tasks import TASKS

FACE = "face"


@dataclass(frozen=True)
class PredictSummary(VideoSummary):
    """The summary of one video; labels of faces are apart from those of audio and neighbours."""

    faces: int  # rows with a face
    labelled: float  # share of the rows
    rows: dict[str, int]  # by source: a face, audio alone, or filled
    labels: dict[str, dict[str, float]]  # of these, the share of each class, the largest first
    runs: int  # segments before smoothing; the name is a key of --json
    removed_runs: int  # of these, those of which nothing is left
    # Of a task with values: the mean of each, which of an action unit is the share of active rows.
    means: dict[str, float] = field(default_factory=dict)

    def count_faces(self) -> int:
        """Return the number of rows with a face."""
        return self.faces

    def share_labelled(self) -> float:
        """Return the share of labelled rows."""
        return self.labelled


def summarise_predictions(table: pd.DataFrame, segments: int, removed: int) -> PredictSummary:
    """Summarise a prediction table; smoothing removed some of so many segments."""
    source = table["source"].to_numpy().astype(str)
    parts = {FACE: has_face(source)} | {kind: source == kind for kind in FACELESS_SOURCES}
    return PredictSummary(
        frames=table["frame"].nunique(),
        faces=int(table["found"].sum()),
        labelled=float((source != NONE).mean()),
        rows={kind: int(part.sum()) for kind, part in parts.items()},
        labels={kind: _share_labels(table, part) for kind, part in parts.items()},
        runs=segments,
        removed_runs=removed,
        means=_find_means(table[source != NONE]),
    )


def _find_means(rows: pd.DataFrame) -> dict[str, float]:
    task = TASKS.get(find_table_task(rows) or EXPR)
    if task is None or rows.empty:
        return {}
    return {str(name): float(mean) for name, mean in rows[list(task.columns)].mean().items()}


def _share_labels(table: pd.DataFrame, part: NDArray[np.bool_]) -> dict[str, float]:
    if "label" not in table:
        return {}
    label = table["label"].to_numpy()
    counts = np.bincount(label[part & (label >= 0)])
    ordered = sorted(np.flatnonzero(counts).tolist(), key=lambda k: (-counts[k], k))
    return {CLASSES[k]: float(counts[k] / counts.sum()) for k in ordered}
