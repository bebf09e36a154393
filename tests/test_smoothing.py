"""Smoothing of probabilities: every row is what the definition says of its window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.special import softmax

from abawcli.config import Smoothing
from abawcli.errors import UsageError
from abawcli.smoothing import ROUNDING_S, SMOOTHERS, smooth_probabilities

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
