"""Stage crop: square face crops of a video as files, and the table of all its faces.

The subject who is on screen longest is known only at the end of the video. So the crops of all
faces are written to a temporary folder in one pass, and those that are asked for are moved to their
folders. The crops themselves are cut by `faces.crop`.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import QUALITY, Cropping, Prediction, Tracking
from abawcli.faces.crop import Image, crop_frame
from abawcli.faces.detect import Detector, load_detector
from abawcli.faces.follow import follow_largest
from abawcli.faces.identity import Identity, load_identity
from abawcli.faces.pose import count_quarters
from abawcli.faces.quality import rate_faces
from abawcli.faces.track import FrameFaces, track_faces
from abawcli.formats.faces import (
    BOX,
    FACES_NAME,
    LANDMARKS,
    TRACKS_NAME,
    read_faces,
    write_faces,
)
from abawcli.formats.folders import find_finished_folder, replace_folder
from abawcli.formats.json_values import JsonObject
from abawcli.formats.provenance import Plan, Provenance, describe_work, plan_output
from abawcli.formats.strategy import SubjectSegment, SubjectSegments, describe_choice, find_starts
from abawcli.formats.summary import (
    Result,
    VideoSummary,
    keep_warnings,
    note_summary,
    read_summary,
)
from abawcli.media.frame import Frame
from abawcli.media.limits import limit_frames
from abawcli.media.video import check_rotation, read_frames
from abawcli.pipeline.batching import run_ahead
from abawcli.pipeline.video_columns import Selection, VideoColumns
from abawcli.progress import Progress, ignore_progress
from abawcli.stages.settings import CropSettings

_NOTED = 12  # tracks in a note, which is a line of text
CropTask = Mapping[str, tuple[Path, SubjectSegments]]  # of each name, its folder and subjects


@dataclass(frozen=True)
class CropSummary(VideoSummary):
    """The summary of one video."""

    found: int  # frames with a face that was asked for
    detected: int  # of these, frames that faces were detected in
    subjects: int  # different people among them

    def count_faces(self) -> int:
        """Return the number of frames with a face of a requested subject."""
        return self.found


def collect_faces(
    tracked: Iterable[tuple[Any, FrameFaces]],
    progress: Progress = ignore_progress,
    starts: Sequence[int] = (),
) -> VideoColumns[FrameFaces]:
    """Read a tracked video and return its columns, about 180 bytes per face.

    From the frames `starts` on, a subject is followed, as in `faces.follow`.
    """
    columns: VideoColumns[FrameFaces] = VideoColumns(
        face_columns=[("landmarks", "f8", (5, 2))], starts=starts
    )
    return columns.collect((found for _, found in tracked), progress, "faces")


def tabulate_faces(rows: Selection) -> pd.DataFrame:
    """Return the table of `formats.faces` for the selected subjects."""
    detected = np.full(len(rows.index), None, object)
    detected[rows.found] = rows.faces["detected"][rows.index[rows.found]]
    lead = {"frame": rows.frame, "time_s": rows.of_frames("time_s"), "subject": rows.subject}
    lead |= {"found": rows.found, "detected": detected}
    return pd.DataFrame(lead | _name_columns(rows.of_faces))


def list_tracks(columns: VideoColumns[FrameFaces]) -> pd.DataFrame:
    """Return a table of `formats.faces` with a row for every face of every track."""
    frames, faces = columns.frames, columns.faces
    times_s = frames["time_s"][np.searchsorted(frames["frame"], faces["frame"])]
    lead = {"frame": faces["frame"], "time_s": times_s, "subject": faces["subject"]}
    lead |= {"found": np.ones(len(faces), bool), "detected": faces["detected"]}
    return pd.DataFrame(lead | _name_columns(faces.__getitem__))


def _name_columns(get: Callable[[str], NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the columns of a table, a number each, of those that `get` returns by name."""
    parts = {"box": BOX, "landmarks": LANDMARKS, "quality": QUALITY}
    named = {"score": get("score")}
    for name, columns in parts.items():
        named |= dict(zip(columns, get(name).reshape(-1, len(columns)).T, strict=True))
    return named


