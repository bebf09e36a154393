"""Summary of prediction tables: one row of measures per subject and video.

Shares are of time, not of rows: at a variable frame rate the two differ. They are of labelled
frames with a face, or of all labelled frames if requested.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import Segmentation
from abawcli.labels import CLASSES, IGNORE, PROBABILITY_COLUMNS
from abawcli.segments import find_ends, segment_table, split_people

Floats = NDArray[np.float64]
KEYS = ["video", "subject"]
# Measures of a subject of a video, with their descriptions in the column dictionary.
MEASURES = {
    "seconds": "duration of the frames of the table, in seconds",
    "frames": "number of frames",
    "share_with_face": "share of the time in which a face was found, 0 to 1",
    "share_labelled": "share of the time that has a label, 0 to 1",
    "mean_face_score": "mean score of the face detector where a face was found, 0 to 1",
    "mean_face_height": "mean height of the face's box, in pixels",
    "mean_confidence": "mean probability of the label over the frames that shares are of, 0 to 1",
}
# Measures of each class; a column is called `<measure>_<class>`.
CLASS_MEASURES = {
    "share": "share of the labelled time that has this label, 0 to 1",
    "segments": "number of segments of this label",
    "mean_segment_s": "mean duration of these segments, in seconds",
    "longest_segment_s": "longest of these segments, in seconds",
    "mean_p": "mean probability of this class, 0 to 1",
}


@dataclass(frozen=True)
class SummarySettings:
    """Settings of a summary."""

    all_frames: bool = False  # also frames without a face, labelled from audio or neighbours
    long: bool = False  # one row per measure, as R's tidyverse expects, not one per subject
    segmentation: Segmentation = Segmentation()


def summarize_table(
    table: pd.DataFrame,
    settings: SummarySettings | None = None,
    segments: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return a row of measures for each subject of each video of a prediction table.

    `segments` are those of the table; None: they are computed.

    Raises:
        InputError: a row has no time.
        UsageError: a duration of the segmentation is negative or not finite.
    """
    settings = settings or SummarySettings()
    if segments is None:
        segments = segment_table(table, settings.segmentation)
    rows = []
    for (video, subject), people in split_people(table):
        own = segments[(segments["video"] == video) & (segments["subject"] == subject)]
        row = {"video": video, "subject": subject}
        row |= dict(_measure_subject(table.iloc[people], own, settings.all_frames))
        rows.append(row)
    return pd.DataFrame(rows)


def _measure_subject(
    group: pd.DataFrame, segments: pd.DataFrame, all_frames: bool
) -> Iterator[tuple[str, Any]]:
    """Yield the measures of one subject of one video in order."""
    time_s = group["time_s"].to_numpy(np.float64)  # (T,)
    duration_s = find_ends(group["frame"].to_numpy(np.int64), time_s) - time_s  # (T,)
    label = group["label"].to_numpy(np.int64)  # (T,)
    found = group["found"].to_numpy(np.bool_)  # (T,)
    used = (label != IGNORE) & (found | all_frames)  # (T,)
    yield "seconds", duration_s.sum()
    yield "frames", len(group)
    yield "share_with_face", _average(found, duration_s)
    yield "share_labelled", _average(label != IGNORE, duration_s)
    yield "mean_face_score", group["face_score"][found].mean()
    yield "mean_face_height", group["h"][found].mean()
    yield "mean_confidence", _average(group["confidence"].to_numpy()[used], duration_s[used])
    p = group[list(PROBABILITY_COLUMNS)].to_numpy(np.float64)[used]  # (U, 8)
    for k, name in enumerate(CLASSES):
        durations = segments.loc[segments["label"] == name, "duration_s"]
        suffix = name.lower()
        yield f"share_{suffix}", _average(label[used] == k, duration_s[used])
        yield f"segments_{suffix}", len(durations)
        yield f"mean_segment_s_{suffix}", durations.mean()
        yield f"longest_segment_s_{suffix}", durations.max()
        yield f"mean_p_{suffix}", _average(p[:, k], duration_s[used])


def _average(values: NDArray[Any], weights: Floats) -> float:
    """Return the weighted mean; the plain mean if all weights are 0, NaN without rows."""
    if len(values) == 0:
        return float("nan")
    return float(np.average(values, weights=weights if weights.sum() > 0 else None))


def count_transitions(segments: pd.DataFrame) -> pd.DataFrame:
    """Count the transitions between successive segments of a subject of a video, (8, 8).

    Rows are the label before, columns the label after. The time between the segments is ignored.
    """
    counts = pd.DataFrame(0, index=pd.Index(CLASSES, name="from"), columns=list(CLASSES))
    for _, group in segments.groupby(KEYS, sort=False):
        labels = group["label"].tolist()
        for before, after in zip(labels, labels[1:], strict=False):
            counts.loc[before, after] += 1
    return counts


def describe_columns(columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the column dictionary of a summary, as BIDS has it: name -> Description."""
    texts = {"video": "name of the video", "subject": "which person in it"} | MEASURES
    for measure, text in CLASS_MEASURES.items():
        texts |= {f"{measure}_{name.lower()}": f"{name}: {text}" for name in CLASSES}
    texts |= {
        "measure": "what was measured",
        "class": "expression class that the measure is of, empty where it is of all",
        "value": "value of the measure",
        "n": "number of subjects with a value",
        "mean": "mean over these subjects",
        "sd": "standard deviation over these subjects (n - 1)",
    }
    return {
        name: {"Description": texts.get(name, "column of the participants file")}
        for name in columns
    }


def summarize_groups(summary: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return n, mean and standard deviation of each measure in each group, a row each."""
    measures = [name for name in summary.columns if name not in {*KEYS, *columns}]
    rows = []
    for key, group in summary.groupby(list(columns), sort=True, dropna=True):
        named = dict(zip(columns, key, strict=True))
        for measure in measures:
            values = group[measure].dropna().astype(float)
            kind, name = _split_measure(measure)
            rows.append(
                named
                | {"measure": kind, "class": name, "n": len(values)}
                | {"mean": values.mean(), "sd": values.std(ddof=1)}
            )
    return pd.DataFrame(rows)


def _split_measure(column: str) -> tuple[str, str]:
    """Split a column's name into measure and class; the class is empty where it has none."""
    for measure in CLASS_MEASURES:
        for name in CLASSES:
            if column == f"{measure}_{name.lower()}":
                return measure, name
    return column, ""


def lay_long(summary: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return a row a measure: the keys, measure, class, value."""
    long = summary.melt(list(keys), var_name="column", value_name="value", ignore_index=False)
    long = long.sort_index(kind="stable").reset_index(drop=True)
    split = [_split_measure(name) for name in long["column"]]
    long["measure"], long["class"] = zip(*split, strict=True)
    return long[[*keys, "measure", "class", "value"]]
