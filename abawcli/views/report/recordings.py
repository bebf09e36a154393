"""The video of each table: its path, the check that it is the right one, and pictures from it."""

import base64
import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from abawcli.config import Report
from abawcli.errors import InputError
from abawcli.faces.crop import crop_frame, resize_square
from abawcli.formats.abaw import split_side
from abawcli.formats.hashing import hash_ends
from abawcli.formats.inputs import NAMED, VIDEO_SUFFIXES, expand_inputs
from abawcli.formats.names import find_names
from abawcli.formats.provenance import Provenance, find_input
from abawcli.labels import CLASSES
from abawcli.media.frame import Frame
from abawcli.media.video import read_frames
from abawcli.views.report.study import Subject, Video

LOG = logging.getLogger(__name__)
SEGMENT, ERROR = "segment", "error"  # kinds of pictures
PictureKey = tuple[str, str, int]  # kind, subject, and row of a segment or rank of an error
Pictures = dict[PictureKey, str]  # data URIs


@dataclass(frozen=True)
class SourceVideo:
    """The file that a video's table was made from."""

    path: Path
    sha256: str  # of its ends, as in provenance
    known: bool  # it is the very file that the table was made from
    rotate: int = 0  # degrees clockwise, beyond what the file says


@dataclass(frozen=True)
class Cut:
    """The pictures and values taken from a recording."""

    size: tuple[int, int]  # width and height in pixels, as displayed
    pictures: Pictures = field(default_factory=dict)


def walk_origins(made_by: Sequence[Provenance]) -> Iterator[Provenance]:
    """Yield a provenance and those of its inputs, the latest first."""
    for made in made_by:
        yield made
        yield from walk_origins([each for each in made.get("made_from", []) if each])


def find_recordings(videos: Sequence[Video], folder: str | Path | None) -> dict[str, SourceVideo]:
    """Return the recordings of videos by name; warn of missing ones.

    In `folder`, a recording has the name of its video, with or without `_left` or `_right`. Without
    `folder`, it is at the path in the table's provenance.

    Raises:
        InputError: the folder does not exist, or has no video.
    """
    if folder and not Path(folder).exists():
        raise InputError(f"no such folder: {folder}")
    by_path = expand_inputs([str(folder)], VIDEO_SUFFIXES) if folder else {}
    named = {relative.as_posix(): path for path, relative in by_path.items()}
    found, missing = {}, list[str]()
    for video in videos:
        recording = _find_recording(video, named if folder else None)
        if recording:
            found[video.name] = recording
        else:
            missing.append(video.name)
    if missing:
        names = ", ".join(missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
        LOG.warning("no player for %s: not found; --videos says where videos are", names)
    return found


def _find_recording(video: Video, named: Mapping[str, Path] | None) -> SourceVideo | None:
    inputs, rotate = [], 0
    for made in walk_origins(video.made_by):
        files = [*made.get("inputs", []), *made.get("companions", [])]  # crops have a companion
        inputs += [each for each in files if _is_video(each)]
        rotate = rotate or made.get("settings", {}).get("rotate", 0)
    if named is None:
        paths = [path for each in inputs if (path := find_input(each, video.tables[0]))]
    else:
        names = find_names(video.name, named) or find_names(split_side(video.name)[0], named)
        paths = [named[name] for name in names]
    recorded = {each.get("sha256") for each in inputs}
    digests = {path: hash_ends(path) for path in paths}
    known = [path for path in paths if digests[path] in recorded]
    chosen = known or paths
    if not chosen or (len(chosen) > 1 and not known):  # none, or nothing tells which
        return None
    return SourceVideo(chosen[0], digests[chosen[0]], bool(known), rotate)


def _is_video(described: Provenance) -> bool:
    return Path(str(described.get("name"))).suffix.lower() in VIDEO_SUFFIXES


def cut_pictures(video: Video, recording: SourceVideo, config: Report) -> Cut:
    """Return a picture of each subject's longest segments and worst errors.

    Raises:
        InputError: the recording cannot be read, or has another number of frames than the table.
    """
    wanted = _choose_frames(video.subjects, config)
    last = max(int(subject.rows["frame"].iloc[-1]) for subject in video.subjects)
    pictures: Pictures = {}
    number, size = 0, (0, 0)
    for frame in read_frames(recording.path, recording.rotate):
        number, size = frame.frame, frame.size
        for key, box in wanted.pop(number, []):
            pictures[key] = encode_picture(_cut(frame, box, config), config.quality)
        if recording.known and not wanted:
            return Cut(size, pictures)
    if number != last and not recording.known:
        raise InputError(
            f"{video.name}: its table has {last} frames and {recording.path} has {number}, which "
            "is another video; the page is made without it"
        )
    return Cut(size, pictures)


def _choose_frames(
    subjects: Sequence[Subject], config: Report
) -> dict[int, list[tuple[PictureKey, Any]]]:
    """Return by frame number the pictures to cut, with their boxes; NaN is the whole frame."""
    wanted: dict[int, list[tuple[PictureKey, Any]]] = {}
    for subject in subjects:
        longest = subject.segments.nlargest(config.pictures, "duration_s")
        for k, segment in longest.iterrows():
            row = _find_most_confident(subject.rows, segment)
            key = SEGMENT, subject.name, int(str(k))
            wanted.setdefault(int(row["frame"]), []).append((key, _read_box(row)))
        by_frame = subject.rows.set_index("frame")
        for rank, error in enumerate(subject.errors[: config.errors]):
            key = ERROR, subject.name, rank
            wanted.setdefault(error.shown, []).append((key, _read_box(by_frame.loc[error.shown])))
    return wanted


def _read_box(row: Any) -> Any:
    """Return the box (4,) of a row, NaN where there is none."""
    return row[["x", "y", "w", "h"]].to_numpy(np.float64)


def _find_most_confident(rows: pd.DataFrame, segment: Any) -> Any:
    """Return the row of a segment with the highest confidence, with a face if there is one."""
    time_s = rows["time_s"]
    inside = (time_s >= segment["start_s"]) & (time_s < segment["end_s"])
    inside |= time_s == segment["start_s"]  # a lone frame may last no time
    own = rows[inside & (rows["label"] == CLASSES.index(segment["label"]))]
    faces = own[own["found"]]
    own = faces if len(faces) else own
    return own.iloc[int(own["confidence"].fillna(0).to_numpy().argmax())]


def _cut(frame: Frame, box: Any, config: Report) -> Any:
    if all(map(math.isfinite, box)) and min(box[2:]) > 0:
        return crop_frame(frame, box, [config.scale], config.side)[0]
    whole = frame.rgb(4 * config.side)
    height, width = whole.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return resize_square(whole[top : top + short, left : left + short], config.side)


def encode_picture(pixels: Any, quality: int) -> str:
    """Return a picture (H, W, 3) as a data URI of JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
