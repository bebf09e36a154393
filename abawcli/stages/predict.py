"""From pixels to labels, as a stream: decode, find and follow faces, crop, encode, classify.

What is kept of a whole video is numbers: about 150 bytes a face and frame.
"""

from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import Detection, Prediction, Tracking
from abawcli.device import choose_device
from abawcli.faces.detect import load_detector
from abawcli.faces.subjects import lay_rows
from abawcli.formats.tables import COLUMNS, PROBABILITIES, decode_name
from abawcli.labels import IGNORE, N_CLASSES
from abawcli.models.encoder import load_encoder
from abawcli.models.extractor import encode_faces
from abawcli.models.recipes import find_recipe
from abawcli.stages.smooth import smooth_table


class Progress(Protocol):
    """Called while frames go by."""

    def __call__(self, done: int, total: int | None, what: str) -> None:
        """Say that `done` frames are finished; the total is not known before the end."""


@dataclass(frozen=True)
class FacePrediction:
    """One face in one frame, before smoothing."""

    subject: int  # track number
    box: tuple[float, float, float, float]  # x, y, w, h in pixels of the displayed frame
    score: float
    detected: bool  # False: the box is interpolated between two detections
    probabilities: NDArray[np.float32]  # (8,)


@dataclass(frozen=True)
class FramePrediction:
    """One frame and all faces that were followed in it."""

    frame: int  # from 1
    time_s: float
    faces: list[FacePrediction]


class Predictor:
    """A recipe's networks, loaded once for any number of videos."""

    def __init__(
        self, recipe: str = "compact", device: str = "auto", config: Prediction | None = None
    ) -> None:
        """Load the networks.

        Raises:
            UsageError: no such recipe or device.
            CheckpointError: its weights are missing or do not fit.
        """
        self.recipe = find_recipe(recipe)
        self.config = config or Prediction()
        self.encoder, _ = load_encoder(self.recipe.encoder, choose_device(device))
        self.detector = load_detector(self.recipe.detector, threads=1)

    def describe(self, subject: str, smooth: bool) -> dict[str, Any]:
        """Return what the results depend on, for their provenance."""
        about = self.recipe.describe()
        if not smooth:
            about["smoothing"] = None
        return about | {
            "subject": subject,
            "detector_sha256": self.detector.sha256,
            "detection": asdict(Detection()),
            "tracking": asdict(Tracking()),
        }

    def predict_frames(self, path: Path) -> Iterator[FramePrediction]:
        """Yield every frame of a video with all its faces, unsmoothed, in order.

        Raises:
            InputError: the file cannot be read or holds no frame.
        """
        encoder = self.encoder
        for seen, rows in encode_faces(
            path, self.detector, encoder.preprocess, encoder.classify, self.config
        ):
            faces = [
                FacePrediction(face.subject, face.box, face.score, face.detected, row)
                for face, row in zip(seen.faces, rows, strict=True)
            ]
            yield FramePrediction(seen.number, seen.time_s, faces)

    def predict_video(
        self,
        path: Path,
        subject: str = "main",
        smooth: bool = True,
        progress: Progress = lambda done, total, what: None,
    ) -> pd.DataFrame:
        """Return the prediction table of a video or picture (columns of `formats.tables`).

        Every decoded frame has one row, or one for each subject with `subject="all"`. The
        column `subject` holds what was asked for, and the track's number for `all`.

        Raises:
            InputError: the file cannot be read or holds no frame.
            UsageError: no such way to choose a subject.
        """
        faces, frames, times = array("d"), array("q"), array("d")
        for found in self.predict_frames(path):
            frames.append(found.frame)
            times.append(found.time_s)
            for face in found.faces:
                row = (found.frame, face.subject, *face.box, face.score, *face.probabilities)
                faces.extend(map(float, row))
            progress(found.frame, None, "")
        columns = np.frombuffer(faces, np.float64).reshape(-1, 7 + N_CLASSES)  # (N, 15)
        table = _build_table(
            decode_name(path.stem), np.array(frames), np.array(times), columns, subject
        )
        return smooth_table(table, self.recipe.smoothing) if smooth else table


def _build_table(
    video: str,
    frames: NDArray[np.int64],
    times: NDArray[np.float64],
    faces: NDArray[np.float64],
    strategy: str,
) -> pd.DataFrame:
    """Lay out one row a frame and subject from faces (N, 15) of all subjects."""
    numbers, who, boxes = faces[:, 0].astype(int), faces[:, 1].astype(int), faces[:, 2:6]
    frame, subject, index = lay_rows(frames, numbers, who, boxes, strategy)  # each (R,)
    found = index >= 0
    # One row of NaN behind the faces, for rows without one: index -1.
    values = np.concatenate([faces, np.full((1, faces.shape[1]), np.nan)])[index]  # (R, 15)
    p = values[:, 7:]  # (R, 8)
    best = np.where(found[:, None], p, 0.0).argmax(axis=1)  # (R,)
    columns = {
        "video": video,
        "frame": frame,
        "time_s": times[np.searchsorted(frames, frame)],
        "subject": subject.astype(str) if strategy == "all" else strategy,
        "found": found,
        "face_score": values[:, 6],
        **dict(zip("xywh", values[:, 2:6].T, strict=True)),
        "source": np.where(found, "visual", "none"),
        "label": np.where(found, best, IGNORE),
        "confidence": p[np.arange(len(p)), best],
        **dict(zip(PROBABILITIES, p.T, strict=True)),
    }
    return pd.DataFrame(columns)[COLUMNS]


def predict_video(
    path: Path | str, recipe: str = "compact", subject: str = "main", smooth: bool = True
) -> pd.DataFrame:
    """Return the prediction table of one video; see `Predictor.predict_video`.

    For several videos, make a `Predictor` once: loading takes longer than a short clip.
    """
    return Predictor(recipe).predict_video(Path(path), subject, smooth)


def predict_frames(path: Path | str, recipe: str = "compact") -> Iterator[FramePrediction]:
    """Yield every frame of a video with all its faces as it is done; see `Predictor`."""
    return Predictor(recipe).predict_frames(Path(path))
