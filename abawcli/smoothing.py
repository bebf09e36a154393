"""Probabilities over time: each frame becomes a statistic of a window around it.

Arrays in, arrays out, one subject of one video at a time. Rows that are not valid take no part
in any window, but receive one. At both ends the window is cut off: nothing is made up beyond.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from abawcli.config import SMOOTHING_SPACES, Smoothing
from abawcli.errors import UsageError
from abawcli.labels import N_CLASSES

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
LEAST = 1e-7  # a probability whose logarithm still counts; csv tables have six digits


def _reach(rows: int, window: int) -> int:
    """Return how many rows a window extends to either side, as far as there are any."""
    return min(window // 2, rows - 1)


def _average(values: Array, valid: Mask, kernel: Array) -> Array:
    """Average (T, C) under a kernel (W,), weights of missing rows shared by the others."""

    def add_up(rows: Array) -> Array:
        out: Array = ndimage.correlate1d(rows, kernel, axis=0, mode="constant")
        return out

    weight = add_up(valid.astype(np.float64))  # (T,)
    total = add_up(np.where(valid[:, None], values, 0.0))  # (T, C)
    return total / np.where(weight > 0, weight, 1.0)[:, None]


def smooth_mean(p: Array, valid: Mask, window: int) -> Array:
    """Average the window."""
    return _average(p, valid, np.ones(2 * _reach(len(p), window) + 1))


def smooth_gaussian(p: Array, valid: Mask, window: int) -> Array:
    """Average the window with weights of a bell curve; sigma is a quarter of the window."""
    reach = _reach(len(p), window)
    steps = np.arange(-reach, reach + 1)
    return _average(p, valid, np.exp(-0.5 * (steps / (window / 4)) ** 2))


def smooth_vote(p: Array, valid: Mask, window: int) -> Array:
    """Give each class the share of the window's frames in which it is the likeliest."""
    votes = np.eye(N_CLASSES)[p.argmax(axis=1)]
    # A millionth of the probabilities themselves: enough to break ties, too little to outvote.
    return smooth_mean(votes + 1e-6 * p, valid, window)


def smooth_median(p: Array, valid: Mask, window: int) -> Array:
    """Take each class's median.

    Missing rows, and those beyond both ends, are set alternately below and above every
    value. Of any run of them in a window as many then lie below as above, or one more:
    an odd window's median is a middle value of the valid rows, the upper or the lower one if
    they are even in number. The other sign gives the other, and half of their sum the median.
    """
    reach = _reach(len(p), window)
    padded = np.pad(p, ((reach, reach), (0, 0)))  # (T + 2 reach, 8)
    missing = ~np.pad(valid, reach)
    below = np.cumsum(missing[missing]) % 2 == 0
    least, most = p.min() - 1, p.max() + 1
    out = np.zeros_like(p)
    for flipped in (False, True):
        padded[missing] = np.where(below ^ flipped, least, most)[:, None]
        for c in range(p.shape[1]):
            middle = ndimage.median_filter(padded[:, c], 2 * reach + 1, mode="nearest")
            out[:, c] += middle[reach : reach + len(p)] / 2
    return out


SMOOTHERS: dict[str, Callable[[Array, Mask, int], Array]] = {
    "median": smooth_median,
    "mean": smooth_mean,
    "gaussian": smooth_gaussian,
    "vote": smooth_vote,
}


def to_logits(p: Array) -> Array:
    """Return the logarithms of probabilities (T, 8), each row less its mean.

    What a network's softmax was made of is known but for a constant a row, which this sets so
    that the row's mean is 0, as a trained classifier's nearly is.
    """
    logs = np.log(np.maximum(p, LEAST))
    centred: Array = logs - logs.mean(axis=1, keepdims=True)
    return centred


def smooth_probabilities(
    p: Array, valid: Mask, method: str, window_frames: int, space: str = "probabilities"
) -> Array:
    """Smooth the probabilities (T, 8) of one subject's consecutive frames.

    Rows outside `valid` (T,) are not looked at. Returns (T, 8), rows summing to 1, and NaN
    where no valid row lies in the window. A median that is 0 for all classes becomes the mean.
    `space` says whether the statistic is one of probabilities or of logits; votes are the same.

    Raises:
        UsageError: an unknown method or space, or a window that is not an odd number of frames.
    """
    if method not in SMOOTHERS:
        raise UsageError(f"unknown smoothing {method!r}; known are {', '.join(SMOOTHERS)}")
    if space not in SMOOTHING_SPACES:
        raise UsageError(f"cannot smooth {space!r}; choose {' or '.join(SMOOTHING_SPACES)}")
    if window_frames < 1 or window_frames % 2 == 0:
        raise UsageError(f"a window must be an odd number of frames, not {window_frames}")
    width = 2 * _reach(len(p), window_frames) + 1
    reached: Mask = ndimage.maximum_filter1d(valid, width, mode="constant")
    known = np.where(valid[:, None], p, 0.0)
    if space == "logits" and method != "vote":
        smooth = special.softmax(SMOOTHERS[method](to_logits(known), valid, window_frames), axis=1)
    else:
        smooth = SMOOTHERS[method](known, valid, window_frames)
        empty = smooth.sum(axis=1) < 1e-9
        if empty.any():
            smooth[empty] = smooth_mean(known, valid, window_frames)[empty]
    out = np.full_like(known, np.nan)
    out[reached] = smooth[reached] / smooth[reached].sum(axis=1, keepdims=True)
    return out


def find_window(times_s: Array, config: Smoothing) -> int:
    """Return the window in frames: as configured, or seconds over the median frame interval.

    Seconds become the nearest odd number of frames. Where the frame rate varies, the window
    therefore varies in time and not in the number of predictions it averages.

    Raises:
        UsageError: a window in seconds that is not positive.
    """
    if config.window_s is None:
        return config.window_frames
    if not config.window_s > 0:
        raise UsageError(f"a window must be longer than 0 s, not {config.window_s:g} s")
    interval_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    return 2 * round((config.window_s / interval_s - 1) / 2) + 1 if interval_s > 0 else 1
