"""What is read of a video: frame by frame, and laid out as the rows of a prediction table."""

import logging
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import QUALITY
from abawcli.faces.quality import explain_poor
from abawcli.faces.subjects import NOBODY
from abawcli.faces.track import Quality
from abawcli.formats.features import Features
from abawcli.formats.strategy import SubjectSegments, describe_choice
from abawcli.formats.tables import COLUMNS, set_probabilities
from abawcli.labels import N_CLASSES
from abawcli.pipeline.subject_stream import FrameReading
from abawcli.progress import Progress
from abawcli.sources import AV, VISUAL, name_sources

LOG = logging.getLogger(__name__)
Probabilities = NDArray[np.float32]
Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class FacePrediction:
    """One face in one frame, before smoothing."""

    subject: int  # track number
    box: tuple[float, float, float, float]  # x, y, w, h in pixels of the displayed frame
    score: float
    detected: bool  # False: the box is interpolated between two detections
    probabilities: Probabilities  # (8,) of the face, and of the sound where there is some
    source: str  # av or visual
    quality: Quality  # sharpness, yaw, roll and face_quality (`faces.quality`)


@dataclass(frozen=True)
class FramePrediction:
    """One frame and all faces that were followed in it."""

    frame: int  # from 1
    time_s: float
    faces: list[FacePrediction]
    # (8,) of people who are not seen in it, but in the window of frames that the head looks at
    absent: dict[int, Probabilities]
    sound: Probabilities | None  # (8,) what the sound by itself says; None: nothing
    has_audio: bool  # False: what `absent` and `sound` say is read from the frames around it


def combine_reading(reading: FrameReading) -> FramePrediction:
    """Return a frame with all faces that were followed in it."""
    found, people = reading.features, dict(reading.subjects)
    source = AV if found.has_audio else VISUAL
    faces = [
        FacePrediction(
            f.subject, f.box, f.score, f.detected, people.pop(f.subject), source, f.quality
        )
        for f in found.faces
    ]
    absent = {subject: p for subject, p in people.items() if not np.isnan(p[0])}
    sound = None if np.isnan(reading.sound[0]) else reading.sound
    return FramePrediction(found.frame, found.time_s, faces, absent, sound, found.has_audio)


