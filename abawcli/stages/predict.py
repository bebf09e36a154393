"""From pixels and sound to labels, as a stream: features of each frame, a head, smoothing.

What is kept of a whole video is numbers: about 150 bytes a face and frame.
"""

import itertools
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from abawcli.config import MODALITIES, Hearing, Prediction, Smoothing
from abawcli.device import choose_device
from abawcli.errors import CheckpointError, UsageError
from abawcli.faces.subjects import NOBODY, lay_rows
from abawcli.formats.features import (
    FEATURES_SUFFIX,
    Features,
    read_features,
    round_features,
)
from abawcli.formats.names import decode_name
from abawcli.formats.tables import COLUMNS, set_probabilities
from abawcli.labels import N_CLASSES
from abawcli.models.encoder import Encoder
from abawcli.models.ensemble import Ensemble
from abawcli.models.extractor import Extractor, FrameFeatures
from abawcli.models.heads import check_features, load_head, name_readings
from abawcli.models.recipes import join_recipes
from abawcli.models.subject_stream import FrameReading, SubjectStream
from abawcli.sources import BOTH, FACE, name_sources
from abawcli.stages.smooth import smooth_table

Probabilities = NDArray[np.float32]


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
    probabilities: Probabilities  # (8,) of the face, and of the sound where there is some
    source: str  # av or visual


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


def _combine(reading: FrameReading) -> FramePrediction:
    found, people = reading.features, dict(reading.subjects)
    source = BOTH if found.has_audio else FACE
    faces = [
        FacePrediction(f.subject, f.box, f.score, f.detected, people.pop(f.subject), source)
        for f in found.faces
    ]
    absent = {subject: p for subject, p in people.items() if not np.isnan(p[0])}
    sound = None if np.isnan(reading.sound[0]) else reading.sound
    return FramePrediction(found.frame, found.time_s, faces, absent, sound, found.has_audio)


