"""Backbones on a stream of frames and audio: the features of every face, frame by frame.

One thread decodes, one tracks and crops a bounded number of frames ahead; the networks run on
batches in the caller's thread.
"""

import itertools
import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
from abawcli.faces.crop import Region, crop_regions, cut_region
from abawcli.faces.detect import Detector, load_detector
from abawcli.faces.follow import follow_largest
from abawcli.faces.identity import Identity, load_identity
from abawcli.faces.pose import count_quarters
from abawcli.faces.quality import rate_faces
from abawcli.faces.track import FrameFaces, TrackedFace, track_faces
from abawcli.formats.features import round_features
from abawcli.formats.inputs import AUDIO_SUFFIXES
from abawcli.formats.json_values import JsonObject
from abawcli.formats.metadata import Backbones, Preprocess
from abawcli.media.recording import Recording, open_recording
from abawcli.media.video import TimedImage, check_rotation
from abawcli.models.classifiers import LoadedBackbones, load_audio_backbone
from abawcli.models.encoder import FeatureEncoder, load_feature_encoder
from abawcli.pipeline.audio_features import AudioEncoder, FrameAligner
from abawcli.pipeline.batching import CropFeatures, Crops, encode_in_batches, run_ahead
from abawcli.pipeline.crop_workers import CropWorkers

LOG = logging.getLogger(__name__)
Halves = NDArray[np.float16]


@dataclass(frozen=True)
class FaceFeatures(TrackedFace):
    """A subject in one frame, with the features of the face."""

    visual: Halves = field(kw_only=True)  # (Dv,)


@dataclass(frozen=True)
class FrameFeatures:
    """One frame, with the features of all subjects in it and of the audio around it.

    Features are rounded to half precision here, so that feature files give the same predictions.
    """

    frame: int  # number, from 1
    time_s: float
    faces: list[FaceFeatures]
    audio: Halves  # (Da,) 0 where not has_audio
    has_audio: bool
    reliable: bool = True  # the audio alone may label the frame


