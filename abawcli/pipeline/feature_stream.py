"""Backbones on a stream of frames and sound: features of every face as they come.

One thread decodes, follows and crops a bounded number of frames ahead; the networks work on
batches in the caller's thread.
"""

import itertools
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from abawcli.config import (
    COMPACT_FACE,
    COMPACT_VOICE,
    MODALITY_CHOICES,
    AudioFeatures,
    Detection,
    Media,
    Prediction,
    Tracking,
)
from abawcli.device import choose_device
from abawcli.errors import InputError, UsageError
from abawcli.faces.crop import crop_frame
from abawcli.faces.detect import Detector, load_detector
from abawcli.faces.identity import Identity, load_identity
from abawcli.faces.pose import count_quarters
from abawcli.faces.quality import rate_faces
from abawcli.faces.track import TrackedFace, track_faces
from abawcli.formats.inputs import AUDIO_SUFFIXES
from abawcli.formats.json_values import JsonObject
from abawcli.formats.metadata import Backbones, Preprocess
from abawcli.media.audio import read_audio_blocks
from abawcli.media.pictures import identify_picture
from abawcli.media.streams import open_streams
from abawcli.media.video import check_rotation, read_frames
from abawcli.models.audio_backbones import build_audio_backbone
from abawcli.models.encoder import load_feature_encoder
from abawcli.pipeline.audio_features import AudioEncoder, FrameAligner
from abawcli.pipeline.batching import Crops, Encode, Rows, encode_in_batches

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeenFrame:
    """A frame whose faces have been cut out."""

    number: int  # from 1
    time_s: float
    faces: list[TrackedFace]


def encode_faces(
    path: str | Path,
    detector: Detector,
    identity: Identity,
    how: Preprocess,
    encode: Encode,
    config: Prediction,
    rotate: int = 0,
) -> Iterator[tuple[SeenFrame, list[Rows]]]:
    """Yield every frame of a video with a row for each face that was followed in it, in order.

    `rotate` is as in `read_frames`.

    Raises:
        InputError: the file cannot be read or holds no frame.
    """

    path = Path(path)

    def cut() -> Iterator[tuple[SeenFrame, list[Crops]]]:
        followed = track_faces(read_frames(path, rotate), detector, identity=identity)
        for tracked in rate_faces(followed):
            frame = tracked.frame
            crops = [
                np.stack(crop_frame(frame, face.box, how.crop_scales, how.resize, turn))
                for face in tracked.faces
                for turn in [count_quarters(face.landmarks)]
            ]
            yield SeenFrame(frame.number, frame.time_s, tracked.faces), crops

    return encode_in_batches(cut(), encode, config)


@dataclass(frozen=True)
class FrameFeatures:
    """One frame, with features of all faces that were followed in it and of the sound."""

    frame: int  # from 1
    time_s: float
    faces: list[TrackedFace]
    visual: list[Rows]  # of each face (Dv,)
    audio: Rows  # (Da,) 0 where not has_audio
    has_audio: bool