class Predictor:
    """A recipe's networks, loaded once for any number of inputs."""

    def __init__(
        self,
        recipe: str | Sequence[str] = "compact",
        device: str = "auto",
        config: Prediction | None = None,
        modality: str = "av",
        rotate: int = 0,
    ) -> None:
        """Load the networks; of several recipes, whose heads' probabilities are averaged.

        Frames are turned by `rotate` degrees (0, 90, 180, 270) clockwise.

        Raises:
            UsageError: no such recipe, device, rotation or modality, or one that the recipe does
                not know; or several recipes that do not read the same features.
            CheckpointError: its weights are missing, do not fit, or are not those that the
                recipe's head was trained with.
        """
        self.recipe = join_recipes([recipe] if isinstance(recipe, str) else recipe)
        place = choose_device(device)
        loaded = {name: load_head(path, place) for name, path in self.recipe.heads.items()}
        self.head = Ensemble([head for head, _ in loaded.values()]) if loaded else None
        self.about = {name: about for name, (_, about) in loaded.items()}
        chosen = self._choose_modality(modality)
        visual, audio = (
            self.recipe.place_backbone(key) if chosen in (key, "av") else ""
            for key in ("visual", "audio")
        )
        self.extractor = Extractor(
            visual,
            audio,
            chosen,
            (self.recipe.backbones.get("audio") or {}).get("layers") or Hearing.layers,
            device,
            config,
            rotate,
        )
        for name, about in self.about.items():
            check_features(about, self.extractor.about, f"recipe {name}")

    def _choose_modality(self, modality: str) -> str:
        """Return what the recipe looks at of what was asked for."""
        if modality not in MODALITIES:
            raise UsageError(f"unknown modality {modality!r}; choose {', '.join(MODALITIES)}")
        uses = self.head.uses if self.head else ("visual",)
        known = "av" if len(uses) == 2 else uses[0]
        if modality not in (known, "av") and known != "av":
            raise UsageError(f"the recipe {self.recipe.name} is {known} only, not {modality}")
        return known if modality == "av" else modality

    def describe(self, subject: str, smoothing: Smoothing | None) -> dict[str, Any]:
        """Return what the results depend on, for their provenance.

        Without smoothing, that of the recipe is recorded as what `smooth` is to do by default.
        """
        about = self.recipe.describe() | self.extractor.describe(subject)
        own = about | {"smoothing": smoothing and asdict(smoothing)}
        return own if smoothing else own | {"to_smooth": about["smoothing"]}

    def predict_frames(self, path: Path) -> Iterator[FramePrediction]:
        """Yield every frame of a video with all its faces, unsmoothed, in order.

        With a head that looks at windows of frames, each comes a window later.

        Raises:
            InputError: the file cannot be read or holds no frame.
        """
        stream = self.extractor.extract_frames(path)
        count = self.extractor.config.queue_frames
        chunks = iter(lambda: list(itertools.islice(stream, count)), [])
        if self.head and self.head.window > 1:
            read = self._read_windows(self.head, chunks)
        else:
            read = itertools.chain.from_iterable(map(self._read_chunk, chunks))
        for reading in read:
            yield _combine(reading)

    def _read_windows(
        self, head: Ensemble, chunks: Iterator[list[FrameFeatures]]
    ) -> Iterator[FrameReading]:
        stream = SubjectStream(head, self.extractor.widths[0])
        for chunk in chunks:
            yield from stream.push(chunk)
        yield from stream.finish()

    def _read_chunk(self, chunk: list[FrameFeatures]) -> Iterator[FrameReading]:
        """Read each face of some frames, and the sound of each by itself."""
        wide, _ = self.extractor.widths
        count = [len(frame.faces) for frame in chunk]
        faces = np.array([row for frame in chunk for row in frame.visual])
        faces = faces.reshape(sum(count), wide)
        audio = np.array([frame.audio for frame in chunk])  # (F, Da)
        has_audio = np.array([frame.has_audio for frame in chunk])  # (F,)
        p, _ = self.read(  # (N + F, 8): first the faces, then the sound of each frame
            np.concatenate([faces, np.zeros((len(chunk), wide))]),
            np.concatenate([np.repeat(audio, count, axis=0), audio]),
            np.arange(len(faces) + len(chunk)) < len(faces),
            np.concatenate([np.repeat(has_audio, count), has_audio]),
        )
        rows = iter(p)
        for frame, sound in zip(chunk, p[len(faces) :], strict=True):
            subjects = {face.subject: next(rows) for face in frame.faces}
            yield FrameReading(frame, subjects, sound)

    def read(
        self,
        visual: NDArray[np.floating[Any]],
        audio: NDArray[np.floating[Any]],
        has_visual: NDArray[np.bool_],
        has_audio: NDArray[np.bool_],
    ) -> tuple[Probabilities, NDArray[np.str_]]:
        """Turn features (T, Dv), (T, Da) and their masks (T,) into probabilities (T, 8).

        Also returns what each row rests on: av, visual, audio, or none, where they are NaN.
        Features are rounded as they are in files, so that these give the same.
        """
        v, a = round_features(visual), round_features(audio)
        if self.head:
            return self.head.classify(v, a, has_visual, has_audio)  # of consecutive frames
        assert isinstance(self.extractor.encoder, Encoder)
        p = np.full((len(v), N_CLASSES), np.nan, np.float32)
        if has_visual.any():
            p[has_visual] = self.extractor.encoder.read(torch.from_numpy(v[has_visual]).float())
        return p, name_readings(("visual",), has_visual, has_audio, p)

    def predict_video(
        self,
        path: Path,
        subject: str = "main",
        smooth: bool | Smoothing = True,
        progress: Progress = lambda done, total, what: None,
        video: str | None = None,
    ) -> pd.DataFrame:
        """Return the prediction table of a video, picture, sound or feature file.

        Every decoded frame has one row, or one for each subject with `subject="all"`. The
        column `subject` holds what was asked for, and the track's number for `all`. It is smoothed
        as the recipe has it, in another way, or not at all. A frame without a face rests on its
        sound, if there is any; with `all` only where nobody is seen in the whole video, for whose
        voice it is nobody knows. The column `video` holds `video`, or else the file's name without
        suffix; of feature files what they say.

        Raises:
            InputError: the file cannot be read or holds no frame.
            UsageError: no such way to choose a subject; or features are to be rotated.
            CheckpointError: features of other backbones than the recipe's.
        """
        if path.suffix == FEATURES_SUFFIX:
            if self.extractor.rotate:
                raise UsageError(f"{path} holds features; rotate the video they are made of")
            table = self._predict_features([read_features(path)], str(path))
        else:
            table = self._predict_media(path, subject, progress, video or path.stem)
        if not smooth:
            return table
        return smooth_table(table, self.recipe.smoothing if smooth is True else smooth)

    def _predict_features(self, subjects: list[Features], name: str) -> pd.DataFrame:
        """Read the features of each subject, a row a frame; by frame, then subject."""
        if not self.about:
            raise CheckpointError(f"the recipe {self.recipe.name} has no head to read {name} with")
        tables = []
        for features in subjects:
            for about in self.about.values():
                check_features(about, features.about, name)
            has_visual, has_audio = (
                getattr(features, f"has_{key}") & bool(self.extractor.about[key])
                for key in ("visual", "audio")
            )
            p, source = self.read(features.visual, features.audio, has_visual, has_audio)
            tables.append(_build_features_table(features, has_visual, p, source))
        return pd.concat(tables).sort_values("frame", kind="stable", ignore_index=True)

    def _predict_media(
        self, path: Path, subject: str, progress: Progress, video: str
    ) -> pd.DataFrame:
        clock, faces, absent = array("d"), array("d"), array("d")
        silent = np.full(N_CLASSES, np.nan)
        for found in self.predict_frames(path):
            sound = silent if found.sound is None else found.sound
            clock.extend(map(float, (found.frame, found.time_s, found.has_audio, *sound)))
            for face in found.faces:
                row = (found.frame, face.subject, *face.box, face.score, face.source == BOTH)
                faces.extend(map(float, (*row, *face.probabilities)))
            for who, p in found.absent.items():
                absent.extend(map(float, (found.frame, who, *p)))
            progress(found.frame, None, "")
        return _build_table(
            decode_name(video),
            np.frombuffer(clock, np.float64).reshape(-1, 3 + N_CLASSES),
            np.frombuffer(faces, np.float64).reshape(-1, 8 + N_CLASSES),
            np.frombuffer(absent, np.float64).reshape(-1, 2 + N_CLASSES),
            subject,
        )