@dataclass(frozen=True)
class Reading:
    """All that was read of a video, whoever is meant."""

    clock: NDArray[np.float64]  # (F, 11) of frames: number, time, has it sound, what that says
    # (N, 20) frame, subject, box, score, has it sound, quality, probabilities
    faces: NDArray[np.float64]
    absent: NDArray[np.float64]  # (M, 10) frame, subject who is not seen, probabilities

    @property
    def frames(self) -> NDArray[np.int64]:
        """Return the numbers of all frames, (F,)."""
        return self.clock[:, 0].astype(np.int64)

    @property
    def subject(self) -> NDArray[np.int64]:
        """Return the track number of each face, (N,)."""
        return self.faces[:, 1].astype(np.int64)

    def columns(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return all frames (F,), and of each face frame, subject (N,) and box (N, 4)."""
        return self.frames, self.faces[:, 0].astype(np.int64), self.subject, self.faces[:, 2:6]

    def lay_table(self, video: str, laid: Columns, stretches: SubjectSegments) -> pd.DataFrame:
        """Return one row a frame and subject, from what `stages.crop.lay_segments` laid out."""
        frame, subject, index = laid  # each (R,)
        by_subject = stretches[0].strategy == "all"
        found = index >= 0
        # One row of NaN behind the faces, for rows without one: index -1.
        nothing = np.full((1, self.faces.shape[1]), np.nan)
        values = np.concatenate([self.faces, nothing])[index]  # (R, 20)
        times = self.clock[np.searchsorted(self.frames, frame)]  # (R, 11)
        around = _look_up(self.absent, frame, subject)  # (R, 8)
        heard = times[:, 2] == 1
        if by_subject:  # whose the voice is nobody knows, but where there is nobody else
            heard &= subject == NOBODY
            around[subject == NOBODY] = times[subject == NOBODY, 3:]
        else:
            around = np.where(np.isnan(around), times[:, 3:], around)
        p = np.where(found[:, None], values[:, 12:], around)  # (R, 8)
        heard = np.where(found, values[:, 7] == 1, heard)
        return _lay_columns(
            video=video,
            frame=frame,
            time_s=times[:, 1],
            subject=subject.astype(str) if by_subject else describe_choice(stretches)["subject"],
            found=found,
            place=values[:, [6, 2, 3, 4, 5, 8, 9, 10, 11]],
            source=name_sources(found, heard, ~np.isnan(p[:, 0])),
            p=p,
        )


def _look_up(
    rows: NDArray[np.float64], frame: NDArray[np.int64], subject: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the probabilities of (frame, subject, probabilities) rows for each of (R,), or NaN."""
    known = pd.DataFrame(rows[:, 2:], pd.MultiIndex.from_arrays([rows[:, 0], rows[:, 1]]))
    return known.reindex(pd.MultiIndex.from_arrays([frame, subject])).to_numpy(copy=True)


def lay_features(
    features: Features,
    found: NDArray[np.bool_],
    p: NDArray[np.floating[Any]],
    source: NDArray[np.str_],
) -> pd.DataFrame:
    """Return the table of one subject's features: probabilities (T, 8) and sources (T,) of rows.

    `found` (T,) says which rows have a face.
    """
    place = np.column_stack([features.face_score, features.box, features.quality])  # (T, 9)
    return _lay_columns(
        video=features.metadata.video,
        frame=features.frame,
        time_s=features.time_s,
        subject=features.metadata.subject,
        found=found,
        place=np.where(found[:, None], place, np.nan),
        source=source,
        p=p.astype(np.float64),
    )


def warn_of_poor(table: pd.DataFrame, name: str) -> None:
    """Say so where most faces of a table are poorer than those that were learned from."""
    faces = table[table["found"]]
    problem = explain_poor(faces[["w", "h"]].max(axis=1), faces["sharpness"])
    if problem:
        LOG.warning("%s: %s", name, problem)


def _lay_columns(
    place: NDArray[np.floating[Any]],
    source: NDArray[np.str_],
    p: NDArray[np.float64],
    **columns: Any,
) -> pd.DataFrame:
    """Return a table of places (R, 9), sources (R,), probabilities (R, 8) and the rest.

    A place is score, box and quality of a face.
    """
    columns |= dict(zip(("face_score", *"xywh", *QUALITY), place.astype(np.float64).T, strict=True))
    return set_probabilities(pd.DataFrame(columns), p, source)[COLUMNS]


def collect_reading(stream: Iterable[FramePrediction], progress: Progress) -> Reading:
    """Keep the numbers of what is read of a video: about 150 bytes a face and frame."""
    clock, faces, absent = array("d"), array("d"), array("d")
    silent = np.full(N_CLASSES, np.nan)
    for found in stream:
        sound = silent if found.sound is None else found.sound
        clock.extend(map(float, (found.frame, found.time_s, found.has_audio, *sound)))
        for face in found.faces:
            row = (found.frame, face.subject, *face.box, face.score, face.source == AV)
            faces.extend(map(float, (*row, *face.quality, *face.probabilities)))
        for who, p in found.absent.items():
            absent.extend(map(float, (found.frame, who, *p)))
        progress(found.frame, None, "")
    return Reading(
        np.frombuffer(clock, np.float64).reshape(-1, 3 + N_CLASSES),
        np.frombuffer(faces, np.float64).reshape(-1, 8 + len(QUALITY) + N_CLASSES),
        np.frombuffer(absent, np.float64).reshape(-1, 2 + N_CLASSES),
    )
