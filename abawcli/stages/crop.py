"""Stage crop: square face crops of a video as files, and the table of all its faces.

The video is read twice: who is on screen longest is known only at its end, and pictures are
not kept in memory.
"""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import Cropping, Tracking
from abawcli.errors import OutputError
from abawcli.faces.crop import Image, crop_frame
from abawcli.faces.detect import Detector, load_detector
from abawcli.faces.subjects import lay_rows
from abawcli.faces.track import TrackedFrame, track_faces
from abawcli.formats.faces import BOX, FACES_NAME, LANDMARKS, write_faces
from abawcli.formats.files import (
    describe_work,
    is_finished,
    replace_folder,
    write_provenance,
)
from abawcli.media.video import Frame, read_frames

Update = Callable[[int, int | None, str], None]
_VALUES = ("score", *BOX, *LANDMARKS)


@dataclass(frozen=True)
class CropSummary:
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
    values: NDArray[np.float64]  # (N, 15) score, box, landmarks

    @property
    def boxes(self) -> NDArray[np.float64]:
        """Return x, y, w, h (N, 4) in pixels."""
        return self.values[:, 1:5]


def collect_faces(
    tracked: Iterable[TrackedFrame[Any]], update: Update | None = None
) -> FaceColumns:
    """Go through a tracked video and keep its numbers, 150 bytes a face."""
    clock, faces = array("d"), array("d")
    for item in tracked:
        clock.extend((item.frame.number, item.frame.time_s))
        for face in item.faces:
            faces.extend((item.frame.number, face.subject, face.detected, face.score))
            faces.extend((*face.box, *face.landmarks.ravel().tolist()))
        if update:
            update(item.frame.number, None, "faces")
    times = np.frombuffer(clock).reshape(-1, 2)
    rows = np.frombuffer(faces).reshape(-1, 3 + len(_VALUES))
    return FaceColumns(
        times[:, 0].astype(np.int64), times[:, 1],
        rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), rows[:, 2] > 0, rows[:, 3:],
    )  # fmt: skip


def tabulate_faces(faces: FaceColumns, strategy: str) -> pd.DataFrame:
    """Return the table of `formats.faces` for the subjects that `strategy` means.

    Raises:
        UsageError: no such strategy.
    """
    frame, subject, index = lay_rows(
        faces.frames, faces.frame, faces.subject, faces.boxes, strategy
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


def crop_video(
    path: Path,
    output: Path,
    *,
    subject: str = "main",
    detector: Detector | None = None,
    tracking: Tracking | None = None,
    cropping: Cropping | None = None,
    overwrite: bool = False,
    update: Update | None = None,
) -> CropSummary | None:
    """Write the crops of a video and their table into the folder `output`.

    A crop is `<scale>/00001.jpg`, named after its frame, or with the subject `all`
    `subject0/<scale>/00001.jpg`; frames without a face have none, and the numbers keep their
    gaps. The folder appears when it is complete. None is returned where it was before.

    Raises:
        InputError: the video cannot be read.
        OutputError: something else is in the way, or the place cannot be written.
        UsageError: no such subject.
    """
    detector = detector or load_detector("retinaface")
    tracking, cropping = tracking or Tracking(), cropping or Cropping()
    about = {"name": detector.name, "sha256": detector.sha256, **asdict(detector.config)}
    settings = {"detector": about, "tracking": asdict(tracking), **asdict(cropping)}
    provenance = describe_work("crop", [path], settings | {"subject": subject})
    _refuse_foreign(output)
    if is_finished(output, provenance, overwrite):
        return None
    faces = collect_faces(track_faces(read_frames(path), detector, tracking), update)
    table = tabulate_faces(faces, subject)
    with replace_folder(output) as folder:
        write_faces(table, folder / FACES_NAME, provenance)
        _write_crops(read_frames(path), table, folder, subject == "all", cropping, update)
    write_provenance(output, provenance)
    return _summarise(table)


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
    update: Update | None,
) -> None:
    found = table[table["found"]]
    total = int(table["frame"].max())
    numbers, boxes = found["frame"].to_numpy(), found[list(BOX)].to_numpy()
    subjects = found["subject"].to_numpy()
    for frame in frames:
        first, end = np.searchsorted(numbers, [frame.number, frame.number + 1])
        for row in range(first, end):
            place = folder / f"subject{subjects[row]}" if by_subject else folder
            crops = crop_frame(frame, boxes[row], config.scales, config.side)
            for scale, crop in zip(config.scales, crops, strict=True):
                _write_jpeg(place / str(scale) / f"{frame.number:05d}.jpg", crop, config.quality)
        if update:
            update(frame.number, total, "crops")


def _write_jpeg(path: Path, image: Image, quality: int) -> None:
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())


def _refuse_foreign(path: Path) -> None:
    """Check, before hours of work, that `path` may be replaced: it is not there, or crops.

    Raises:
        OutputError: something else is there, which is never deleted, or the place is no place.
    """
    try:
        foreign = path.exists() and not (path / FACES_NAME).is_file()
    except OSError as error:  # no permission, a name that is too long
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    if foreign:
        raise OutputError(f"{path} is in the way and no folder of crops; move it or change -o")
