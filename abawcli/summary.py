"""Summary of prediction tables: one row of measures per subject and video.

Shares are of time, not of rows: at a variable frame rate the two differ. They are of labelled
frames with a face, or of all labelled frames if requested.
"""

from collections.abc import Iterator, Mapping, Sequence
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
LONG = ["measure", "class", "value"]  # columns of `lay_long` after the keys
OF_GROUPS = ["measure", "class", "n", "mean", "sd"]  # of `summarize_groups` after the groups'
# Columns that measures are of, and their types.
MEASURED: dict[str, type[np.generic]] = {
    "frame": np.int64, "time_s": np.float64, "label": np.int64, "found": np.bool_,
} | dict.fromkeys(("face_score", "h", "confidence", *PROBABILITY_COLUMNS), np.float64)  # fmt: skip
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
    durations: dict[tuple[str, str, str], list[float]] = {}
    parts = (segments[name].tolist() for name in (*KEYS, "label", "duration_s"))
    for video, subject, label, duration_s in zip(*parts, strict=True):
        durations.setdefault((video, subject, label), []).append(duration_s)
    columns = {name: table[name].to_numpy(kind) for name, kind in MEASURED.items()}
    rows = []
    for (video, subject), people in split_people(table):
        own = {name: np.array(durations.get((video, subject, name), [])) for name in CLASSES}
        row: dict[str, Any] = {"video": video, "subject": subject}
        person = {name: values[people] for name, values in columns.items()}
        row |= dict(_measure_subject(person, own, settings.all_frames))
        rows.append(row)
    return pd.DataFrame(rows)


def _measure_subject(
    person: Mapping[str, NDArray[Any]], durations: Mapping[str, Floats], all_frames: bool
) -> Iterator[tuple[str, Any]]:
    """Yield the measures of one subject of one video in order.

    `person` has the columns (T,) of the subject's rows, `durations` those of segments by class.
    """
    time_s, label, found = person["time_s"], person["label"], person["found"]
    duration_s = find_ends(person["frame"], time_s) - time_s  # (T,)
    used = (label != IGNORE) & (found | all_frames)  # (T,)
    yield "seconds", duration_s.sum()
    yield "frames", len(label)
    yield "share_with_face", _average(found, duration_s)
    yield "share_labelled", _average(label != IGNORE, duration_s)
    yield "mean_face_score", _find_mean(person["face_score"][found])
    yield "mean_face_height", _find_mean(person["h"][found])
    yield "mean_confidence", _average(person["confidence"][used], duration_s[used])
    for k, (name, column) in enumerate(zip(CLASSES, PROBABILITY_COLUMNS, strict=True)):
        own_s, suffix = durations[name], name.lower()
        yield f"share_{suffix}", _average(label[used] == k, duration_s[used])
        yield f"segments_{suffix}", len(own_s)
        yield f"mean_segment_s_{suffix}", _find_mean(own_s)
        yield f"longest_segment_s_{suffix}", own_s.max() if len(own_s) else np.nan
        yield f"mean_p_{suffix}", _average(person[column][used], duration_s[used])


def _find_mean(values: Floats) -> float:
    """Return the mean of the values that are known, NaN if none is."""
    known = ~np.isnan(values)
    return float(np.where(known, values, 0.0).sum() / known.sum()) if known.any() else np.nan


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
    """Return n, mean and standard deviation of each measure in each group, a row each.

    Columns are those that define the groups, and `OF_GROUPS`.
    """
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
    return pd.DataFrame(rows, columns=[*columns, *OF_GROUPS])


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
    return long[[*keys, *LONG]]