class Extractor:
    """Backbones, loaded once for any number of inputs."""

    def __init__(
        self,
        visual: str = COMPACT_FACE,
        audio: str = COMPACT_VOICE,
        modality: str = "av",
        layers: str = AudioFeatures.layers,
        device: str = "auto",
        config: Prediction | None = None,
        rotate: int = 0,
    ) -> None:
        """Load the backbones; frames are turned by `rotate`, as in `read_frames`.

        Raises:
            UsageError: no such modality, layers, device or rotation.
            CheckpointError: weights are missing or are no such backbone.
        """
        if modality not in MODALITY_CHOICES:
            raise UsageError(f"unknown modality {modality!r}; choose {', '.join(MODALITY_CHOICES)}")
        check_rotation(rotate)
        self.modality, self.rotate = modality, rotate
        self.config = config or Prediction()
        self.encoder, self.sound = None, None
        made_visual, made_audio = None, None
        chosen = choose_device(device)
        if modality != "audio":
            self.encoder, made_visual = load_feature_encoder(visual, chosen)
        if modality != "visual":
            self.sound = AudioEncoder(build_audio_backbone(audio, layers), chosen)
            made_audio = self.sound.describe()
        self.backbones = Backbones(made_visual, made_audio)

    @cached_property
    def detector(self) -> Detector:
        """The detector, loaded for the first video."""
        return load_detector("retinaface", threads=1)

    @cached_property
    def identity(self) -> Identity:
        """What tells people apart, loaded for the first video."""
        return load_identity(threads=1)

    @property
    def widths(self) -> tuple[int, int]:
        """Return the widths of visual and audio features; 0 for a modality that is left out."""
        return self.encoder.dim if self.encoder else 0, self.sound.dim if self.sound else 0

    def encode_crops(self, crops: Crops) -> Rows:
        """Turn crops (B, K, S, S, 3) into features (B, Dv)."""
        assert self.encoder is not None
        return np.asarray(self.encoder.encode(crops).cpu().numpy(), np.float32)

    def listen(self, path: str | Path) -> FrameAligner:
        """Return the features of a file's sound, to be asked for at the times of frames.

        Raises:
            InputError: there is no sound, and nothing but sound was asked for.
        """
        path = Path(path)
        if self.sound is None:
            return FrameAligner(iter(()), 0)
        if identify_picture(path):
            if self.modality == "audio":
                raise InputError(f"{path} is a picture, without sound; use --modality visual")
            return FrameAligner(iter(()), self.sound.dim)
        with open_streams(path) as media:
            if media.audio is None:
                why, level = media.explain_lack("audio"), logging.INFO
                if self.modality == "audio":
                    raise InputError(f"{why}; use --modality visual")
                if media.is_unknown("audio"):
                    level = logging.WARNING
                LOG.log(level, "%s", why)
                return FrameAligner(iter(()), self.sound.dim)
        steps = self.sound.encode_blocks(read_audio_blocks(path))
        return FrameAligner(steps, self.sound.dim, self.sound.config.window_s)

    def extract_frames(self, path: str | Path) -> Iterator[FrameFeatures]:
        """Yield every frame of a video, or 25 a second of a sound without one, in order.

        Raises:
            InputError: the file cannot be read, or lacks what was asked for.
        """
        path = Path(path)
        aligner, is_empty = self.listen(path), True
        for seen, rows in self._see(path, aligner):
            audio, there = aligner.at(seen.time_s)
            yield FrameFeatures(seen.number, seen.time_s, seen.faces, rows, audio, there)
            is_empty = False
        if is_empty:
            raise InputError(f"{path} holds neither a frame nor a sample of sound")

    def _see(self, path: Path, aligner: FrameAligner) -> Iterator[tuple[SeenFrame, list[Rows]]]:
        has_video = _has_video(path)
        if not has_video and self.modality == "av" and path.suffix.lower() not in AUDIO_SUFFIXES:
            LOG.warning("%s has no video: only its sound is labelled, 25 rows a second", path)
        if self.encoder and (has_video or not self.sound):
            how = self.encoder.preprocess
            return encode_faces(
                path, self.detector, self.identity, how, self.encode_crops, self.config,
                self.rotate,
            )  # fmt: skip
        if has_video:
            return ((SeenFrame(frame.number, frame.time_s, []), []) for frame in read_frames(path))
        return ((SeenFrame(k, t, []), []) for k, t in enumerate(_tick(aligner), 1))

    def describe(self, subject: str, crops: bool = False) -> JsonObject:
        """Return what features depend on, of videos or of crops, for their provenance."""
        settings = self.backbones.to_settings() | {"subject": subject}
        if self.encoder and not crops:
            settings["detector"] = {"name": self.detector.name, "sha256": self.detector.sha256}
            settings["identity"] = {"name": self.identity.name, "sha256": self.identity.sha256}
            settings |= {"detection": asdict(Detection()), "tracking": asdict(Tracking())}
            settings["rotate"] = self.rotate
        return settings


def _has_video(path: Path) -> bool:
    """Tell whether a file has frames.

    Raises:
        InputError: it cannot be opened, or has some that cannot be decoded.
    """
    if identify_picture(path):
        return True
    with open_streams(path) as media:
        if media.is_unknown("video"):
            raise InputError(media.explain_lack("video"))
        return media.video is not None


def _tick(aligner: FrameAligner) -> Iterator[float]:
    """Yield the times of rows for a sound without a video, from its beginning to its end."""
    aligner.at(-np.inf)  # reads the beginning
    for k in itertools.count():
        time_s = aligner.start_s + k / Media.fallback_fps
        aligner.at(time_s)
        if not time_s < aligner.end_s:
            return
        yield time_s
