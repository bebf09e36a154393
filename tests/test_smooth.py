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
from abawcli.formats.tables import PROBABILITIES, read_table, write_table
from abawcli.smoothing import SMOOTHERS, find_window, smooth_probabilities
from abawcli.stages.smooth import smooth_table

METHODS = pytest.mark.parametrize("method", list(SMOOTHERS))
lengths = st.integers(1, 60)
windows = st.integers(0, 20).map(lambda half: 2 * half + 1)
seeds = st.integers(0, 10_000)
checked = settings(max_examples=40, deadline=None)


def random_rows(seed: int, n: int, share_valid: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(8, 0.4), n)
    return p, rng.random(n) < share_valid


def describe_window(rows: np.ndarray, offsets: np.ndarray, method: str, window: int) -> np.ndarray:
    """Say what one window's valid rows (n, 8) at `offsets` become, straight from the definition."""
    weights = np.ones(len(rows))
    if method == "gaussian":
        weights = np.exp(-0.5 * (offsets / (window / 4)) ** 2)
    if method == "vote":
        rows = np.eye(8)[rows.argmax(axis=1)] + 1e-6 * rows
    out = np.median(rows, axis=0)
    if method != "median" or out.sum() == 0:
        out = weights @ rows
    return out / out.sum()


@METHODS
@checked
@given(seeds, lengths, windows, st.sampled_from([0.0, 0.2, 0.7, 1.0]))
def test_every_row_is_its_windows_statistic(
    method: str, seed: int, n: int, window: int, share: float
) -> None:
    p, valid = random_rows(seed, n, share)
    p[~valid] = np.nan
    smooth = smooth_probabilities(p, valid, method, window)
    for t in range(n):
        inside = np.arange(max(0, t - window // 2), min(n, t + window // 2 + 1))
        inside = inside[valid[inside]]
        if len(inside) == 0:
            assert np.isnan(smooth[t]).all()
        else:
            expected = describe_window(p[inside], inside - t, method, window)
            np.testing.assert_allclose(smooth[t], expected, atol=1e-9)


@METHODS
@checked
@given(seeds, lengths, windows)
def test_a_constant_stays(method: str, seed: int, n: int, window: int) -> None:
    p, valid = random_rows(seed, n)
    p[:] = [0.6, 0, 0.1, 0, 0.2, 0.1, 0, 0]
    valid[0] = True
    smooth = smooth_probabilities(p, valid, method, window)
    expected = np.eye(8)[0] if method == "vote" else p[0]
    reached = ~np.isnan(smooth[:, 0])
    np.testing.assert_allclose(smooth[reached], np.tile(expected, (reached.sum(), 1)), atol=2e-6)


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
        smooth_probabilities(later, valid_later, method, window)[shift:],
        smooth_probabilities(p, valid, method, window),
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
        smooth_probabilities(p[:, order], valid, method, window),
        smooth_probabilities(p, valid, method, window)[:, order],
        atol=1e-9,
    )


@checked
@given(seeds, windows)
def test_median_agrees_with_scipy_inside(seed: int, window: int) -> None:
    p, valid = random_rows(seed, 100, share_valid=1.0)
    smooth = smooth_probabilities(p, valid, "median", window)
    expected = ndimage.median_filter(p, (window, 1))
    inside = slice(window // 2, 100 - window // 2)
    full = expected[inside].sum(axis=1) > 0
    np.testing.assert_allclose(
        smooth[inside][full],
        (expected / np.maximum(expected.sum(axis=1, keepdims=True), 1e-12))[inside][full],
        atol=1e-9,
    )


@checked
@given(seeds, lengths, windows, st.floats(-5, 5))
def test_a_median_of_logits_is_that_of_the_network(
    seed: int, n: int, window: int, constant: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 8))
    logits += constant - logits.mean(axis=1, keepdims=True)
    valid = rng.random(n) < 0.7
    smooth = smooth_probabilities(softmax(logits, axis=1), valid, "median", window, "logits")
    for t in range(n):
        inside = np.arange(max(0, t - window // 2), min(n, t + window // 2 + 1))
        inside = inside[valid[inside]]
        if len(inside):
            expected = softmax(np.median(logits[inside], axis=0))
            np.testing.assert_allclose(smooth[t], expected, atol=1e-6)


def test_votes_are_the_same_of_logits() -> None:
    p, valid = random_rows(3, 40)
    votes = [smooth_probabilities(p, valid, "vote", 7, s) for s in ("probabilities", "logits")]
    np.testing.assert_array_equal(*votes)


@pytest.mark.parametrize("space", ["probabilities", "logits"])
def test_a_window_of_one_changes_nothing(space: str) -> None:
    p, valid = random_rows(0, 50, share_valid=1.0)
    for method in ("median", "mean", "gaussian"):
        smooth = smooth_probabilities(p, valid, method, 1, space)
        np.testing.assert_allclose(smooth, p, atol=1e-6)


@METHODS
def test_a_window_longer_than_the_video(method: str) -> None:
    p, valid = random_rows(0, 5, share_valid=1.0)
    assert np.isfinite(smooth_probabilities(p, valid, method, 101)).all()


@METHODS
@pytest.mark.parametrize("n", [1, 7])
def test_a_window_that_exceeds_any_memory(method: str, n: int) -> None:
    p, valid = random_rows(1, n, share_valid=1.0)
    smooth = smooth_probabilities(p, valid, method, 10**15 + 1)
    expected = describe_window(p, np.arange(n), method, 10**15 + 1)
    np.testing.assert_allclose(smooth, np.tile(expected, (n, 1)), atol=1e-9)


@METHODS
def test_only_real_predictions_are_evidence(method: str, tmp_path: Path) -> None:
    table = make_table([4] * 6 + [-1] * 9 + [2] * 6)
    filled = smooth_table(table, Smoothing("mean", 9))
    assert filled["source"].eq("filled").sum() == 8
    rows = filled["source"].eq("filled")
    filled.loc[rows, PROBABILITIES] = np.eye(8)[7]  # whatever they were filled with
    again = smooth_table(filled, Smoothing(method, 5))
    assert again["source"].tolist() == (
        ["visual"] * 6 + ["filled"] * 2 + ["none"] * 5 + ["filled"] * 2 + ["visual"] * 6
    )
    assert again["label"].tolist() == [4] * 8 + [-1] * 5 + [2] * 8
    assert (
        again.loc[again["source"] == "none", [*PROBABILITIES, "confidence"]].isna().all(axis=None)
    )
    write_table(again, tmp_path / "again.csv", {})
    assert read_table(tmp_path / "again.csv")["source"].tolist() == again["source"].tolist()


@pytest.mark.parametrize("window", [0, -3, 24])
def test_windows_that_are_none(window: int) -> None:
    with pytest.raises(UsageError, match=f"odd number of frames, not {window}"):
        smooth_probabilities(np.full((3, 8), 1 / 8), np.ones(3, bool), "mean", window)
    with pytest.raises(UsageError, match="longer than 0 s, not -1 s"):
        find_window(np.arange(3.0), Smoothing(window_s=-1.0))
    with pytest.raises(UsageError, match="a window of 1 s needs the frames' times"):
        find_window(np.full(3, np.nan), Smoothing(window_s=1.0))
    assert find_window(np.full(3, np.nan), Smoothing(window_frames=9)) == 9


def test_an_unknown_method_or_space() -> None:
    with pytest.raises(UsageError, match="cannot smooth 'ranks'; choose probabilities or logits"):
        smooth_probabilities(np.full((3, 8), 1 / 8), np.ones(3, bool), "mean", 3, "ranks")
    with pytest.raises(UsageError, match="unknown smoothing 'kalman'; known are median, mean"):
        smooth_probabilities(np.full((3, 8), 1 / 8), np.ones(3, bool), "kalman", 3)


@pytest.mark.parametrize(
    ("interval_s", "window_s", "frames"),
    [(0.04, 1.0, 25), (1 / 30, 1.0, 31), (1 / 30, 0.97, 29), (0.04, 0.001, 1), (0.0, 1.0, 1)],
)
def test_seconds_become_an_odd_number_of_frames(
    interval_s: float, window_s: float, frames: int
) -> None:
    times_s = np.arange(100) * interval_s
    times_s[50:] += 7.0  # a pause does not change the median interval
    assert find_window(times_s, Smoothing(window_s=window_s)) == frames
    assert find_window(times_s[:1], Smoothing(window_s=window_s)) == 1


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
        "clip, subject main: 5 of 32 frames stay without a label: none within 4 frames"
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


def test_what_a_head_read_from_other_frames_is_evidence_if_told_so() -> None:
    table = make_table([4, 4, 4, 5, 5, 5, 5, 5, 5])
    table.loc[3:, "source"] = "filled"  # by the head: no neighbour within the window
    own = smooth_table(table, Smoothing("median", 3), (table["label"] >= 0).to_numpy())
    assert own["label"].tolist() == [4, 4, 4, 5, 5, 5, 5, 5, 5]
    assert own["source"].tolist() == table["source"].tolist()
    assert smooth_table(table, Smoothing("median", 3))["label"].tolist()[-3:] == [-1, -1, -1]
