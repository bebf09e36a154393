"""Segments: from a prediction table, with one label per frame, to intervals of one label.

A segment is consecutive frames of one label of one video and subject. It lasts from the time of its
first frame to the time of the frame after its last one; the last frame of a video, and the last
one before missing rows, lasts the median interval. Unlabelled frames are gaps between segments.
First, segments of one label are joined over short gaps. Then segments that are too short become
gaps. Then segments of one label are joined over these gaps, too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import Segmentation
from abawcli.errors import InputError, UsageError
from abawcli.labels import CLASSES, IGNORE

NUMBERS = ("start_s", "end_s", "duration_s", "mean_confidence", "share_with_face")
COLUMNS = ["video", "subject", "label", *NUMBERS]
Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Indices = NDArray[np.intp]  # index in a table


@dataclass(frozen=True)
class LabelSegment:
    """A segment of one label: from row `first` to row `last` of its video and subject, from 0.

    Rows between joined segments lie within it and may have another label or none.
    """

    label: int
    first: int
    last: int


def split_people(table: pd.DataFrame) -> Iterator[tuple[tuple[str, str], Indices]]:
    """Yield each video and subject of a table of frames, in the table's order, with its rows.

    The rows are in the order of their frames. Arrays are split much faster than by `groupby`.
    """
    if table.empty:
        return
    (video, videos), (subject, subjects) = (
        pd.factorize(table[name]) for name in ("video", "subject")
    )
    person = pd.factorize(video * len(subjects) + subject)[0]  # (N,)
    ordered = np.lexsort((table["frame"].to_numpy(), person))
    starts = np.flatnonzero(np.diff(person[ordered]))
    for rows in np.split(ordered, starts + 1):
        yield (str(videos[video[rows[0]]]), str(subjects[subject[rows[0]]])), rows


def explain_untimed(frame: Labels, time_s: Floats, video: str, subject: str = "") -> str:
    """Return what is wrong with the times (T,) of frames (T,) if some have none, otherwise ""."""
    empty = np.isnan(time_s)
    if not empty.any():
        return ""
    if empty.all():
        return (
            f"{video}: its frames have no times; predict from the video itself, or from "
            "its crops with --audio-from"
        )
    who = f"{video}, subject {subject}" if subject else video
    count = f" ({empty.sum()} of {len(empty)} are)" if empty.sum() > 1 else ""
    return f"{who}, frame {frame[empty.argmax()]}: its time_s is empty{count}; predict again"


def find_ends(frame: Labels, time_s: Floats) -> Floats:
    """Return the end of each frame in seconds, (T,).

    A frame ends at the time of the next row if that has the next number. Other frames last the
    median interval of consecutive frames, 0 if there are none, but not beyond the next row.

    Args:
        frame: (T,) frame numbers, ascending.
        time_s: (T,) times in seconds.
    """
    if len(time_s) == 0:
        return time_s
    following = np.append(time_s[1:], np.inf)
    consecutive = np.append(np.diff(frame) == 1, False)
    intervals = np.diff(time_s)[consecutive[:-1]]
    nominal = float(np.median(intervals)) if len(intervals) else 0.0
    return np.where(consecutive, following, np.minimum(time_s + nominal, following))


def find_segments(label: Labels, joined: NDArray[np.bool_]) -> list[LabelSegment]:
    """Return the segments of one label in rows `label` (T,), without unlabelled rows.

    `joined` (T,) tells which rows follow the row before without missing frames.
    """
    if len(label) == 0:
        return []
    starts = np.flatnonzero(np.append(True, (np.diff(label) != 0) | ~joined[1:]))
    ends = np.append(starts[1:], len(label)) - 1
    return [
        LabelSegment(int(label[a]), int(a), int(b))
        for a, b in zip(starts, ends, strict=True)
        if label[a] != IGNORE
    ]


def join_segments(
    segments: list[LabelSegment], start_s: Floats, end_s: Floats, max_gap_s: float
) -> list[LabelSegment]:
    """Join neighbouring segments of one label with at most `max_gap_s` between them.

    `start_s` and `end_s` (T,) are the start and end of each row in seconds.
    """
    out: list[LabelSegment] = []
    for segment in segments:
        before = out[-1] if out else None
        if (
            before is not None
            and before.label == segment.label
            and start_s[segment.first] - end_s[before.last] <= max_gap_s
        ):
            out[-1] = LabelSegment(segment.label, before.first, segment.last)
        else:
            out.append(segment)
    return out


def segment_rows(
    label: Labels, frame: Labels, time_s: Floats, config: Segmentation
) -> tuple[list[LabelSegment], Floats]:
    """Return the segments of one video and subject, in order, and each frame's end (T,).

    `label`, `frame` and `time_s` (T,) are the columns of its rows, by frame.
    """
    end_s = find_ends(frame, time_s)
    joined = np.append(True, np.diff(frame) == 1)
    found = join_segments(find_segments(label, joined), time_s, end_s, config.max_gap_s)
    long = [s for s in found if end_s[s.last] - time_s[s.first] >= config.min_duration_s]
    return join_segments(long, time_s, end_s, config.max_gap_s), end_s


def segment_table(table: pd.DataFrame, config: Segmentation | None = None) -> pd.DataFrame:
    """Return the segments of a prediction table, a row each, ordered by video, subject and time.

    Columns: `video, subject, label` (the class's name), `start_s, end_s, duration_s`, and of the
    rows that carry the label `mean_confidence` and `share_with_face`.

    Raises:
        InputError: a row has no time.
        UsageError: a duration is negative or not finite.
    """
    config = config or Segmentation()
    for name, value in (("minimum duration", config.min_duration_s), ("gap", config.max_gap_s)):
        if not 0 <= value < np.inf:
            raise UsageError(f"a {name} of {value} s cannot be; give 0 or more seconds")
    rows: list[dict[str, Any]] = []
    names = ("label", "frame", "time_s", "confidence", "found")
    columns = {name: table[name].to_numpy() for name in names}
    for person, own in split_people(table):
        rows += _segment_group(person, {name: columns[name][own] for name in names}, config)
    # Without segments, pandas would not know that these columns are numbers.
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(NUMBERS, np.float64))


def _segment_group(
    person: tuple[str, str], columns: Mapping[str, NDArray[Any]], config: Segmentation
) -> Iterator[dict[str, Any]]:
    """Yield the segments of a video and subject, given the columns (T,) of their rows by frame."""
    label = columns["label"].astype(np.int64)
    frame = columns["frame"].astype(np.int64)
    time_s = columns["time_s"].astype(np.float64)
    if untimed := explain_untimed(frame, time_s, *person):
        raise InputError(untimed)
    confidence = columns["confidence"].astype(np.float64)
    found = columns["found"].astype(np.bool_)
    segments, end_s = segment_rows(label, frame, time_s, config)
    for segment in segments:
        own = np.arange(segment.first, segment.last + 1)
        own = own[label[own] == segment.label]
        start, end = time_s[segment.first], end_s[segment.last]
        values = (*person, CLASSES[segment.label], start, end, end - start)
        yield dict(zip(COLUMNS, (*values, confidence[own].mean(), found[own].mean()), strict=True))