class Extractor:
    """Backbones, loaded once for any number of inputs."""

    def __init__(
        self,
        visual: str = COMPACT_FACE,
        audio: str = COMPACT_VOICE,
        modality: str = "av",
        layers: str = AudioFeatures.layers,
        *,
        device: str = "auto",
        config: Prediction | None = None,
        rotate: int = 0,
        onnx_input: str | Preprocess | None = None,
        flip: bool = False,
        workers: int = 1,
        loaded: LoadedBackbones | None = None,
    ) -> None:
        """Load the backbones; frames are rotated by `rotate`, as in `read_frames`.

        `onnx_input` is the preprocessing for an ONNX file, as in `load_face_classifier`. With
        `flip`, features are the mean of those of a crop and of its mirror image, in twice the
        time. Crops are decoded and resized by `workers` processes, or in a thread if it is 1;
        features do not depend on it. `loaded` backbones are used instead of loading others.

        Raises:
            UsageError: unknown modality, layers, device, rotation or input of an ONNX file.
            CheckpointError: weights are missing, or belong to another kind of network.
        """
        if modality not in MODALITY_CHOICES:
            raise UsageError(f"unknown modality {modality!r}; choose {', '.join(MODALITY_CHOICES)}")
        check_rotation(rotate)
        self.modality, self.rotate = modality, rotate
        self.config = config or Prediction()
        self.workers = CropWorkers(workers)
        self.encoder, self.audio_encoder = None, None
        made_visual, made_audio = None, None
        chosen = choose_device(device)
        if modality != "audio":
            if loaded and loaded.visual:
                backbone, made_visual = loaded.visual
                self.encoder = FeatureEncoder(backbone, chosen)
            else:
                self.encoder, made_visual = load_feature_encoder(visual, chosen, onnx_input)
            self.encoder.preprocess = replace(self.encoder.preprocess, flip=flip)
            made_visual = replace(made_visual, preprocess=self.encoder.preprocess)
        if modality != "visual":
            known = loaded and loaded.audio
            self.audio_encoder = AudioEncoder(known or load_audio_backbone(audio, layers), chosen)
            made_audio = self.audio_encoder.describe()
        self.backbones = Backbones(made_visual, made_audio)

    @cached_property
    def detector(self) -> Detector:
        """The detector; it is loaded for the first video."""
        return load_detector("retinaface", threads=1)

    @cached_property
    def identity(self) -> Identity:
        """The method of re-identification; it is loaded for the first video."""
        return load_identity(threads=1)

    @property
    def widths(self) -> tuple[int, int]:
        """Return the widths of visual and audio features; 0 for a modality that is left out."""
        return (
            self.encoder.dim if self.encoder else 0,
            self.audio_encoder.dim if self.audio_encoder else 0,
        )

    def encode_crops(self, crops: Crops) -> CropFeatures:
        """Turn crops (B, K, S, S, 3) into features (B, Dv)."""
        assert self.encoder is not None
        return np.asarray(self.encoder.encode(crops).cpu().numpy(), np.float32)

    def encode_audio(self, recording: Recording) -> FrameAligner:
        """Return the features of a recording's audio, to be aligned with the times of frames.

        Raises:
            InputError: there is no audio, and no other modality was requested.
        """
        if self.audio_encoder is None:
            return FrameAligner(iter(()), 0)
        if not recording.has_audio:
            self._report_no_audio(recording)
            return FrameAligner(iter(()), self.audio_encoder.dim)
        audio_frames = self.audio_encoder.encode_blocks(recording.read_audio())
        return FrameAligner(
            audio_frames, self.audio_encoder.dim, self.audio_encoder.config.window_s
        )

    def _report_no_audio(self, recording: Recording) -> None:
        why = recording.explain_lack("audio")
        if self.modality == "audio":
            raise InputError(f"{why}; use --modality visual")
        if recording.media:  # nobody expects any of pictures
            unknown = recording.is_unknown("audio")
            LOG.log(logging.WARNING if unknown else logging.INFO, "%s", why)

    def extract_frames(
        self, source: str | Path | Iterable[TimedImage], starts: Sequence[int] = ()
    ) -> Iterator[FrameFeatures]:
        """Yield every frame of a video, or 25 per second of audio without video, in order.

        `source` is a file, or RGB images (H, W, 3) with their times in seconds. From each of the
        frames `starts` on, the largest face is followed, as in `faces.follow`.

        Raises:
            InputError: the file cannot be read, or lacks a requested modality.
        """
        is_empty = True
        with open_recording(source) as recording:
            aligner = self.encode_audio(recording)
            with closing(self._encode_video(recording, aligner, starts)) as stream:
                for found, rows in stream:
                    faces = [
                        FaceFeatures(**vars(face), visual=round_features(row))
                        for face, row in zip(found.faces, rows, strict=True)
                    ]
                    audio = aligner.at(found.time_s)
                    yield FrameFeatures(found.frame, found.time_s, faces, *audio)
                    is_empty = False
        if is_empty:
            raise InputError(f"{source} holds neither a frame nor a sample of audio")

    def _encode_video(
        self, recording: Recording, aligner: FrameAligner, starts: Sequence[int]
    ) -> Generator[tuple[FrameFaces, list[CropFeatures]]]:
        """Yield every frame's faces, if they are requested, with a row of features for each."""
        if recording.is_unknown("video"):
            raise InputError(recording.explain_lack("video"))
        has_video = recording.has_video
        if not has_video and self.modality == "av":
            _report_no_video(recording)
        if self.encoder and (has_video or not self.audio_encoder):
            how = self.encoder.preprocess
            resize = partial(
                crop_regions, scales=how.crop_scales, side=how.resize, resample=how.resample
            )
            # Closed whatever happens: its thread must not outlive the recording.
            with closing(self._cut_faces(recording, how, starts)) as regions:
                crops = self.workers.map(resize, regions, recording.path or "the images")
                yield from encode_in_batches(crops, self.encode_crops, self.config)
        elif has_video:
            for frame in recording.read_frames():
                yield FrameFaces(frame.frame, frame.time_s, []), []
        else:
            for number, time_s in enumerate(_tick(aligner), 1):
                yield FrameFaces(number, time_s, []), []

    def _cut_faces(
        self, recording: Recording, how: Preprocess, starts: Sequence[int]
    ) -> Generator[tuple[FrameFaces, list[Region]]]:
        """Yield every frame's faces and the regions of their crops."""
        frames = recording.read_frames(self.rotate)
        # Decoding has a thread of its own: it takes a third of the time before the networks.
        with closing(run_ahead(frames, self.config.decoded_frames)) as decoded:
            tracked = track_faces(decoded, self.detector, identity=self.identity)
            followed = follow_largest(tracked, self.identity, starts)
            for frame, found in rate_faces(followed):
                turns = [count_quarters(face.landmarks) for face in found.faces]
                yield (
                    found,
                    [
                        cut_region(frame, face.box, how.crop_scales, turn)
                        for face, turn in zip(found.faces, turns, strict=True)
                    ],
                )

    def describe(self, subject: str, crops: bool = False) -> JsonObject:
        """Return the settings that features of videos or crops depend on, for their provenance."""
        settings = self.backbones.to_settings() | {"subject": subject}
        if self.encoder and not crops:
            settings["detector"] = {"name": self.detector.name, "sha256": self.detector.sha256}
            settings["identity"] = {"name": self.identity.name, "sha256": self.identity.sha256}
            settings |= {"detection": asdict(Detection()), "tracking": asdict(Tracking())}
            settings["rotate"] = self.rotate
        return settings


def _report_no_video(recording: Recording) -> None:
    """Warn of a file without video, unless its suffix is that of an audio file."""
    path = recording.path
    if path and path.suffix.lower() not in AUDIO_SUFFIXES:
        LOG.warning("%s has no video: only its audio is labelled, 25 rows a second", path)


def _tick(aligner: FrameAligner) -> Iterator[float]:
    """Yield the times of rows for audio without a video, from its beginning to its end."""
    aligner.at(-np.inf)  # reads the beginning
    for k in itertools.count():
        time_s = aligner.start_s + k / Media.fallback_fps
        aligner.at(time_s)
        if not time_s < aligner.end_s:
            return
        yield time_s
