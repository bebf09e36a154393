"""Windows and soft voting: a stream gives what looking at the whole video gives."""

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from abawcli.errors import UsageError
from abawcli.models.windows import SoftVoting, place_windows

checked = settings(max_examples=50, deadline=None)
shapes = st.integers(1, 12).flatmap(lambda w: st.tuples(st.just(w), st.integers(1, w)))
lengths = st.integers(0, 40)


def classify(arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """Say something of every frame that depends on its place and on its whole window.

    NaN in windows of nothing, as heads do.
    """
    values, has = arrays  # (W, T), (W, T)
    mean = (values * has).sum(axis=1, keepdims=True) / np.maximum(has.sum(axis=1), 1)[:, None]
    place = np.arange(values.shape[1])
    score = (values * has + mean + place)[..., None] * np.arange(1, 9)  # (W, T, 8)
    p = np.exp(np.sin(score))
    p /= p.sum(axis=-1, keepdims=True)
    outputs = np.concatenate([p, score[..., :1]], axis=-1)  # (W, T, 9)
    return np.where(has.any(axis=1)[:, None, None], outputs, np.nan).astype(np.float32)


def vote_offline(values: NDArray[Any], has: NDArray[Any], window: int, stride: int) -> Any:
    """Average all windows of a video at once, (T, 9)."""
    size = max(len(values), window)
    votes = np.full((len(place_windows(len(values), window, stride)), size, 9), np.nan)
    x, m = (np.pad(array, (0, size - len(array))) for array in (values, has))
    for vote, start in zip(votes, place_windows(len(values), window, stride), strict=True):
        part = slice(start, start + window)
        vote[part] = classify([x[None, part], m[None, part]])[0]
    count = (~np.isnan(votes)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return (np.nansum(votes, axis=0) / count)[: len(values)]


def make_video(frames: int, share: float) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(frames)
    return rng.normal(size=frames), rng.random(frames) < share


@checked
@given(lengths, shapes, st.sampled_from([0.1, 1.0]), st.integers(0, 999))
def test_a_stream_gives_the_offline_average(
    frames: int, shape: tuple[int, int], share: float, seed: int
) -> None:
    values, has = make_video(frames, share)
    random, stream = Random(seed), SoftVoting(*shape, classify)
    final, start = [], 0
    while start < frames:
        end = start + random.randint(0, 15)
        final.append(stream.push(values[start:end], has[start:end]))
        start = end
    final.append(stream.finish())
    found, expected = np.concatenate(final), vote_offline(values, has, *shape)
    assert found.shape == (frames, 9) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@checked
@given(lengths, shapes)
def test_frames_are_given_out_as_soon_as_they_are_final(
    frames: int, shape: tuple[int, int]
) -> None:
    window, stride = shape
    values, has = make_video(frames, 1.0)
    stream = SoftVoting(window, stride, classify)
    given_out = 0
    for seen in range(1, frames + 1):
        given_out += len(stream.push(values[seen - 1 : seen], has[seen - 1 : seen]))
        done = {s for s in range(0, seen - window + 1, stride)}
        ends = [place_windows(end, window, stride) for end in range(seen, seen + 2 * window)]
        to_come = {int(s) for starts in ends for s in starts} - done
        assert given_out == min(min(to_come), seen)  # what a window to come may hold stays
        assert given_out >= seen - window


def test_memory_does_not_grow_with_the_video() -> None:
    stream = SoftVoting(16, 4, classify)
    for _ in range(200):
        stream.push(np.ones(25), np.ones(25, bool))
        assert all(len(array) <= 16 for array in stream.rows)
        assert len(stream.votes) <= 16


@checked
@given(st.integers(1, 60), shapes)
def test_windows_hold_every_frame_and_the_last_is_complete(
    frames: int, shape: tuple[int, int]
) -> None:
    window, stride = shape
    starts = place_windows(frames, window, stride)
    held = {frame for start in starts for frame in range(start, start + window)}
    assert held == set(range(max(frames, window)))
    assert (np.diff(starts) > 0).all() and (np.diff(starts) <= stride).all()
    assert starts[-1] == max(frames - window, 0)


def test_windows_by_example() -> None:
    assert place_windows(128, 64, 32).tolist() == [0, 32, 64]
    assert place_windows(130, 64, 32).tolist() == [0, 32, 64, 66]
    assert place_windows(64, 64, 32).tolist() == place_windows(9, 64, 32).tolist() == [0]


@pytest.mark.parametrize(("window", "stride"), [(4, 5), (4, 0), (0, 0)])
def test_windows_that_leave_frames_out_are_refused(window: int, stride: int) -> None:
    with pytest.raises(UsageError, match=f"windows of {window} frames every {stride}"):
        SoftVoting(window, stride, classify)
