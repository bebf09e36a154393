from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_tables import make_table
from scipy import ndimage
from scipy.special import softmax

from abawcli.config import Smoothing
from abawcli.errors import UsageError
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import read_table, write_table
from abawcli.smoothing import ROUNDING_S, SMOOTHERS, smooth_probabilities
from abawcli.stages.smooth import count_runs, smooth_table

METHODS = pytest.mark.parametrize("method", list(SMOOTHERS))
lengths = st.integers(1, 60)
windows = st.integers(0, 20).map(lambda half: 2 * half + 1)
seeds = st.integers(0, 10_000)
checked = settings(max_examples=25, deadline=None)


def random_rows(seed: int, n: int, share_valid: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(8, 0.4), n)
    return p, rng.random(n) < share_valid


def smooth_frames(
    p: np.ndarray, valid: np.ndarray, method: str, window: int, space: str = "probabilities"
) -> np.ndarray:
    """Smooth rows that are frames 1 to T, in windows of frames."""
    frame = np.arange(1, len(p) + 1)
    config = Smoothing(method, window, None, space)
    return smooth_probabilities(p, valid, frame, frame / 25, config=config)


def list_evidence(at: np.ndarray, valid: np.ndarray, t: int, reach: float) -> np.ndarray:
    """List the rows in the window of row t, straight from the definition; `at` is ascending."""
    rows = np.flatnonzero(valid & (np.abs(at - at[t]) <= reach))
    if not valid[t]:
        return rows
    before, after = rows[rows < t], rows[rows > t]
    either = min(len(before), len(after))
    return np.concatenate([before[len(before) - either :], [t], after[:either]])


def describe_window(rows: np.ndarray, offsets: np.ndarray, method: str, width: float) -> np.ndarray:
    """Say what one window's valid rows (n, 8) at `offsets` become, straight from the definition."""
    weights = np.ones(len(rows))
    if method == "gaussian":
        weights = np.exp(-0.5 * (offsets / (width / 4)) ** 2)
    if method == "vote":
        rows = np.eye(8)[rows.argmax(axis=1)] + 1e-6 * rows
    out = np.median(rows, axis=0)
    if method != "median" or out.sum() == 0:
        out = weights @ rows
    return out / out.sum()


def check_rows(
    smooth: np.ndarray, p: np.ndarray, valid: np.ndarray, at: np.ndarray,
    method: str, reach: float, width: float,
) -> None:  # fmt: skip
    for t in range(len(p)):
        inside = list_evidence(at, valid, t, reach)
        if len(inside) == 0:
            assert np.isnan(smooth[t]).all()
        else:
            expected = describe_window(p[inside], at[inside] - at[t], method, width)
            np.testing.assert_allclose(smooth[t], expected, atol=1e-9)


