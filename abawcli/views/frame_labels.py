"""The rows of one video in a prediction table, by frame."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import Media, Rendering
from abawcli.errors import InputError
from abawcli.formats.faces import BOX
from abawcli.formats.names import find_names
from abawcli.labels import IGNORE, PROBABILITY_COLUMNS
from abawcli.media.frame import Frame
from abawcli.views.overlay import Person
from abawcli.views.timeline import Timeline, split_timelines

_LOOSE_S = 0.01  # by which times may differ at least


@dataclass(frozen=True)
class FrameLabels:
    """The rows of one video in a prediction table, by frame, then subject."""

    table: pd.DataFrame
    timelines: list[Timeline]

    @classmethod
    def of(cls, table: pd.DataFrame, video: str | Path, path: str | Path) -> "FrameLabels":
        """Select the rows of a video from a table, which was read from `path`.

        Raises:
            InputError: it has several other videos, no times, or neither faces nor labels.
        """
        names = table["video"].unique().tolist()
        own = names if len(names) == 1 else find_names(os.path.abspath(video), names)
        if len(own) != 1:
            shown = ", ".join(map(str, own or names))
            raise InputError(f"{path} has rows of {shown}, none of which is clearly {video}")
        rows = table[table["video"] == own[0]]
        if not rows["found"].any() and (rows["label"] == IGNORE).all():
            who = ", ".join(rows["subject"].unique().tolist())
            raise InputError(f"{path} has neither a face nor a label of {who}: nothing to draw")
        rows = rows.sort_values(["frame", "subject"], kind="stable", ignore_index=True)
        return cls(rows, split_timelines(rows))

    @cached_property
    def frames(self) -> NDArray[np.int64]:
        """Return the numbers (F,) of the frames that have rows."""
        return np.unique(self.table["frame"].to_numpy(np.int64))

    @cached_property
    def time_s(self) -> NDArray[np.float64]:
        """Return the times (F,) of these frames."""
        return self.table.groupby("frame")["time_s"].first().to_numpy(np.float64)

    @cached_property
    def end_s(self) -> float:
        """Return when the last frame ends."""
        return max(float(timeline.end_s[-1]) for timeline in self.timelines)

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        return np.searchsorted(self.table["frame"].to_numpy(), np.append(self.frames, np.inf))

    def list_people(self, number: int) -> list[Person]:
        """Return the subjects in a frame; an empty list if it has no rows."""
        k = int(np.searchsorted(self.frames, number))
        if k == len(self.frames) or self.frames[k] != number:
            return []
        return [self._people[row] for row in range(self._starts[k], self._starts[k + 1])]

    @cached_property
    def _people(self) -> "_Rows":
        return _Rows(self.table, several=len(self.timelines) > 1)

    def choose_rate(self) -> float:
        """Return the frame rate, with two decimals, of a video that shows the frames.

        It is the rate of the frames if that is constant, or else one that drops only frames in
        bursts.
        """
        intervals = np.diff(self.time_s)
        if len(intervals) == 0:
            return float(Media.fallback_fps)
        mean = float(intervals.mean())
        if np.abs(intervals - mean).max() > Media.constant_rate_s:
            mean = float(np.quantile(intervals, Rendering.short_intervals))
        return round(min(max(1 / max(mean, 1e-3), 1.0), Rendering.max_fps), 2)

    def check(self, frames: Iterable[Frame], names: tuple[str, str]) -> Iterator[Frame]:
        """Yield frames, and check that they are those of the table.

        `names` are those of the video and of the table.

        Raises:
            InputError: there are more or fewer frames, or one has another time.
        """
        intervals = np.diff(self.time_s)
        loose_s = max(_LOOSE_S, float(np.median(intervals)) if len(intervals) else 0.0)
        last, number, wrong = int(self.frames[-1]), 0, ""
        for frame in frames:
            number = frame.frame
            k = int(np.searchsorted(self.frames, number))
            known = k < len(self.frames) and self.frames[k] == number
            if not wrong and known and abs(self.time_s[k] - frame.time_s) > loose_s:
                wrong = f"frame {number} is at {frame.time_s:.3f} s, not at {self.time_s[k]:.3f} s"
            if not wrong and number <= last:
                yield frame
        if wrong or number != last:
            video, table = names
            reason = f"{video} has {number} frames, and {table} is of a video with {last}"
            raise InputError(f"{reason}{wrong and '; ' + wrong}; give the table of this video")


class _Rows:
    """Rows of a table as people."""

    def __init__(self, table: pd.DataFrame, several: bool) -> None:
        self.name = table["subject"].to_numpy(np.str_)
        self.several = several
        self.box = table[list(BOX)].to_numpy(np.float64)
        self.found = table["found"].to_numpy(np.bool_) & np.isfinite(self.box).all(axis=1)
        self.label = table["label"].to_numpy(np.int64)
        self.confidence = table["confidence"].to_numpy(np.float64)
        self.source = table["source"].to_numpy(np.str_)
        self.probabilities = table[list(PROBABILITY_COLUMNS)].to_numpy(np.float64)

    def __getitem__(self, row: int) -> Person:
        x, y, w, h = self.box[row].tolist()
        return Person(
            name=str(self.name[row]) if self.several else "",
            box=(x, y, w, h) if self.found[row] else None,
            label=int(self.label[row]),
            confidence=float(self.confidence[row]),
            source=str(self.source[row]),
            probabilities=self.probabilities[row],
        )
