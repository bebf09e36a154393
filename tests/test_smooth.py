"""Smoothing of tables: what changes, what stays, and the source of each row."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_tables import make_table

from abawcli.config import Smoothing
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import read_table, write_table
from abawcli.smoothing import SMOOTHERS
from abawcli.stages.smooth import count_segments, smooth_table

METHODS = pytest.mark.parametrize("method", list(SMOOTHERS))
windows = st.integers(0, 20).map(lambda half: 2 * half + 1)
seeds = st.integers(0, 10_000)
checked = settings(max_examples=25, deadline=None)


@METHODS
@checked
@given(st.integers(1, 40), st.integers(1, 40), windows, st.booleans(), st.booleans())
def test_a_change_stays_in_its_place_up_to_the_edge(
    method: str, before: int, after: int, window: int, ends: bool, gap: bool
) -> None:
    """However little there is before or after it: of a video, or between absences."""
    labels = np.repeat([0, 4], [before, after])
    if gap:
        labels = np.concatenate([[-1] * 30, labels, [-1] * 30])
    smooth = smooth_table(make_table(labels), Smoothing(method, window))
    known = labels >= 0
    assert smooth["label"][known].tolist() == labels[known].tolist()


def test_equal_expressions_have_equal_shares_at_any_rate() -> None:
    """One course of expressions, with flickers of 0.1 to 0.6 s, looked at 10, 24, 60 times a s."""
    lasting = [(0, 3.0), (4, 0.1), (0, 2.0), (6, 0.6), (4, 3.3), (5, 0.3), (4, 0.7), (0, 2.0)]
    ends = np.cumsum([seconds for _, seconds in lasting])
    shares = {}
    for rate in (10, 24, 60):
        time_s = np.arange(round(ends[-1] * rate)) / rate
        labels = np.array([k for k, _ in lasting])[np.searchsorted(ends, time_s + 1e-6)]
        smooth = smooth_table(make_table(labels).assign(time_s=time_s), Smoothing())
        shares[rate] = np.bincount(smooth["label"], minlength=8) / len(smooth)
    for rate in (10, 24):
        np.testing.assert_allclose(shares[rate], shares[60], atol=0.02)  # a frame in 12 s is 0.008


def test_rows_of_one_time_do_not_shrink_the_window() -> None:
    table = make_table([0] * 40 + [4] * 10 + [0] * 40)
    table.loc[20, "time_s"] = table["time_s"].to_numpy()[19]
    assert (smooth_table(table, Smoothing(window_s=1.0))["label"] == 0).all()


def test_frames_without_times_are_taken_as_25_a_second(caplog: pytest.LogCaptureFixture) -> None:
    table = make_table(np.random.default_rng(0).integers(0, 8, 60)).assign(time_s=np.nan)
    smooth = smooth_table(table, Smoothing())
    pd.testing.assert_frame_equal(smooth, smooth_table(table, Smoothing(window_frames=25)))
    assert caplog.messages == ["frames have no times; a window of 1 s counts 25 frames a second"]


def test_the_first_frame_without_a_time_is_named(caplog: pytest.LogCaptureFixture) -> None:
    table = make_table([4] * 60)
    holes = table.assign(time_s=table["time_s"].where(~table["frame"].isin([17, 18])))
    smooth_table(pd.concat([table.assign(subject="left"), holes]), Smoothing())
    assert caplog.messages == [
        "clip, subject main, frame 17: its time_s is empty; a window of 1 s counts 25 frames a "
        "second of such a subject (2 of 120 rows are empty)"
    ]


# The source of a row


def table_of(sources: str, labels: list[int] | None = None) -> pd.DataFrame:
    """Make a table of rows v(isual), b(oth), a(udio), f(illed) or n(one), 0.04 s apart."""
    names = {"v": "visual", "b": "av", "a": "audio", "f": "filled", "n": "none"}
    by_source = {"v": 4, "b": 4, "a": 5, "f": 7, "n": -1}
    table = make_table(labels or [by_source[c] for c in sources])
    return table.assign(source=[names[c] for c in sources], found=[c in "vb" for c in sources])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("vvvvaaaavvvv", "vvvvffffvvvv"),  # only audio among faces
        ("aaaabvvvvvaa", "afffbvvvvvff"),  # audio more than half a window away stays
        ("nnnnbvvvvvnn", "nfffbvvvvvff"),
        ("aaaannnnaaaa", "aaaannnnaaaa"),  # audio fills nothing
        ("ffffnnnnffff", "ffffnnnnffff"),  # nor does what was filled before
        ("ffvvffffaaaa", "ffvvffffaaaa"),
        ("vnnnnnnnnnnn", "vfffnnnnnnnn"),
    ],
)
def test_a_row_keeps_its_source_only_if_its_own_kind_of_evidence_decides(
    before: str, after: str
) -> None:
    table = table_of(before)
    smooth = smooth_table(table, Smoothing("median", 7))
    expected = table_of(after)["source"]
    assert smooth["source"].tolist() == expected.tolist()
    decided = {"visual": 4, "av": 4, "audio": 5, "none": -1}
    own = smooth["source"] != "filled"
    assert smooth["label"][own].tolist() == smooth["source"][own].map(decided).tolist()
    near = smooth["source"].eq("filled") & table["source"].ne("filled")
    assert (smooth["label"][near] == 4).all()  # a face's


@checked
@given(st.text("vbafn", min_size=1, max_size=40), seeds, windows)
def test_what_is_smoothed_again_is_no_further_from_its_evidence(
    sources: str, seed: int, window: int
) -> None:
    table = table_of(sources, np.random.default_rng(seed).integers(0, 8, len(sources)).tolist())
    none = table["source"] == "none"
    table.loc[none, [*PROBABILITIES, "confidence"]] = np.nan
    table.loc[none, "label"] = -1
    once = smooth_table(table, Smoothing("median", window))
    again = smooth_table(once, Smoothing("median", window))
    assert again["source"].tolist() == once["source"].tolist()
    faces = np.array([c in "vb" for c in sources])
    frames = np.arange(len(sources))
    reached = (np.abs(frames[:, None] - frames[faces]) <= window // 2).any(axis=1)
    kept = np.where(faces | ~reached, table["source"], "filled")
    assert once["source"].tolist() == kept.tolist()


def test_runs_that_smoothing_removes_are_counted() -> None:
    raw = make_table([0] * 20 + [6] + [0] * 20 + [4] * 20 + [-1] * 2 + [4] * 3)
    smooth = smooth_table(raw, Smoothing("median", 9))
    assert count_segments(raw, smooth) == (1, 4)
    assert count_segments(raw, raw) == (0, 4)
    nothing = make_table([-1] * 3)
    assert count_segments(nothing, nothing) == (0, 0)


def test_a_flicker_goes_and_a_change_stays() -> None:
    labels = np.repeat([0, 4], 20)
    labels[7] = 6
    smooth = smooth_table(make_table(labels), Smoothing("median", 9))
    assert smooth["label"].tolist() == np.repeat([0, 4], 20).tolist()
    np.testing.assert_allclose(smooth[PROBABILITIES].sum(axis=1), 1)
    np.testing.assert_array_equal(smooth["confidence"], smooth[PROBABILITIES].max(axis=1))


def test_gaps_are_filled_marked_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = make_table([4] * 10 + [-1] * 3 + [4] * 10 + [-1] * 9)
    smooth = smooth_table(table, Smoothing("mean", 9))
    assert smooth["label"].tolist() == [4] * 27 + [-1] * 5
    assert smooth["source"].tolist() == (
        ["visual"] * 10 + ["filled"] * 3 + ["visual"] * 10 + ["filled"] * 4 + ["none"] * 5
    )
    assert caplog.messages == [
        "clip, subject main: 5 of 32 frames have no label: no reliable speech, and no face "
        "within half a window of 9 frames"
    ]
    kept = ["video", "frame", "time_s", "subject", "found", "face_score", *"xywh"]
    pd.testing.assert_frame_equal(smooth[kept], table[kept])
    write_table(smooth, tmp_path / "smooth.csv", {})
    assert read_table(tmp_path / "smooth.csv")["label"].tolist() == smooth["label"].tolist()


def test_a_video_without_any_prediction_stays_so(caplog: pytest.LogCaptureFixture) -> None:
    smooth = smooth_table(make_table([-1] * 5), Smoothing())
    assert (smooth["source"] == "none").all()
    assert (smooth["label"] == -1).all()
    assert smooth["confidence"].isna().all()
    assert caplog.messages == [
        "clip, subject main: no frame has a label: no face, and no reliable speech "
        "(`abaw predict --label-all` labels all speech)"
    ]


def test_videos_and_subjects_do_not_mix_and_rows_keep_their_order() -> None:
    tables = [
        make_table([1] * 6, "a", "left"),
        make_table([2] * 6, "a", "right"),
        make_table([3] * 6, "b", "left"),
    ]
    table = pd.concat(tables).sample(frac=1, random_state=0)
    smooth = smooth_table(table, Smoothing("mean", 5))
    for column in ("video", "subject", "frame", "label"):
        assert smooth[column].tolist() == table[column].tolist()
    np.testing.assert_allclose(smooth["confidence"], 0.65)


def test_rows_out_of_order_are_smoothed_in_order() -> None:
    table = make_table([0] * 10 + [5] * 10)
    shuffled = smooth_table(table.sample(frac=1, random_state=1), Smoothing("mean", 5))
    pd.testing.assert_frame_equal(
        shuffled.sort_values("frame"), smooth_table(table, Smoothing("mean", 5))
    )


def test_what_a_head_read_from_other_frames_is_kept_where_there_is_no_face() -> None:
    table = make_table([4, 4, 4, 5, 5, 5, 5, 5, 5])
    table.loc[3:, "source"] = "filled"  # by the head
    smooth = smooth_table(table, Smoothing("median", 3))
    assert smooth["label"].tolist() == [4, 4, 4, 4, 5, 5, 5, 5, 5]
    assert smooth["source"].tolist() == table["source"].tolist()


def test_rows_far_apart_in_time_are_no_neighbours() -> None:
    """20 rows of Happiness, then 400 s later 5 of Sadness: a window of 1 s mixes none."""
    table = make_table([4] * 20 + [5] * 5)
    late = table.index >= 20
    table.loc[late, "frame"] += 10_000
    table.loc[late, "time_s"] += 400
    for config in (Smoothing(), Smoothing("median", 25)):
        assert smooth_table(table, config)["label"].tolist() == table["label"].tolist()
