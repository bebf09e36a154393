"""Labels over time, of whatever file they are in: tables, ABAW text, submissions.

A track is one person in one video. Tables name both, submissions the video; an ABAW text file is
about the video whose name it has.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.errors import InputError
from abawcli.formats.abaw import Labels, read_annotation
from abawcli.formats.files import VIDEO_SUFFIXES
from abawcli.formats.submission import is_submission, read_submission
from abawcli.formats.tables import TABLE_SUFFIXES, read_labels, read_table
from abawcli.labels import IGNORE

LABEL_SUFFIXES = TABLE_SUFFIXES | {".txt"}
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Track:
    """The labels of one person in one video, one a frame, (T,)."""

    labels: Labels
    found: NDArray[np.bool_] | None  # (T,) was a face seen; None: the file does not say


Tracks = dict[tuple[str, str], Track]  # video, subject ("" in text files)


def _video_name(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name


def _by_frame(rows: pd.DataFrame, column: str, missing: int) -> NDArray[Any]:
    """Return a column's values by frame number, (last frame,)."""
    frame = rows["frame"].to_numpy()
    values = np.full(int(frame.max()), missing, rows[column].to_numpy().dtype)
    values[frame - 1] = rows[column]
    return values


def _read_text(path: Path) -> dict[str, Labels]:
    """Read a submission, or an annotation: labels by video."""
    if not is_submission(path):
        return {path.stem: read_annotation(path)}
    groups = read_submission(path).groupby("video", sort=False)
    return {str(video): _by_frame(rows, "label", IGNORE) for video, rows in groups}


def read_tracks(path: Path) -> Tracks:
    """Read predictions: a prediction table, a submission, or one video's ABAW text.

    Raises:
        InputError: the file cannot be read; see its reader.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES:
        return {(video, ""): Track(labels, None) for video, labels in _read_text(path).items()}
    groups = read_table(path).groupby(["video", "subject"], sort=False)
    return {
        (_video_name(str(video)), str(subject)): Track(
            _by_frame(rows, "label", IGNORE), _by_frame(rows, "found", False)
        )
        for (video, subject), rows in groups
    }


def read_truth(path: Path) -> dict[str, Labels]:
    """Read annotations by name: ABAW text, or any table with video, frame and label.

    Raises:
        InputError: the file cannot be read; see its reader.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES:
        return _read_text(path)
    groups = read_labels(path).groupby("video", sort=False)
    return {_video_name(str(v)): _by_frame(rows, "label", IGNORE) for v, rows in groups}


def gather(
    files: Iterable[Path], read: Callable[[Path], dict[Key, Value]], failed: dict[str, str]
) -> dict[Key, Value]:
    """Read all files into one dict; note in `failed` those that cannot be read or come twice."""
    gathered: dict[Key, Value] = {}
    for path in files:
        try:
            items = read(path)
        except InputError as error:
            failed[str(path)] = str(error)
            continue
        if twice := [key for key in items if key in gathered]:
            video = twice[0][0] if isinstance(twice[0], tuple) else twice[0]
            failed[str(path)] = f"{path}: labels of {video} are in another file too, left out here"
        gathered |= {key: value for key, value in items.items() if key not in twice}
    return gathered


def summarise_failures(failed: dict[str, str]) -> str:
    """Return the first reason why something failed, and how many more there are."""
    first, *others = failed.values()
    return first + (f" (and {len(others)} other failures)" if others else "")