@METHODS
@checked
@given(seeds, lengths, windows, st.sampled_from([0.0, 0.2, 0.7, 1.0]))
def test_every_row_is_its_windows_statistic(
    method: str, seed: int, n: int, window: int, share: float
) -> None:
    p, valid = random_rows(seed, n, share)
    p[~valid] = np.nan
    smooth = smooth_frames(p, valid, method, window)
    check_rows(smooth, p, valid, np.arange(n), method, window // 2, window)


@METHODS
@checked
@given(
    st.lists(st.sampled_from([0.0, 0.01, 0.04, 0.1, 0.5, 400.0]), min_size=1, max_size=60),
    seeds,
    st.sampled_from([0.05, 0.33, 1.0, 3.0]),
)
def test_a_window_is_time_and_no_number_of_rows(
    method: str, intervals_s: list[float], seed: int, window_s: float
) -> None:
    time_s = np.cumsum(intervals_s)
    p, valid = random_rows(seed, len(time_s))
    frame = np.arange(1, len(p) + 1)
    shuffled = np.random.default_rng(seed).permutation(len(p))
    config = Smoothing(method, window_s=window_s)
    smooth = np.empty_like(p)
    smooth[shuffled] = smooth_probabilities(
        p[shuffled], valid[shuffled], frame[shuffled], time_s[shuffled], config=config
    )
    check_rows(smooth, p, valid, time_s, method, window_s / 2 + ROUNDING_S, window_s)


@METHODS
@checked
@given(st.lists(st.sampled_from([1, 2, 7, 10_000]), min_size=1, max_size=60), seeds, windows)
def test_a_window_in_frames_counts_frame_numbers(
    method: str, steps: list[int], seed: int, window: int
) -> None:
    frame = np.cumsum(steps)
    p, valid = random_rows(seed, len(frame))
    smooth = smooth_probabilities(p, valid, frame, frame * np.nan, config=Smoothing(method, window))
    check_rows(smooth, p, valid, frame, method, window // 2, window)


@METHODS
@checked
@given(seeds, lengths, windows)
def test_a_constant_stays(method: str, seed: int, n: int, window: int) -> None:
    p, valid = random_rows(seed, n)
    p[:] = [0.6, 0, 0.1, 0, 0.2, 0.1, 0, 0]
    valid[0] = True
    smooth = smooth_frames(p, valid, method, window)
    expected = np.eye(8)[0] if method == "vote" else p[0]
    reached = ~np.isnan(smooth[:, 0])
    np.testing.assert_allclose(smooth[reached], np.tile(expected, (reached.sum(), 1)), atol=2e-6)
    assert (smooth[reached] >= 0).all()


@METHODS
@checked
@given(seeds, lengths, windows, st.integers(1, 30))
def test_shifting_the_rows_shifts_the_result(
    method: str, seed: int, n: int, window: int, shift: int
) -> None:
    p, valid = random_rows(seed, n)
    later = np.vstack([np.full((shift, 8), np.nan), p])
    valid_later = np.concatenate([np.zeros(shift, bool), valid])
    np.testing.assert_allclose(
        smooth_frames(later, valid_later, method, window)[shift:],
        smooth_frames(p, valid, method, window),
        atol=1e-9,
    )


@METHODS
@checked
@given(seeds, lengths, windows, st.permutations(range(8)))
def test_no_class_is_treated_differently(
    method: str, seed: int, n: int, window: int, order: list[int]
) -> None:
    p, valid = random_rows(seed, n)
    np.testing.assert_allclose(
        smooth_frames(p[:, order], valid, method, window),
        smooth_frames(p, valid, method, window)[:, order],
        atol=1e-9,
    )


@checked
@given(seeds, windows)
def test_median_agrees_with_scipy_inside(seed: int, window: int) -> None:
    """Of whole tables at a constant rate, in frames and in seconds."""
    p, valid = random_rows(seed, 100, share_valid=1.0)
    expected = ndimage.median_filter(p, (window, 1))
    inside = slice(window // 2, 100 - window // 2)
    full = expected[inside].sum(axis=1) > 0
    expected = expected / np.maximum(expected.sum(axis=1, keepdims=True), 1e-12)
    frame = np.arange(1, 101)
    for config in (Smoothing("median", window), Smoothing("median", window_s=window / 30)):
        smooth = smooth_probabilities(p, valid, frame, (frame - 1) / 30, config=config)
        np.testing.assert_allclose(smooth[inside][full], expected[inside][full], atol=1e-9)


@checked
@given(seeds, lengths, windows, st.floats(-5, 5))
def test_a_median_of_logits_is_that_of_the_network(
    seed: int, n: int, window: int, constant: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 8))
    logits += constant - logits.mean(axis=1, keepdims=True)
    valid = rng.random(n) < 0.7
    smooth = smooth_frames(softmax(logits, axis=1), valid, "median", window, "logits")
    for t in range(n):
        inside = list_evidence(np.arange(n), valid, t, window // 2)
        if len(inside):
            expected = softmax(np.median(logits[inside], axis=0))
            np.testing.assert_allclose(smooth[t], expected, atol=1e-6)


def test_votes_are_the_same_of_logits() -> None:
    p, valid = random_rows(3, 40)
    one, other = (smooth_frames(p, valid, "vote", 7, s) for s in ("probabilities", "logits"))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("space", ["probabilities", "logits"])
def test_a_window_of_one_changes_nothing(space: str) -> None:
    p, valid = random_rows(0, 50, share_valid=1.0)
    for method in ("median", "mean", "gaussian"):
        smooth = smooth_frames(p, valid, method, 1, space)
        np.testing.assert_allclose(smooth, p, atol=1e-6)


@METHODS
@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("window", [101, 10**15 + 1])
def test_a_window_longer_than_the_video(method: str, n: int, window: int) -> None:
    p, valid = random_rows(1, n, share_valid=1.0)
    smooth = smooth_frames(p, valid, method, window)
    check_rows(smooth, p, valid, np.arange(n), method, window // 2, window)


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


# What a row rests on


def table_of(sources: str, labels: list[int] | None = None) -> pd.DataFrame:
    """Make a table of rows v(isual), b(oth), a(udio), f(illed) or n(one), 0.04 s apart."""
    names = {"v": "visual", "b": "av", "a": "audio", "f": "filled", "n": "none"}
    by_source = {"v": 4, "b": 4, "a": 5, "f": 7, "n": -1}
    table = make_table(labels or [by_source[c] for c in sources])
    return table.assign(source=[names[c] for c in sources], found=[c in "vb" for c in sources])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("vvvvaaaavvvv", "vvvvffffvvvv"),  # only sound among faces
        ("aaaabvvvvvaa", "afffbvvvvvff"),  # sound more than half a window away stays
        ("nnnnbvvvvvnn", "nfffbvvvvvff"),
        ("aaaannnnaaaa", "aaaannnnaaaa"),  # sound fills nothing
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
    assert count_runs(raw, smooth) == (1, 4)
    assert count_runs(raw, raw) == (0, 4)
    nothing = make_table([-1] * 3)
    assert count_runs(nothing, nothing) == (0, 0)


@pytest.mark.parametrize("window", [0, -3, 24])
def test_windows_that_are_none(window: int) -> None:
    p, frame = np.full((3, 8), 1 / 8), np.arange(1, 4)
    for config, message in (
        (Smoothing("mean", window), f"odd number of frames, not {window}"),
        (Smoothing("mean", window_s=-1.0), "longer than 0 s, not -1.0 s"),
        (Smoothing("mean", None, None), "longer than 0 s, not None s"),
    ):
        with pytest.raises(UsageError, match=message):
            smooth_probabilities(p, np.ones(3, bool), frame, frame / 25, config=config)


def test_an_unknown_method_or_space() -> None:
    p, valid = np.full((3, 8), 1 / 8), np.ones(3, bool)
    with pytest.raises(UsageError, match="cannot smooth 'ranks'; choose probabilities or logits"):
        smooth_frames(p, valid, "mean", 3, "ranks")
    with pytest.raises(UsageError, match="unknown smoothing 'kalman'; known are median, mean"):
        smooth_frames(p, valid, "kalman", 3)


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
    assert caplog.messages == ["clip, subject main: no frame has a label"]


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