def crop_video(
    path: str | Path,
    output: str | Path,
    *,
    subject: str = "main",
    detector: Detector | None = None,
    identity: Identity | None = None,
    tracking: Tracking | None = None,
    cropping: Cropping | None = None,
    rotate: int = 0,
    overwrite: bool = False,
    progress: Progress = ignore_progress,
) -> CropSummary:
    """Write the crops of a video and their table into the folder `output`.

    A crop is `<scale>/00001.jpg`, named after its frame, or with the subject `all`
    `subject0/<scale>/00001.jpg`; frames without a face have none, so numbers may have gaps. The
    folder appears when it is complete. Finished work is kept. `rotate` degrees (0, 90, 180, 270)
    clockwise are added to the rotation that the file states.

    Raises:
        InputError: the video cannot be read.
        OutputError: the output exists and may not be replaced, or cannot be written.
        UsageError: the subject or rotation is unknown.
        CheckpointError: the InsightFace pack on the disk is damaged.
    """
    path = Path(path)
    output = Path(output)
    return crop_folders(
        path, {output: (SubjectSegment(subject),)}, detector=detector, identity=identity,
        tracking=tracking, cropping=cropping, rotate=rotate, overwrite=overwrite, progress=progress,
    )[output]  # fmt: skip


def crop_folders(
    path: str | Path,
    folders: Mapping[Path, SubjectSegments],
    *,
    detector: Detector | None = None,
    identity: Identity | None = None,
    tracking: Tracking | None = None,
    cropping: Cropping | None = None,
    rotate: int = 0,
    overwrite: bool = False,
    progress: Progress = ignore_progress,
) -> dict[Path, CropSummary]:
    """Write several folders as `crop_video` does, each for the subjects of its segments.

    The video is read once.

    Raises:
        InputError: the video cannot be read, or lacks the track or the frames of a segment.
        OutputError, UsageError, CheckpointError: as `crop_video`.
    """
    path = Path(path)
    check_rotation(rotate)
    detector = detector or load_detector("retinaface")
    tracking, cropping = tracking or Tracking(), cropping or Cropping()
    identity = identity or load_identity(tracking)
    settings = _describe_settings(detector, identity, tracking, cropping, rotate=rotate)
    works = _describe_works(path, folders, settings)
    finished = {
        output: find_finished_folder(output, work, overwrite) for output, work in works.items()
    }
    todo = {output: work for output, work in works.items() if not finished[output]}
    if todo:
        with keep_warnings(*todo.values()):
            starts = find_starts(folders[output] for output in todo)
            with closing(run_ahead(read_frames(path, rotate), Prediction.decoded_frames)) as frames:
                tracked = track_faces(frames, detector, tracking, identity)
                followed = rate_faces(follow_largest(tracked, identity, starts))
                _write_folders(
                    path, todo, folders, followed,
                    cropping=cropping, starts=starts, progress=progress,
                )  # fmt: skip
    return {
        output: read_summary(finished[output] or work, CropSummary, made=output in todo)
        for output, work in works.items()
    }


def _describe_settings(
    detector: Detector, identity: Identity, tracking: Tracking, cropping: Cropping, *, rotate: int
) -> JsonObject:
    found_by = {"name": detector.name, "sha256": detector.sha256, **asdict(detector.config)}
    settings = {"detector": found_by, "tracking": asdict(tracking), **asdict(cropping)}
    settings["rotate"] = rotate
    return settings | {"identity": {"name": identity.name, "sha256": identity.sha256}}


def _describe_works(
    path: Path, folders: Mapping[Path, SubjectSegments], settings: JsonObject
) -> dict[Path, Provenance]:
    """Return the provenance of each folder before it is made."""
    return {
        output: describe_work("crop", [path], settings | describe_choice(segments))
        for output, segments in folders.items()
    }


class CropWorker:
    """The networks, for any number of videos. A task is folders with their names and subjects."""

    def __init__(self, settings: CropSettings) -> None:
        """Load the networks.

        Raises:
            CheckpointError: the InsightFace pack on the disk is missing or damaged.
        """
        limit_frames(settings.max_megapixels)
        self.settings = settings
        self.detector = load_detector(settings.detector)
        self.identity = load_identity(settings.tracking)

    def do(self, path: str | Path, task: CropTask, progress: Progress) -> list[Result]:
        """Write the folders of one video."""
        settings, folders = self.settings, dict(task.values())
        done = crop_folders(
            path, folders, detector=self.detector, identity=self.identity,
            tracking=settings.tracking, cropping=settings.cropping, rotate=settings.rotate,
            overwrite=settings.overwrite, progress=progress,
        )  # fmt: skip
        return [Result(name, folder, done[folder]) for name, (folder, _) in task.items()]

    def plan(self, path: str | Path, task: CropTask) -> list[Plan]:
        """Return the plan for each folder."""
        settings = self.settings
        described = _describe_settings(
            self.detector,
            self.identity,
            settings.tracking,
            settings.cropping,
            rotate=settings.rotate,
        )
        works = _describe_works(Path(path), dict(task.values()), described)
        return [
            plan_output(folder, each, settings.overwrite, find_finished_folder)
            for folder, each in works.items()
        ]


