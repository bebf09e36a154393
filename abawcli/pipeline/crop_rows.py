"""Folders of crops as rows of a video: the files of the crops of each frame."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from abawcli.config import FOLLOW_LARGEST, QUALITY
from abawcli.errors import InputError
from abawcli.faces.subjects import NOBODY
from abawcli.faces.track import FrameFaces
from abawcli.formats.abaw import ROW_TOLERANCE
from abawcli.formats.crops import find_scales, list_images, read_subject
from abawcli.formats.faces import BOX, FACES_NAME, read_faces
from abawcli.formats.strategy import SubjectSegment
from abawcli.media.video import read_frames
from abawcli.pipeline.video_columns import FACE, FRAME, Selection, VideoColumns

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class CropRows:
    """One subject in a folder of crops, with one row per frame (T,)."""

    subject: str
    rows: Selection
    files: list[list[Path]]  # of each row, one a scale; [] where there is no face


def choose_scales(folder: str | Path, wanted: Sequence[float]) -> list[float]:
    """Return those scales of a backbone for which there are crops.

    Raises:
        InputError: there are crops, but none of these scales.
    """
    there = find_scales(folder)
    used = [scale for scale in wanted if scale in there]
    if len(used) < len(wanted):
        call = "abaw crop " + " ".join(f"--scale {scale:g}" for scale in wanted)
        have = " and ".join(f"{scale:g}" for scale in there)
        problem = f"{folder} has crops of scale {have}; the backbone needs those of `{call}`"
        if there and not used:
            raise InputError(problem)
        if there:
            LOG.warning("%s", problem)
    return used


def read_own_rows(
    folder: str | Path, subject: str | None, scales: Sequence[float]
) -> list[CropRows]:
    """Return the rows of a folder of `abaw crop` for each requested subject.

    Raises:
        InputError: the crops show another subject, or images are missing.
    """
    folder = Path(folder)
    table, _ = read_faces(folder / FACES_NAME)
    made_for = read_subject(folder)
    if subject not in (None, made_for) and made_for != "all":
        raise InputError(
            f"{folder} has crops of subject {made_for!r}, not {subject!r}; "
            f"crop again with --subject {subject}"
        )
    columns = _load_columns(table)
    if made_for != "all":
        return [_find_files(folder, made_for, _take_all(columns), scales)]
    meant = subject or "all"
    if meant == FOLLOW_LARGEST:
        raise InputError(
            f"{folder} has crops of all subjects and does not record who is followed; "
            f"crop again with --subject {meant}"
        )
    rows = columns.select((SubjectSegment(meant),), folder)
    people = (
        [(str(one), own) for one, own in rows.split_subjects()]
        if meant == "all"
        else [(meant, rows)]
    )
    return [_find_files(folder, name, own, scales, by_subject=True) for name, own in people]


def _load_columns(table: pd.DataFrame) -> VideoColumns[FrameFaces]:
    """Return the table of `faces.parquet` as the columns of a video."""
    found = table[table["found"]]
    faces = np.zeros(len(found), list(FACE))
    for name in ("frame", "subject", "detected", "score"):
        faces[name] = found[name]
    faces["box"], faces["quality"] = found[list(BOX)], found[list(QUALITY)]
    numbers, first = np.unique(table["frame"].to_numpy(), return_index=True)
    frames = np.zeros(len(numbers), list(FRAME))
    frames["frame"], frames["time_s"] = numbers, table["time_s"].to_numpy()[first]
    return VideoColumns.of(frames, faces)


def _take_all(columns: VideoColumns[FrameFaces]) -> Selection:
    """Return one row per frame with its face, of any subject: crops show one face per frame."""
    frames, faces = columns.frames, columns.faces
    index = np.full(len(frames), -1)
    index[np.searchsorted(frames["frame"], faces["frame"])] = np.arange(len(faces))
    subject = np.where(index >= 0, np.append(faces["subject"], NOBODY)[index], NOBODY)
    return Selection(
        frames=frames, faces=faces, frame=frames["frame"], subject=subject, index=index
    )


def _find_files(
    folder: Path,
    subject: str,
    rows: Selection,
    scales: Sequence[float],
    *,
    by_subject: bool = False,
) -> CropRows:
    files: list[list[Path]] = []
    for frame, who, found in zip(rows.frame, rows.subject, rows.found, strict=True):
        where = folder / f"subject{who}" if by_subject else folder
        files.append([where / str(scale) / f"{frame:05d}.jpg" for scale in scales if found])
    _check_complete(folder, files)
    return CropRows(subject, rows, files)


def _check_complete(folder: Path, files: Sequence[Sequence[Path]]) -> None:
    """Refuse incomplete crops: a missing file would count as a frame without a face."""
    wanted = [file for row in files for file in row]
    missing = [file for file in wanted if not file.is_file()]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {len(wanted)} pictures of faces in its {FACES_NAME} are "
            f"missing, the first is {missing[0].relative_to(folder)}; crop the video again"
        )


def read_official_rows(folder: str | Path, video: str | Path | None) -> CropRows:
    """Return the rows of a folder of official crops: row k is frame k.

    With the video, there is a row for each of its frames, with its time; up to two crops after the
    last frame get the last time, as annotations do. Without it, the rows end with the last crop.

    Raises:
        InputError: there is no crop, or more than two crops after the last frame.
    """
    folder = Path(folder)
    images = list_images(folder)
    last = max(images)
    times_s = [frame.time_s for frame in read_frames(video)] if video else []
    if video and last > len(times_s) + ROW_TOLERANCE:
        raise InputError(f"{folder} goes to frame {last}, {video} has only {len(times_s)}")
    if video is None:
        LOG.warning("%s: without its video the times of its frames are unknown", folder)
    frames = np.zeros(max(last, len(times_s)), list(FRAME))
    frames["frame"] = np.arange(1, len(frames) + 1)
    frames["time_s"] = times_s[-1] if times_s else np.nan
    frames["time_s"][: len(times_s)] = times_s
    files = [[images[k]] if k in images else [] for k in frames["frame"].tolist()]
    rows = _take_all(VideoColumns.of(frames, np.zeros(0, list(FACE))))
    return CropRows(read_subject(folder), rows, files)
