"""Stage crop: square face crops of a video as files, and the table of all its faces.

The video is read twice: who is on screen longest is known only at its end, and pictures are
not kept in memory.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import QUALITY, Cropping, Tracking
from abawcli.errors import InputError
from abawcli.faces.crop import Image, crop_frame
from abawcli.faces.detect import Detector, load_detector
from abawcli.faces.identity import Identity, load_identity
from abawcli.faces.pose import count_quarters
from abawcli.faces.quality import rate_faces
from abawcli.faces.subjects import explain_no_track, lay_rows
from abawcli.faces.track import TrackedFrame, track_faces
from abawcli.formats.faces import (
    BOX,
    FACES_NAME,
    LANDMARKS,
    TRACKS_NAME,
    read_faces,
    write_faces,
)
from abawcli.formats.folders import find_finished_folder, replace_folder
from abawcli.formats.provenance import describe_work
from abawcli.formats.strategy import SubjectSegment, SubjectSegments, describe_choice
from abawcli.formats.summary import Summary, keep_warnings, note_summary, read_summary
from abawcli.media.frame import Frame
from abawcli.media.video import check_rotation, read_frames
from abawcli.progress import Progress, ignore_progress

_NOTED = 12  # tracks in a note, which is a line of text
_VALUES = ("score", *BOX, *LANDMARKS, *QUALITY)


@dataclass(frozen=True)
class CropSummary(Summary):
    """What came of one video."""

    frames: int
    found: int  # frames with a face that was asked for
    detected: int  # of these, frames that the detector looked at
    subjects: int  # different people among them


@dataclass(frozen=True)
class FaceColumns:
    """All faces of a video: `frames`, `times_s` (F,) of every frame, the others one a face."""

    frames: NDArray[np.int64]
    times_s: NDArray[np.float64]
    frame: NDArray[np.int64]  # (N,)
    subject: NDArray[np.int64]  # (N,)
    detected: NDArray[np.bool_]  # (N,)
    values: NDArray[np.float64]  # (N, 19) score, box, landmarks, quality

    @property
    def boxes(self) -> NDArray[np.float64]:
        """Return x, y, w, h (N, 4) in pixels."""
        return self.values[:, 1:5]


def collect_faces(
    tracked: Iterable[TrackedFrame[Any]], progress: Progress = ignore_progress
) -> FaceColumns:
    """Go through a tracked video and keep its numbers, 150 bytes a face."""
    clock, faces = array("d"), array("d")
    for item in tracked:
        clock.extend((item.frame.number, item.frame.time_s))
        for face in item.faces:
            faces.extend((item.frame.number, face.subject, face.detected, face.score))
            faces.extend((*face.box, *face.landmarks.ravel().tolist(), *face.quality))
        progress(item.frame.number, None, "faces")
    times = np.frombuffer(clock).reshape(-1, 2)
    rows = np.frombuffer(faces).reshape(-1, 3 + len(_VALUES))
    return FaceColumns(
        times[:, 0].astype(np.int64), times[:, 1],
        rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), rows[:, 2] > 0, rows[:, 3:],
    )  # fmt: skip


def tabulate_faces(faces: FaceColumns, stretches: SubjectSegments) -> pd.DataFrame:
    """Return the table of `formats.faces`: in each stretch those whom its strategy means.

    Frames outside of all stretches show nobody. `main` is who is main within the stretch.

    Raises:
        UsageError: no such strategy.
    """
    frame, subject, index = lay_segments(
        faces.frames, faces.frame, faces.subject, faces.boxes, stretches
    )
    found = index >= 0
    values = np.full((len(index), len(_VALUES)), np.nan)
    values[found] = faces.values[index[found]]
    detected = np.full(len(index), None, object)
    detected[found] = faces.detected[index[found]]
    times_s = faces.times_s[np.searchsorted(faces.frames, frame)]
    lead = {"frame": frame, "time_s": times_s, "subject": subject, "found": found}
    columns = dict(zip(_VALUES, values.T, strict=True))
    return pd.DataFrame(lead | {"detected": detected} | columns)


def lay_segments(
    frames: NDArray[np.int64],
    frame: NDArray[np.int64],
    subject: NDArray[np.int64],
    boxes: NDArray[np.float64],
    stretches: SubjectSegments,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a table as `faces.subjects.lay_rows`, in each stretch by its strategy.

    Frames outside of all stretches show nobody.

    Raises:
        UsageError: no such strategy.
    """
    laid = []
    for strategy, first, last in _fill_gaps(stretches, int(frames[-1])):
        there = np.flatnonzero((frame >= first) & (frame <= last))
        rows = lay_rows(
            frames[(frames >= first) & (frames <= last)],
            frame[there], subject[there], boxes[there], strategy,
        )  # fmt: skip
        rows[2][rows[2] >= 0] = there[rows[2][rows[2] >= 0]]
        laid.append(rows)
    found, who, index = (np.concatenate(column) for column in zip(*laid, strict=True))
    return found, who, index