def describe_tracks(folder: str | Path) -> str:
    """Return the numbers of frames of the tracks in a video, the longest track first.

    Raises:
        InputError: `folder` has no crops.
    """
    folder = Path(folder)
    frames = read_faces(folder / FACES_NAME)[0]["frame"].nunique()
    tracks = read_faces(folder / TRACKS_NAME)[0]["subject"]
    counts = tracks.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    most = [f"track {number}: {count}" for number, count in counts.head(_NOTED).items()]
    if not most:
        return "no face"
    most[0] += f" of {frames} frames"
    more = [f"{len(counts) - _NOTED} more"] if len(counts) > _NOTED else []
    return "; ".join(most + more)


def _summarise(table: pd.DataFrame) -> CropSummary:
    found = table[table["found"]]
    return CropSummary(
        frames=table["frame"].nunique(),
        found=found["frame"].nunique(),
        detected=found.loc[found["detected"].astype(bool), "frame"].nunique(),
        subjects=found["subject"].nunique(),
    )


def _write_folders(
    path: Path,
    works: Mapping[Path, Provenance],
    folders: Mapping[Path, SubjectSegments],
    tracked: Iterable[tuple[Frame, FrameFaces]],
    *,
    cropping: Cropping,
    starts: Sequence[int],
    progress: Progress,
) -> None:
    """Write the folders of `works` with their tables, in one pass through a tracked video."""
    with ExitStack() as stack:
        new = {
            output: stack.enter_context(replace_folder(output, work))
            for output, work in works.items()
        }
        below = next(iter(new.values()))
        everybody = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=below)))
        columns = collect_faces(_crop_faces(tracked, everybody, cropping), progress, starts)
        for output, folder in new.items():
            rows = columns.select(folders[output], path)
            table = tabulate_faces(rows)
            note_summary(works[output], _summarise(table))
            write_faces(table, folder / FACES_NAME, works[output])
            write_faces(list_tracks(columns), folder / TRACKS_NAME, works[output])
            by_subject = folders[output][0].strategy == "all"
            for crop, name in _name_crops(rows, by_subject, cropping.scales):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                # Another folder may have the same crop.
                (shutil.copyfile if len(new) > 1 else os.replace)(everybody / crop, folder / name)


def _crop_faces(
    tracked: Iterable[tuple[Frame, FrameFaces]], folder: Path, config: Cropping
) -> Iterator[tuple[Frame, FrameFaces]]:
    """Yield every frame after its crops are written: of each track, `<track>/<scale>/00001.jpg`."""
    for frame, found in tracked:
        for face in found.faces:
            turns = count_quarters(face.landmarks)
            crops = crop_frame(frame, face.box, config.scales, config.side, quarters=turns)
            for scale, crop in zip(config.scales, crops, strict=True):
                name = _name_crop(str(face.subject), scale, frame.frame)
                _write_jpeg(folder / name, crop, config.quality)
        yield frame, found


def _name_crops(
    rows: Selection, by_subject: bool, scales: Sequence[float]
) -> Iterator[tuple[str, str]]:
    """Yield the names of the selected crops: among those of all tracks, and in their folder."""
    for row in np.flatnonzero(rows.found):
        track = str(rows.faces["subject"][rows.index[row]])
        own = f"subject{rows.subject[row]}" if by_subject else ""
        for scale in scales:
            of_track, of_subject = (_name_crop(of, scale, rows.frame[row]) for of in (track, own))
            yield of_track, of_subject


def _name_crop(folder: str, scale: float, frame: int) -> str:
    return f"{folder}/{scale}/{frame:05d}.jpg".lstrip("/")


def _write_jpeg(path: Path, image: Image, quality: int) -> None:
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())
