"""Smoothing over time: the probabilities of each row become a statistic of a window around it.

All functions take arrays of one subject of one video. Rows have positions, in seconds or in frame
numbers. Evidence is the rows whose probabilities are used; every row gets a result.

The window of a row of evidence is symmetric: it holds as many rows of evidence before it as after
it, at most half a window away. Where evidence begins or ends, it shrinks to the row itself: a
window that is cut on one side would replace a short expression there by the longer one beside it.
The window of any other row holds all evidence within half a window.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from abawcli.balance import apply_bias
from abawcli.config import SMOOTHING_SPACES, Media, Smoothing
from abawcli.errors import UsageError
from abawcli.labels import IGNORE, N_CLASSES
from abawcli.logits import softmax
from abawcli.sources import FACELESS_SOURCES, NONE, Names, has_face, name_smoothed

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]
Smooth = Callable[..., Array]  # `smooth_probabilities` or `smooth_values`
LEAST = 1e-7  # lower limit of a probability before its logarithm; csv tables have six digits
# Values copied at once for windows of unusual size: 512 kB fit into caches, and are twice as fast
# as 32 MB.
GATHERED = 1 << 16
# Tolerance at the edge of a window: many containers round both times to milliseconds, and no two
# frames are that close to each other.
ROUNDING_S = 1.5e-3


@dataclass(frozen=True)
class Windows:
    """The window of each row (T,): the rows k of evidence (E,) with first <= k < end."""

    first: Index  # (T,)
    end: Index  # (T,)
    at: Array  # (T,) positions of the rows
    evidence_at: Array  # (E,) positions of the evidence
    width: float  # of a whole window, in the unit of the positions

    @property
    def size(self) -> Index:
        """Return the number of rows of evidence in each window, (T,)."""
        return self.end - self.first

    def select(self, rows: Mask) -> "Windows":
        """Return the windows of the rows that the mask `rows` (T,) selects."""
        return Windows(
            first=self.first[rows],
            end=self.end[rows],
            at=self.at[rows],
            evidence_at=self.evidence_at,
            width=self.width,
        )

    def gather(self, rows: Index) -> Iterator[tuple[Index, Index, Mask]]:
        """Yield rows (n,), indices of evidence (n, W), and which of it is in their window (n, W).

        `rows` are row indices. Windows differ in size; W is the widest of each batch.
        """
        rows = rows[np.argsort(-self.size[rows], kind="stable")]  # widest first
        while len(rows):
            width = int(self.size[rows[0]])
            some, rows = np.split(rows, [max(1, GATHERED // (width * N_CLASSES))])
            index = self.first[some, None] + np.arange(width)
            inside = index < self.end[some, None]
            yield some, index.clip(max=len(self.evidence_at) - 1), inside


def find_windows(at: Array, valid: Mask, reach: float, width: float) -> Windows:
    """Return the windows of rows at ascending positions `at` (T,); `valid` (T,) is the evidence.

    `reach` is half a window, with its tolerance, and `width` a whole one, in the positions' unit.
    """
    there = at[valid]
    first = np.searchsorted(there, at - reach, "left")
    end = np.searchsorted(there, at + reach, "right")
    own = np.arange(len(there))  # (E,) index of each row of evidence
    either = np.minimum(own - first[valid], end[valid] - 1 - own)
    first[valid], end[valid] = own - either, own + either + 1
    return Windows(first=first, end=end, at=at, evidence_at=there, width=width)


def smooth_mean(p: Array, windows: Windows) -> Array:
    """Return the mean of the evidence (E, 8) of each window, (T, 8)."""
    total = np.concatenate([np.zeros((1, p.shape[1])), p.cumsum(axis=0)])
    mean: Array = (total[windows.end] - total[windows.first]) / windows.size[:, None]
    return mean


def smooth_gaussian(p: Array, windows: Windows) -> Array:
    """Return the Gaussian-weighted mean (T, 8) of the evidence (E, 8); sigma: 1/4 of the window."""
    out = np.empty((len(windows.at), p.shape[1]))
    for rows, index, inside in windows.gather(np.arange(len(windows.at))):
        distance = windows.evidence_at[index] - windows.at[rows, None]  # (n, W)
        weight = np.where(inside, np.exp(-0.5 * (distance / (windows.width / 4)) ** 2), 0.0)
        weight /= weight.sum(axis=1, keepdims=True)
        out[rows] = (weight[:, None] @ p[index])[:, 0]
    return out


def smooth_vote(p: Array, windows: Windows) -> Array:
    """Return the share of rows (E, 8) of each window in which a class is the likeliest, (T, 8)."""
    votes = np.eye(N_CLASSES)[p.argmax(axis=1)]
    # A millionth of the mean probabilities breaks ties and changes nothing else.
    return smooth_mean(votes, windows) + 1e-6 * smooth_mean(p, windows)


def smooth_median(p: Array, windows: Windows) -> Array:
    """Return each class's median of the evidence (E, 8) of each window, (T, 8).

    Most windows hold the same odd number of rows; for those a median filter is ten times as fast.
    """
    out = np.empty((len(windows.at), p.shape[1]))
    counts = np.bincount(windows.size)
    counts[::2] = 0
    usual = int(counts.argmax())
    alike = (windows.size == usual) & (counts[usual] > 0)
    middle = windows.first[alike] + usual // 2
    if alike.any():
        from scipy import ndimage  # slow to import; no other method needs it

        for c in range(p.shape[1]):
            out[alike, c] = ndimage.median_filter(p[:, c], usual)[middle]
    by_class = np.ascontiguousarray(p.T)  # (8, E)
    for rows, index, inside in windows.gather(np.flatnonzero(~alike)):
        ordered = by_class.take(index, axis=1)  # (8, n, W)
        if not inside.all():
            ordered[:, ~inside] = np.inf
        ordered.sort(axis=2)
        count, own = inside.sum(axis=1), np.arange(len(rows))
        lower, upper = (ordered[:, own, k] for k in ((count - 1) // 2, count // 2))
        out[rows] = (lower + upper).T / 2
    return out


SMOOTHERS: dict[str, Callable[[Array, Windows], Array]] = {
    "median": smooth_median,
    "mean": smooth_mean,
    "gaussian": smooth_gaussian,
    "vote": smooth_vote,
}


def to_logits(p: Array) -> Array:
    """Return the logarithms of probabilities (T, 8), less the mean of each row, (T, 8).

    They are the logits, up to a constant per row.
    """
    logs = np.log(np.maximum(p, LEAST))
    centred: Array = logs - logs.mean(axis=1, keepdims=True)
    return centred


def check_smoothing(config: Smoothing) -> None:
    """Check the settings of a smoothing.

    Raises:
        UsageError: an unknown method or space, or a window that is neither longer than 0 s nor an
            odd number of frames.
    """
    if config.method not in SMOOTHERS:
        raise UsageError(f"unknown smoothing {config.method!r}; known are {', '.join(SMOOTHERS)}")
    if config.space not in SMOOTHING_SPACES:
        raise UsageError(f"cannot smooth {config.space!r}; choose {' or '.join(SMOOTHING_SPACES)}")
    bias = config.bias
    if bias is not None and (len(bias) != N_CLASSES or not np.isfinite(bias).all()):
        given = ",".join(f"{value:g}" for value in bias)
        raise UsageError(f"a bias must be {N_CLASSES} numbers, one per class, not {given}")
    frames, window_s = config.window_frames, config.window_s
    if frames is not None and (frames < 1 or frames % 2 == 0):
        raise UsageError(f"a window must be an odd number of frames, not {frames}")
    if frames is None and not (window_s is not None and window_s > 0):
        raise UsageError(f"a window must be longer than 0 s, not {window_s} s")


def find_positions(
    frame: NDArray[np.int64], time_s: Array, config: Smoothing
) -> tuple[Array, float, float]:
    """Return the positions (T,) of rows, half a window with its tolerance, and a whole window.

    Args:
        frame: (T,) frame numbers, the positions for a window in frames.
        time_s: (T,) times, the positions for a window in seconds. If one of them is NaN, a rate of
            25 frames a second is assumed.
        config: the smoothing.
    """
    if config.window_frames is not None:
        return frame.astype(np.float64), config.window_frames // 2, config.window_frames
    assert config.window_s is not None
    if np.isnan(time_s).any():
        time_s = frame / Media.fallback_fps
    return time_s, config.window_s / 2 + ROUNDING_S, config.window_s


def smooth_probabilities(
    p: Array,
    valid: Mask,
    frame: NDArray[np.int64],
    time_s: Array,
    *,
    config: Smoothing,
    logits: Array | None = None,
) -> Array:
    """Smooth the probabilities (T, 8) of one subject's rows, which may be in any order.

    Args:
        p: (T, 8) probabilities.
        valid: (T,) the rows that are evidence. The others are ignored.
        frame: (T,) frame numbers.
        time_s: (T,) times in seconds.
        config: the smoothing.
        logits: (T, 8), which are smoothed in the space `logits`; None: the centred logarithms of
            `p`, which lack the scale of each row.

    Returns:
        (T, 8), rows with the sum 1; NaN where no valid row is within half a window. A median that
        is 0 for all classes is replaced by the mean.

    Raises:
        UsageError: as `check_smoothing`.
    """
    check_smoothing(config)

    def smooth(known: Index, windows: Windows) -> Array:
        if config.space == "logits" and config.method != "vote":
            z = to_logits(p[known]) if logits is None else logits[known]  # (E, 8)
            shares: Array = softmax(SMOOTHERS[config.method](z, windows))
            return shares
        return _smooth_shares(p[known], windows, config)

    out = _smooth_evidence(p, valid, frame, time_s, config=config, smooth=smooth)
    return out if config.bias is None else apply_bias(out, np.array(config.bias))


def check_value_smoothing(config: Smoothing) -> None:
    """Check the settings of a smoothing of values, as of valence and arousal or action units.

    Raises:
        UsageError: as `check_smoothing`, or settings that only expressions have.
    """
    check_smoothing(config)
    if config.method == "vote":
        raise UsageError("--smoothing vote is for classes; values have median, mean and gaussian")
    if config.space != Smoothing.space or config.bias is not None:
        raise UsageError("--space logits and --bias are for expressions; values have neither")


def smooth_values(
    values: Array,
    valid: Mask,
    frame: NDArray[np.int64],
    time_s: Array,
    *,
    config: Smoothing,
    logits: None = None,
) -> Array:
    """Smooth the values (T, K) of one subject's rows; arguments are as `smooth_probabilities`.

    Each column is smoothed for itself.

    Raises:
        UsageError: as `check_value_smoothing`.
    """
    check_value_smoothing(config)

    def smooth(known: Index, windows: Windows) -> Array:
        low, high = values[known].min(axis=0), values[known].max(axis=0)
        # Differences of sums may be beyond by 1e-17.
        return SMOOTHERS[config.method](values[known], windows).clip(low, high)

    return _smooth_evidence(values, valid, frame, time_s, config=config, smooth=smooth)


def _smooth_evidence(
    values: Array,
    valid: Mask,
    frame: NDArray[np.int64],
    time_s: Array,
    *,
    config: Smoothing,
    smooth: Callable[[Index, Windows], Array],
) -> Array:
    """Return what `smooth` makes of rows of evidence (E,) and windows; NaN in empty windows."""
    at, reach, width = find_positions(frame, time_s, config)
    order = np.lexsort((frame, at))
    windows = find_windows(at[order], valid[order], reach, width)
    reached = windows.size > 0
    out = np.full(values.shape, np.nan)
    if reached.any():
        known = order[valid[order]]  # (E,)
        out[order[reached]] = smooth(known, windows.select(reached))
    return out


def _smooth_shares(p: Array, windows: Windows, config: Smoothing) -> Array:
    smooth = SMOOTHERS[config.method]
    found = np.maximum(smooth(p, windows), 0)  # differences of sums may be -1e-17
    empty = found.sum(axis=1) < 1e-9
    if empty.any():
        found[empty] = np.maximum(smooth_mean(p, windows.select(empty)), 0)
    share: Array = found / found.sum(axis=1, keepdims=True)
    return share


def smooth_rows(
    p: Array,
    source: Names,
    frame: NDArray[np.int64],
    time_s: Array,
    *,
    config: Smoothing,
    logits: Array | None = None,
    smooth: Smooth = smooth_probabilities,
) -> tuple[Array, Names]:
    """Smooth one subject's probabilities by their sources; return both, smoothed.

    A window with faces uses faces only: a row without a face is `filled` there, even if it has
    speech. In other windows, rows with speech are smoothed among themselves and keep their source;
    so are rows that were `filled` before. Neither of these fills other rows, so that repeated
    smoothing does not extend predictions. All other rows become `none`, with NaN.

    Args:
        p: (T, 8) probabilities.
        source: (T,) names of `sources`.
        frame: (T,) frame numbers.
        time_s: (T,) times in seconds.
        config: the smoothing.
        logits: (T, 8), as in `smooth_probabilities`.
        smooth: `smooth_values` for values (T, K) in place of probabilities.

    Returns:
        probabilities (T, 8) and sources (T,).

    Raises:
        UsageError: as `smooth`.
    """
    face = has_face(source)
    out = smooth(p, face, frame, time_s, config=config, logits=logits)
    named = name_smoothed(source, ~np.isnan(out[:, 0]))
    for kind in FACELESS_SOURCES:
        own = source == kind
        alone = own & (named == NONE)
        if alone.any():
            out[alone] = smooth(p, own, frame, time_s, config=config, logits=logits)[alone]
            named[alone] = kind
    return out, named


def count_removed_segments(
    raw: NDArray[np.int64], smooth: NDArray[np.int64], known: Mask
) -> tuple[int, int]:
    """Return how many segments of one label smoothing removed, and how many there were.

    A segment is removed if none of its rows keeps its label.

    Args:
        raw: (T,) labels of one subject's rows before smoothing, in order.
        smooth: (T,) labels after smoothing.
        known: (T,) the rows that count; segments are consecutive among them.
    """
    raw, smooth = raw[known], smooth[known]
    if not len(raw):
        return 0, 0
    starts = np.flatnonzero(np.append(True, raw[1:] != raw[:-1]))
    remains = np.add.reduceat((raw == smooth) & (raw != IGNORE), starts) > 0
    return int((~remains).sum()), len(starts)
