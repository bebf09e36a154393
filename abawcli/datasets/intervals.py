"""Annotations of time intervals, and the labels that they give the frames of a video.

They come from tables with the columns onset and offset, and from files of other programs.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.errors import InputError
from abawcli.formats.abaw import Labels
from abawcli.formats.imports import IMPORTERS, choose_tier, read_classes
from abawcli.formats.label_tables import INTERVAL_ROUNDING_S
from abawcli.formats.names import compose_name
from abawcli.labels import CLASSES, IGNORE

Times = NDArray[np.float64]  # (T,) of frames 1 to T in seconds; NaN: unknown


@dataclass(frozen=True)
class Intervals:
    """Labelled intervals of one video, ascending and without overlap."""

    onset: NDArray[np.float64]  # (K,) seconds on the video's clock, or numbers of first frames
    offset: NDArray[np.float64]  # (K,) likewise; of frames, the one after the last
    labels: Labels  # (K,)
    in_frames: bool = False

    def label_frames(self, times_s: Times | None, frames: int, name: str) -> Labels:
        """Return the label of each frame (T,): that of the interval it begins in; -1 outside.

        Args:
            times_s: (T,) times of the frames; None: unknown.
            frames: their number T.
            name: of the annotation, for messages.

        Raises:
            InputError: the intervals are in seconds, and the times are unknown.
        """
        if self.in_frames:
            at = np.arange(1.0, frames + 1)
        elif times_s is None or np.isnan(times_s).all():
            raise InputError(
                f"{name}: it is annotated in seconds, and the times of its frames are unknown; "
                "a prediction table of the video has them"
            )
        else:
            at = np.nan_to_num(times_s, nan=-np.inf) + INTERVAL_ROUNDING_S
        index = np.searchsorted(self.onset, at, "right") - 1  # (T,) -1: before the first
        inside = (index >= 0) & (at < self.offset[index])
        return np.where(inside, self.labels[index], IGNORE)


Annotation = Labels | Intervals


def label_frames(annotation: Annotation, times_s: Times | None, frames: int, name: str) -> Labels:
    """Return the labels of an annotation by frame (T,), also if it has intervals.

    The arguments are those of `Intervals.label_frames`.

    Raises:
        InputError: as `Intervals.label_frames`.
    """
    if isinstance(annotation, Intervals):
        return annotation.label_frames(times_s, frames, name)
    return annotation


def split_intervals(table: pd.DataFrame) -> dict[str, Intervals]:
    """Return the intervals of each video of a table with the columns of `read_labels`."""
    parts: dict[str, Intervals] = {}
    for video, rows in table.sort_values("onset", kind="stable").groupby("video"):
        onset, offset, labels = (rows[name].to_numpy() for name in ("onset", "offset", "label"))
        parts[compose_name(str(video))] = Intervals(onset, offset, labels)
    return parts


def read_program_file(path: str | Path, kind: str) -> Intervals:
    """Read the labels of a file of another program, with one tier or subject.

    `kind` is a name in `formats.imports.IMPORTERS`.

    Raises:
        InputError: the file cannot be read, has several tiers or no label, or its labels are
            unknown, end before they begin, or overlap.
    """
    path = Path(path)
    found = IMPORTERS[kind](path)
    try:
        labelled = read_classes(choose_tier(found, None, path), {}, path)
    except InputError as error:
        raise InputError(f"{error} (options of `abaw import --format {kind}`)") from error
    rows: list[tuple[float, float, int]] = []
    for interval, label in sorted(labelled, key=lambda pair: pair[0].start):
        start, end = interval.start, interval.end
        if not start <= end:
            raise InputError(f"{path}: {interval.name} ends at {end:g}, before it begins")
        if rows and start < rows[-1][1] - INTERVAL_ROUNDING_S:
            first, last, other = rows.pop()
            if other != label:
                raise InputError(
                    f"{path}: {CLASSES[other]} and {CLASSES[label]} overlap at {start:g}; "
                    "labels must not overlap"
                )
            start, end = first, max(last, end)
        rows.append((start, end, label))
    if not rows:
        raise InputError(f"{path} has no label")
    onset, offset, labels = (np.array(column) for column in zip(*rows, strict=True))
    return Intervals(onset, offset, labels, found.in_frames)


def find_times(table: pd.DataFrame) -> dict[str, Times]:
    """Return the times (T,) of the frames of each video of a table: video, frame, time_s."""
    times: dict[str, Times] = {}
    for video, rows in table.groupby("video"):
        frame = rows["frame"].to_numpy(np.int64)
        times_s = np.full(int(frame.max()), np.nan)
        times_s[frame - 1] = rows["time_s"].to_numpy(np.float64)
        times[compose_name(str(video))] = times_s
    return times
