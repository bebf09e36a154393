"""From pixels and sound to labels, as a stream: features of each frame, a head, smoothing.

What is kept of a whole video is numbers: about 150 bytes a face and frame.
"""

import itertools
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from abawcli.config import MODALITIES, SUBJECTS, Hearing, Prediction, Smoothing
from abawcli.device import choose_device
from abawcli.errors import CheckpointError, UsageError
from abawcli.formats.crops import find_sound
from abawcli.formats.features import (
    FEATURES_SUFFIX,
    Features,
    read_features,
    round_features,
)
from abawcli.formats.names import decode_name
from abawcli.formats.strategy import Stretch, Stretches
from abawcli.labels import N_CLASSES
from abawcli.models.encoder import Encoder
from abawcli.models.ensemble import Ensemble
from abawcli.models.extractor import Extractor, FrameFeatures
from abawcli.models.heads import check_features, load_head, name_readings
from abawcli.models.recipes import join_recipes
from abawcli.models.subject_stream import FrameReading, SubjectStream
from abawcli.sources import BOTH, FACE
from abawcli.stages.crop import check_stretches, lay_stretches
from abawcli.stages.extract import extract_crops
from abawcli.stages.predicted_rows import Reading, lay_features
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

    def describe(
        self, subject: str, smoothing: Smoothing | None, crops: bool = False
    ) -> dict[str, Any]:
        """Return what the results depend on, of videos or of crops, for their provenance.

        Without smoothing, that of the recipe is recorded as what `smooth` is to do by default.
        """
        about = self.recipe.describe() | self.extractor.describe(subject, crops)
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
        subject: str | Stretches | None = None,
        smooth: bool | Smoothing = True,
        progress: Progress = lambda done, total, what: None,
        video: str | None = None,
        audio_from: Path | None = None,
    ) -> pd.DataFrame:
        """Return the prediction table of a video, picture, sound, feature file or folder of crops.

        Every decoded frame has one row, or one for each subject with `subject="all"`. The
        column `subject` holds what was asked for, and the track's number for `all`. A frame
        without a face rests on its sound, if there is any; with `all` only where nobody is seen in
        the whole video, for whose voice it is nobody knows.

        Args:
            path: what to label.
            subject: one of SUBJECTS, `track N`, or the stretches of a strategy file; None: the
                main one, or whom crops show. Features have theirs.
            smooth: as the recipe has it, in another way, or not at all.
            progress: called as frames are done.
            video: what the column `video` holds; by default the name of the file without
                suffix, or of the folder; of feature files what they say.
            audio_from: folder with the videos that crops were made from.

        Raises:
            InputError: the file cannot be read or holds no frame, or not the track or frames that
                are asked for; or crops are of somebody else, or not complete.
            UsageError: no such way to choose a subject; or features or crops are to be rotated.
            CheckpointError: features of other backbones than the recipe's.
        """
        if os.path.isdir(path):
            table = self._predict_crops(path, subject, progress, video, audio_from)
        elif path.suffix == FEATURES_SUFFIX:
            table = self._predict_file(path)
        else:
            name, people = video or path.stem, subject or SUBJECTS[0]
            if isinstance(people, str):
                people = (Stretch(people),)
            table = self.predict_people(path, {name: people}, progress)[name]
        if not smooth:
            return table
        return smooth_table(table, self.recipe.smoothing if smooth is True else smooth)

    def _predict_file(self, path: Path) -> pd.DataFrame:
        if self.extractor.rotate:
            raise UsageError(f"{path} holds features; rotate the video they are made of")
        if not self.about:
            raise CheckpointError(f"the recipe {self.recipe.name} has no head to read {path} with")
        return self._predict_features([read_features(path)], str(path))

    def _predict_crops(
        self,
        folder: Path,
        subject: str | Stretches | None,
        progress: Progress,
        video: str | None,
        audio_from: Path | None,
    ) -> pd.DataFrame:
        if not (subject is None or isinstance(subject, str)):
            raise UsageError(f"{folder} shows whom it was cropped for; leave out the strategy")
        sound = find_sound(folder, audio_from, video or folder.name)
        made = extract_crops(self.extractor, folder, subject, sound, progress, video)
        return self._predict_features(made, str(folder))

    def _predict_features(self, subjects: list[Features], name: str) -> pd.DataFrame:
        """Read the features of each subject, a row a frame; by frame, then subject."""
        tables = []
        for features in subjects:
            for about in self.about.values():
                check_features(about, features.about, name)
            has_visual, has_audio = (
                getattr(features, f"has_{key}") & bool(self.extractor.about[key])
                for key in ("visual", "audio")
            )
            p, source = self.read(features.visual, features.audio, has_visual, has_audio)
            tables.append(lay_features(features, has_visual, p, source))
        return pd.concat(tables).sort_values("frame", kind="stable", ignore_index=True)

    def predict_people(
        self,
        path: Path,
        people: Mapping[str, Stretches],
        progress: Progress = lambda done, total, what: None,
    ) -> dict[str, pd.DataFrame]:
        """Return a table of a video for each choice of people, by its name, without smoothing.

        The video is read once. The names are what the column `video` holds.

        Raises:
            InputError, UsageError: as `predict_video`.
        """
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
        reading = Reading(
            np.frombuffer(clock, np.float64).reshape(-1, 3 + N_CLASSES),
            np.frombuffer(faces, np.float64).reshape(-1, 8 + N_CLASSES),
            np.frombuffer(absent, np.float64).reshape(-1, 2 + N_CLASSES),
        )
        for stretches in people.values():
            check_stretches(stretches, reading.subject, int(reading.frames[-1]), path)
        return {
            name: reading.lay_table(
                decode_name(name), lay_stretches(*reading.columns(), stretches), stretches
            )
            for name, stretches in people.items()
        }


def predict_video(
    path: Path | str,
    recipe: str | Sequence[str] = "compact",
    subject: str | Stretches | None = None,
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
