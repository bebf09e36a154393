"""Bootstrap intervals and shifts of scores, by source video.

Functions take statistics of videos that add up, (V, ...), and `measure`, which maps statistics
(..., *) to scores (...). Subjects of one video (`x`, `x_left`, `x_right`) are resampled together,
because they share light and audio.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.config import Scores
from abawcli.formats.abaw import split_side
from abawcli.metrics import resample_videos

LOG = logging.getLogger(__name__)
Statistics = NDArray[np.number[Any]]
Measure = Callable[[Any], NDArray[np.float64]]


def sum_sources(names: Sequence[str], statistics: Statistics) -> Statistics:
    """Return the summed statistics (S, ...) of each source video that has any, ordered by name.

    Args:
        names: V names of videos, such as `x_left`.
        statistics: (V, ...) of each.
    """
    sources, index = np.unique([split_side(name)[0] for name in names], return_inverse=True)
    joined = np.zeros((len(sources), *statistics.shape[1:]), statistics.dtype)
    np.add.at(joined, index, statistics)
    return joined[joined.reshape(len(joined), -1).any(axis=1)]


def find_interval(
    statistics: Statistics, measure: Measure, config: Scores
) -> tuple[float, float] | None:
    """Return the 95 % bootstrap interval of a score, given statistics of source videos (V, ...).

    None: there is a single source video.
    """
    if len(statistics) < 2:
        return None
    resampled = resample_videos(statistics, config.bootstrap_samples, config.seed)
    low, high = np.percentile(measure(resampled), (2.5, 97.5))
    return float(low), float(high)


def find_better_shift(
    statistics: Mapping[int, Statistics], measure: Measure, config: Scores
) -> int | None:
    """Return the shift with the highest score, with a warning, if it is clearly better than none.

    `statistics` are those of source videos (V, ...) by shift.
    Clearly better: by `clear_gain` or more, and above 0 in 97.5 % of the bootstrap samples.
    """
    scores = {shift: float(measure(s.sum(axis=0))) for shift, s in statistics.items()}
    best = max(scores, key=lambda shift: scores[shift])
    gain = scores[best] - scores[0]
    if gain < config.clear_gain or len(statistics[0]) < 2:
        return None
    moved, still = (
        measure(resample_videos(statistics[s], config.bootstrap_samples, config.seed))
        for s in (best, 0)
    )
    if np.percentile(moved - still, 2.5) <= 0:
        return None
    LOG.warning(
        "predictions that are %d frame%s %s score %.4f better (%.4f, not %.4f); check that both "
        "sides count frames from 1, and that the video was decoded without losing the first ones",
        abs(best), "s" if abs(best) > 1 else "", "later" if best > 0 else "earlier", gain,
        scores[best], scores[0],
    )  # fmt: skip
    return best
