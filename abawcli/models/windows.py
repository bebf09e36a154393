"""Windows of frames, and soft voting, for heads that read several frames at once.

Windows begin every stride; the last one is complete and ends with the video, so it may overlap
more. A video shorter than a window is padded with frames without features. Heads that read single
frames have windows of one.
"""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.errors import UsageError
from abawcli.logits import N_OUTPUTS

FrameArray = NDArray[Any]  # (T, ...) a row a frame
Classify = Callable[[Sequence[NDArray[Any]]], NDArray[np.float32]]


def check_windows(window: int, stride: int) -> None:
    """Check that windows leave no frame out.

    Raises:
        UsageError: they do, or are empty.
    """
    if not 1 <= stride <= window:
        raise UsageError(
            f"windows of {window} frames every {stride} frames leave some out; "
            "choose a stride from 1 to the window"
        )


def place_windows(frames: int, window: int, stride: int) -> NDArray[np.int64]:
    """Return the first frames (W,) of a video's windows, ascending; 0 for a shorter video."""
    last = max(frames - window, 0)
    return np.append(np.arange(0, last, stride), last)


class SoftVoting:
    """Outputs (`logits`) of overlapping windows, averaged per frame, for a stream of frames.

    `classify` takes arrays (W, window, ...) of the pushed frames and returns outputs
    (W, window, M), NaN for frames without a prediction, for which that window does not count. A
    frame's average is returned as soon as no later window can contain it, at most a window's
    length later. Older frames are dropped.
    """

    def __init__(
        self, window: int, stride: int, classify: Classify, outputs: int = N_OUTPUTS
    ) -> None:
        """Begin a stream; `outputs` is the number M of each frame."""
        check_windows(window, stride)
        self.outputs = outputs
        self.window, self.stride, self.classify = window, stride, classify
        self.rows: list[FrameArray] = []  # the last frames, at most a window of them
        self.seen = 0  # frames pushed
        self.last = -1  # where the last window that voted begins
        self.votes = np.zeros((0, outputs + 1))  # sum and number, of frames not yet given out
        self.given = 0  # frames given out

    def fork(self) -> "SoftVoting":
        """Return an independent copy of the stream in its current state."""
        return copy(self)  # every change replaces an array or a list, none is made within one

    def push(self, *rows: FrameArray) -> NDArray[np.float32]:
        """Add frames, (n, ...) of each array; return the outputs of final frames, (m, M)."""
        kept = self.rows or [array[:0] for array in rows]
        self.rows = [np.concatenate(parts) for parts in zip(kept, rows, strict=True)]
        self.seen += len(rows[0])
        first = 0 if self.last < 0 else self.last + self.stride
        self._vote(np.arange(first, self.seen - self.window + 1, self.stride))
        self.rows = [array[-self.window :] for array in self.rows]
        # Windows to come begin after the last one, and end with frames to come or the last frame.
        return self._give(max(self.last + 1, self.seen - self.window))

    def finish(self) -> NDArray[np.float32]:
        """Return the outputs of the remaining frames after the last one, (m, M)."""
        start = max(self.seen - self.window, 0)
        if self.seen and start > self.last:
            self.rows = [_pad(array, self.window) for array in self.rows]
            self._vote(np.array([start]))
        return self._give(self.seen)

    def _vote(self, starts: NDArray[np.int64]) -> None:
        """Add the votes of the windows that begin there."""
        if not len(starts):
            return
        index = starts[:, None] + np.arange(self.window)  # (W, window)
        held = max(len(self.rows[0]), self.seen) - len(self.rows[0])  # first frame in `rows`
        outputs = self.classify([array[index - held] for array in self.rows])  # (W, window, M)
        known = ~np.isnan(outputs[..., :1])  # (W, window, 1)
        new = np.zeros((index[-1, -1] + 1 - self.given - len(self.votes), self.outputs + 1))
        self.votes = np.concatenate([self.votes, new])
        votes = np.concatenate([np.where(known, outputs, 0), known], axis=-1, dtype=np.float64)
        np.add.at(self.votes, index - self.given, votes)
        self.last = int(starts[-1])

    def _give(self, end: int) -> NDArray[np.float32]:
        """Return the averages of all frames before `end` that were not returned yet."""
        count = max(end - self.given, 0)
        final, self.votes = self.votes[:count], self.votes[count:]
        self.given += count
        with np.errstate(invalid="ignore"):  # no votes: 0 / 0 is NaN
            average: NDArray[np.float64] = final[:, :-1] / final[:, -1:]
        return average.astype(np.float32)


def _pad(array: FrameArray, rows: int) -> FrameArray:
    """Return an array, padded with zeros to that many rows."""
    return np.concatenate([array, np.zeros((rows - len(array), *array.shape[1:]), array.dtype)])
