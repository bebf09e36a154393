"""Segments of a table: no overlap, nothing lost, true times on a variable frame rate."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abawcli.config import Segmentation
from abawcli.errors import InputError, UsageError
from abawcli.labels import CLASSES
from abawcli.segments import COLUMNS, find_ends, segment_table

KEEP_ALL = Segmentation(min_duration_s=0.0, max_gap_s=0.0)


def make_table(labels: list[int], time_s: Any, frame: Any = None) -> pd.DataFrame:
    """Return the columns that segments are made of; a face wherever there is a label."""
    count = len(labels)
    label = np.array(labels)
    return pd.DataFrame(
        {
            "video": "clip",
            "subject": "main",
            "frame": np.arange(1, count + 1) if frame is None else frame,
            "time_s": time_s,
            "label": label,
            "confidence": np.where(label >= 0, 0.5, np.nan),
            "found": label >= 0,
        }
    )


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Return a table with a variable frame rate, unlabelled rows and rows left out."""
    count = draw(st.integers(1, 60))
    steps = draw(st.lists(st.floats(0.005, 0.2), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(-1, 2), min_size=count, max_size=count))
    numbers = np.cumsum(draw(st.lists(st.integers(1, 2), min_size=count, max_size=count)))
    return make_table(labels, np.cumsum(steps), numbers)


@given(tables(), st.floats(0, 0.5), st.floats(0, 0.5))
def test_segments_are_in_order_and_apart(
    table: pd.DataFrame, min_duration_s: float, max_gap_s: float
) -> None:
    segments = segment_table(table, Segmentation(min_duration_s, max_gap_s))
    assert list(segments.columns) == COLUMNS
    assert (segments["duration_s"] == segments["end_s"] - segments["start_s"]).all()
    assert (segments["duration_s"] >= min_duration_s).all()
    later = segments["start_s"].to_numpy()[1:], segments["end_s"].to_numpy()[:-1]
    assert (later[0] >= later[1]).all()
    assert set(segments["start_s"]) <= set(table["time_s"])
    rows: list[Any] = list(segments.itertuples())
    for before, after in pairwise(rows):
        assert before.label != after.label or after.start_s - before.end_s > max_gap_s


@given(tables())
def test_without_limits_no_labelled_frame_is_lost_or_made_up(table: pd.DataFrame) -> None:
    segments = segment_table(table, KEEP_ALL)
    ends = find_ends(table["frame"].to_numpy(), table["time_s"].to_numpy())
    label = np.full(len(table), -1)
    for row in segments.itertuples():
        inside = (table["time_s"] >= row.start_s) & (table["time_s"] < row.end_s)
        label[inside.to_numpy()] = CLASSES.index(row.label)
    lasting = ends > table["time_s"]  # a single frame lasts no time
    assert (label == table["label"])[lasting].all()
    labelled = (ends - table["time_s"])[table["label"] >= 0].sum()
    assert segments["duration_s"].sum() == pytest.approx(labelled)


def test_times_are_those_of_the_frames_on_a_variable_frame_rate() -> None:
    table = make_table([0, 0, 4, 4, 4, -1], [0.0, 0.04, 0.5, 0.52, 1.5, 1.6])
    segments = segment_table(table)
    assert segments["label"].tolist() == ["Neutral", "Happiness"]
    assert segments["start_s"].tolist() == [0.0, 0.5]
    assert segments["end_s"].tolist() == [0.5, 1.6]
    assert segments["mean_confidence"].tolist() == [0.5, 0.5]
    assert segments["share_with_face"].tolist() == [1.0, 1.0]


def test_a_short_gap_is_bridged_and_a_short_segment_becomes_a_gap() -> None:
    tenth = np.arange(12) / 10
    bridged = segment_table(make_table([4, 4, 4, -1, -1, 4, 4, 4, 0, 0, 0, 0], tenth))
    assert bridged["label"].tolist() == ["Happiness", "Neutral"]
    assert bridged["end_s"].tolist() == pytest.approx([0.8, 1.2])
    assert bridged["share_with_face"].tolist() == [1.0, 1.0]  # of the rows that carry the label
    dropped = segment_table(make_table([4, 4, 4, 1, 4, 4, 4, 4, 0, 0, 0, 0], tenth))
    assert dropped["label"].tolist() == ["Happiness", "Neutral"]
    apart = segment_table(make_table([4, 4, 4, -1, -1, -1, -1, -1, 4, 4, 4, 4], tenth))
    assert apart["start_s"].tolist() == pytest.approx([0.0, 0.8])


def test_rows_that_were_left_out_end_a_segment() -> None:
    frame = [1, 2, 3, 10_001, 10_002, 10_003]
    segments = segment_table(make_table([4] * 6, np.array(frame) / 25, frame), KEEP_ALL)
    assert segments["duration_s"].tolist() == pytest.approx([0.12, 0.12])


def test_subjects_and_videos_are_apart() -> None:
    one = make_table([4, 4], [0.0, 0.5])
    table = pd.concat([one, one.assign(subject="1"), one.assign(video="other")])
    segments = segment_table(table)
    assert list(zip(segments["video"], segments["subject"], strict=True)) == [
        ("clip", "main"), ("clip", "1"), ("other", "main"),
    ]  # fmt: skip


def test_bad_input() -> None:
    with pytest.raises(InputError, match="clip: its frames have no times"):
        segment_table(make_table([4, 4], [np.nan, np.nan]))
    with pytest.raises(InputError, match=r"clip, subject main, frame 2: its time_s is empty; pre"):
        segment_table(make_table([4, 4, 4], [0.0, np.nan, 0.1]))
    with pytest.raises(InputError, match=r"frame 2: its time_s is empty \(2 of 3 are\); predict"):
        segment_table(make_table([4, 4, 4], [0.0, np.nan, np.nan]))
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="minimum duration"):
            segment_table(make_table([4], [0.0]), Segmentation(wrong, 0.0))
    assert segment_table(make_table([], [])).empty