def _fill_gaps(stretches: SubjectSegments, frames: int) -> Iterator[tuple[str, int, int]]:
    """Yield strategy, first and last frame of each stretch and of the gaps, for all frames."""
    after = 1
    for stretch in stretches:
        if stretch.first > after:
            yield "skip", after, stretch.first - 1
        last = min(stretch.last or frames, frames)
        yield stretch.strategy, stretch.first, last
        after = last + 1
    if after <= frames:
        yield "skip", after, frames


def check_segments(
    stretches: SubjectSegments, subject: NDArray[np.int64], frames: int, path: str | Path
) -> None:
    """Make sure that a video has the tracks and frames that are asked for.

    `subject` (N,) are the track numbers of its faces.

    Raises:
        InputError: it has not.
    """
    path = Path(path)
    for stretch in stretches:
        where = f"{stretch.source}: {path}" if stretch.source else str(path)
        if problem := explain_no_track(stretch.strategy, subject):
            raise InputError(f"{where} {problem}")
        if stretch.first > frames:
            raise InputError(f"{where} has no frame {stretch.first}; the last is {frames}")


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
    `subject0/<scale>/00001.jpg`; frames without a face have none, and the numbers keep their
    gaps. The folder appears when it is complete. What is finished is not made again.
    `rotate` degrees (0, 90, 180, 270) clockwise come on top of the rotation that the file states.

    Raises:
        InputError: the video cannot be read.
        OutputError: something else is in the way, or the place cannot be written.
        UsageError: no such subject or rotation.
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
    """Write several folders as `crop_video` does, each with whom its stretches mean.

    The faces are found once.

    Raises:
        InputError: the video cannot be read, or has not the track or the frames of a stretch.
        OutputError, UsageError, CheckpointError: as `crop_video`.
    """
    path = Path(path)
    check_rotation(rotate)
    detector = detector or load_detector("retinaface")
    tracking, cropping = tracking or Tracking(), cropping or Cropping()
    identity = identity or load_identity(tracking)
    found_by = {"name": detector.name, "sha256": detector.sha256, **asdict(detector.config)}
    settings = {"detector": found_by, "tracking": asdict(tracking), **asdict(cropping)}
    settings["rotate"] = rotate
    settings["identity"] = {"name": identity.name, "sha256": identity.sha256}
    works = {
        output: describe_work("crop", [path], settings | describe_choice(stretches))
        for output, stretches in folders.items()
    }
    finished = {
        output: find_finished_folder(output, work, overwrite) for output, work in works.items()
    }
    todo = {output: work for output, work in works.items() if not finished[output]}
    if todo:
        with keep_warnings(*todo.values()):
            tracked = track_faces(read_frames(path, rotate), detector, tracking, identity)
            faces = collect_faces(rate_faces(tracked), progress)
            for output in todo:
                check_segments(folders[output], faces.subject, int(faces.frames[-1]), path)
            tables = {output: tabulate_faces(faces, folders[output]) for output in todo}
            for output, work in todo.items():
                note_summary(work, _summarise(tables[output]))
                with replace_folder(output, work) as folder:
                    write_faces(tables[output], folder / FACES_NAME, work)
                    write_faces(list_tracks(faces), folder / TRACKS_NAME, work)
                    by_subject = folders[output][0].strategy == "all"
                    frames = read_frames(path, rotate)
                    _write_crops(frames, tables[output], folder, by_subject, cropping, progress)
    return {
        output: read_summary(finished[output] or work, CropSummary, made=output in todo)
        for output, work in works.items()
    }


def list_tracks(faces: FaceColumns) -> pd.DataFrame:
    """Return a table of `formats.faces` with a row for every face of everybody."""
    times_s = faces.times_s[np.searchsorted(faces.frames, faces.frame)]
    lead = {"frame": faces.frame, "time_s": times_s, "subject": faces.subject, "found": True}
    columns = dict(zip(_VALUES, faces.values.T, strict=True))
    return pd.DataFrame(lead | {"detected": faces.detected} | columns)


def describe_tracks(folder: str | Path) -> str:
    """Return in how many frames of a video the tracks are, those that are there longest first.

    Raises:
        InputError: `folder` holds no crops.
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


def _write_crops(
    frames: Iterable[Frame],
    table: pd.DataFrame,
    folder: Path,
    by_subject: bool,
    config: Cropping,
    progress: Progress,
) -> None:
    found = table[table["found"]]
    total = int(table["frame"].max())
    numbers, boxes = found["frame"].to_numpy(), found[list(BOX)].to_numpy()
    subjects = found["subject"].to_numpy()
    landmarks = found[list(LANDMARKS)].to_numpy(np.float32).reshape(-1, 5, 2)
    for frame in frames:
        first, end = np.searchsorted(numbers, [frame.number, frame.number + 1])
        for row in range(first, end):
            place = folder / f"subject{subjects[row]}" if by_subject else folder
            quarters = count_quarters(landmarks[row])
            crops = crop_frame(frame, boxes[row], config.scales, config.side, quarters)
            for scale, crop in zip(config.scales, crops, strict=True):
                _write_jpeg(place / str(scale) / f"{frame.number:05d}.jpg", crop, config.quality)
        progress(frame.number, total, "crops")


def _write_jpeg(path: Path, image: Image, quality: int) -> None:
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())