def _build_table(
    video: str,
    clock: NDArray[np.float64],
    faces: NDArray[np.float64],
    absent: NDArray[np.float64],
    strategy: str,
) -> pd.DataFrame:
    """Lay out one row a frame and subject.

    From frames (F, 11): number, time, whether there is sound, what the sound says; the faces
    (N, 16) of all subjects: frame, subject, box, score, whether they rest on sound too,
    probabilities; and of those who are absent (M, 10): frame, subject, probabilities.
    """
    frames = clock[:, 0].astype(np.int64)
    numbers, who, boxes = faces[:, 0].astype(int), faces[:, 1].astype(int), faces[:, 2:6]
    frame, subject, index = lay_rows(frames, numbers, who, boxes, strategy)  # each (R,)
    found = index >= 0
    # One row of NaN behind the faces, for rows without one: index -1.
    values = np.concatenate([faces, np.full((1, faces.shape[1]), np.nan)])[index]  # (R, 16)
    times = clock[np.searchsorted(frames, frame)]  # (R, 11)
    around = _look_up(absent, frame, subject)  # (R, 8)
    heard = times[:, 2] == 1
    if strategy == "all":  # whose the voice is nobody knows, but where there is nobody else
        heard &= subject == NOBODY
        around[subject == NOBODY] = times[subject == NOBODY, 3:]
    else:
        around = np.where(np.isnan(around), times[:, 3:], around)
    p = np.where(found[:, None], values[:, 8:], around)  # (R, 8)
    heard = np.where(found, values[:, 7] == 1, heard)
    return _lay_columns(
        video=video,
        frame=frame,
        time_s=times[:, 1],
        subject=subject.astype(str) if strategy == "all" else strategy,
        found=found,
        place=values[:, [6, 2, 3, 4, 5]],
        source=name_sources(found, heard, ~np.isnan(p[:, 0])),
        p=p,
    )


def _look_up(
    rows: NDArray[np.float64], frame: NDArray[np.int64], subject: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the probabilities of (frame, subject, probabilities) rows for each of (R,), or NaN."""
    known = pd.DataFrame(rows[:, 2:], pd.MultiIndex.from_arrays([rows[:, 0], rows[:, 1]]))
    return known.reindex(pd.MultiIndex.from_arrays([frame, subject])).to_numpy(copy=True)


def _build_features_table(
    features: Features,
    found: NDArray[np.bool_],
    p: Probabilities,
    source: NDArray[np.str_],
) -> pd.DataFrame:
    place = np.column_stack([features.face_score, features.box])  # (T, 5)
    return _lay_columns(
        video=str(features.about["video"]),
        frame=features.frame,
        time_s=features.time_s,
        subject=str(features.about["subject"]),
        found=found,
        place=np.where(found[:, None], place, np.nan),
        source=source,
        p=p.astype(np.float64),
    )


def _lay_columns(
    place: NDArray[np.floating[Any]],
    source: NDArray[np.str_],
    p: NDArray[np.float64],
    **columns: Any,
) -> pd.DataFrame:
    """Return a table of score and box (R, 5), sources (R,), probabilities (R, 8) and the rest."""
    columns |= dict(zip(("face_score", *"xywh"), place.T, strict=True))
    return set_probabilities(pd.DataFrame(columns), p, source)[COLUMNS]


def predict_video(
    path: Path | str,
    recipe: str | Sequence[str] = "compact",
    subject: str = "main",
    smooth: bool | Smoothing = True,
    modality: str = "av",
    rotate: int = 0,
) -> pd.DataFrame:
    """Return the prediction table of one video; see `Predictor.predict_video`.

    For several videos, make a `Predictor` once: loading takes longer than a short clip.
    """
    predictor = Predictor(recipe, modality=modality, rotate=rotate)
    return predictor.predict_video(Path(path), subject, smooth)


def predict_frames(
    path: Path | str, recipe: str | Sequence[str] = "compact"
) -> Iterator[FramePrediction]:
    """Yield every frame of a video with all its faces as it is done; see `Predictor`."""
    return Predictor(recipe).predict_frames(Path(path))
