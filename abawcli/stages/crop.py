"""Stage crop: square face crops of a video as files, and the table of all its faces.

The video is read twice, for any number of folders: the subject who is on screen longest is known
only at its end, and images are not held in memory. To write everybody's crops in the first pass and
to delete those that are not asked for costs more from the second person on. The crops themselves
are cut by `faces.crop`.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
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

    The faces are found once, and the crops of all folders are written in one pass.

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
            with _decode_ahead(path, rotate) as frames:
                tracked = track_faces(frames, detector, tracking, identity)
                followed = follow_largest(tracked, identity, starts)
                columns = collect_faces(rate_faces(followed), progress, starts)
            tables = {
                output: tabulate_faces(columns.select(folders[output], path)) for output in todo
            }
            with _decode_ahead(path, rotate) as frames:
                _write_folders(
                    frames, columns, tables, todo,
                    folders=folders, cropping=cropping, progress=progress,
                )  # fmt: skip
    return {
        output: read_summary(finished[output] or work, CropSummary, made=output in todo)
        for output, work in works.items()
    }


def _decode_ahead(path: Path, rotate: int) -> closing[Generator[Frame]]:
    """Return the frames, decoded in a thread; it ends with the `with` block."""
    return closing(run_ahead(read_frames(path, rotate), Prediction.decoded_frames))


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
    frames: Iterable[Frame],
    columns: VideoColumns[FrameFaces],
    tables: Mapping[Path, pd.DataFrame],
    works: Mapping[Path, Provenance],
    *,
    folders: Mapping[Path, SubjectSegments],
    cropping: Cropping,
    progress: Progress,
) -> None:
    """Write the folders of `works` with their tables, in one pass through the frames."""
    with ExitStack() as stack:
        writers = []
        for output, work in works.items():
            note_summary(work, _summarise(tables[output]))
            folder = stack.enter_context(replace_folder(output, work))
            write_faces(tables[output], folder / FACES_NAME, work)
            write_faces(list_tracks(columns), folder / TRACKS_NAME, work)
            by_subject = folders[output][0].strategy == "all"
            writers.append(_CropWriter(tables[output], folder, by_subject, cropping))
        for frame in frames:
            for writer in writers:
                writer.write(frame)
            progress(frame.frame, len(columns.frames), "crops")


class _CropWriter:
    """Writes the crops of one folder, frame by frame."""

    def __init__(
        self, table: pd.DataFrame, folder: Path, by_subject: bool, config: Cropping
    ) -> None:
        found = table[table["found"]]
        self.folder, self.by_subject, self.config = folder, by_subject, config
        self.frames, self.boxes = found["frame"].to_numpy(), found[list(BOX)].to_numpy()
        self.subjects = found["subject"].to_numpy()
        self.landmarks = found[list(LANDMARKS)].to_numpy(np.float32).reshape(-1, 5, 2)

    def write(self, frame: Frame) -> None:
        """Write the crops of a frame."""
        config = self.config
        for row in range(*np.searchsorted(self.frames, [frame.frame, frame.frame + 1])):
            own = f"subject{self.subjects[row]}" if self.by_subject else ""
            turns = count_quarters(self.landmarks[row])
            crops = crop_frame(frame, self.boxes[row], config.scales, config.side, quarters=turns)
            for scale, crop in zip(config.scales, crops, strict=True):
                _write_jpeg(
                    self.folder / own / str(scale) / f"{frame.frame:05d}.jpg", crop, config.quality
                )


def _write_jpeg(path: Path, image: Image, quality: int) -> None:
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())
