"""Features of composed videos and of stills, without encoding, decoding and detection of videos.

The pictures and the audio of benchmarks/compose.py go into the encoders; faces are cropped where
they are drawn, with the deviations of a detector. So an hour of material takes minutes. Features of
train data may be of encoders that did not see it (benchmarks/held_out.py): a train video has images
of one fold, and all its speech is of speakers that are held out. They count as features of the
encoders in use. Used by benchmarks/embedded_heads.py.

Writes OUT/<split>/labels and plan as compose.py, OUT/features/<split>/<name>.safetensors, and
OUT/stills as benchmarks/stills.py. Finished files are not made again.
"""

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from compose import FaceImages, Voices, mix_audio, plan_videos, read_faces, write_plan
from held_out import CLIPS, FaceFeatures, VoiceFeatures, fit_face_maps, fit_voice_map
from numpy.typing import NDArray
from painting import Floats, Image, Painter
from sequences import FPS, Bools, Doubles, Track, Video, draw_drift
from stills import write_stills

from abawcli.faces.crop import crop_frame
from abawcli.formats.atomic import write_whole
from abawcli.formats.features import Features, round_features, write_features
from abawcli.formats.hashing import hash_file
from abawcli.formats.metadata import Backbones, FeaturesMetadata, FeatureSource
from abawcli.media.audio import Audio
from abawcli.models.encoder import find_encoder, load_feature_encoder
from abawcli.models.recipes import find_weights

Halves = NDArray[np.float16]
SPLITS = ("train", "valid")
# Of the detector's box to the face images' side (benchmarks/crop_scale.py): median, and deviation
# of the logarithm from image to image. Within a track the box is steadier.
BOX_SCALE, BOX_SPREAD, BOX_DRIFT = 1 / 0.98, 0.1, 0.015


@dataclass(frozen=True)
class Work:
    """What features are made of."""

    faces: Path
    voices: Path
    out: Path
    face: str  # encoders in use: names or files
    voice: str
    folds: Path | None = None  # csv: file, fold; None: no held-out features of faces
    fold_encoders: tuple[str, ...] = ()  # of each fold: trained without its images
    held_voice: str | None = None  # trained without the speakers `is_held`; None: likewise
    videos: tuple[int, int] = (180, 72)  # train, valid
    seed: int = 0

    def count_videos(self, split: str) -> int:
        """Return the number of videos of a split."""
        return self.videos[split == "valid"]

    def find_file(self, split: str, name: str) -> Path:
        """Return the feature file of a person in a video."""
        return self.out / "features" / split / f"{name}.safetensors"

    def describe(self) -> dict[str, object]:
        """Return what the features depend on, JSON-like."""
        face = [hash_file(find_encoder(name)) for name in (self.face, *self.fold_encoders)]
        names = [name for name in (self.voice, self.held_voice) if name]
        voice = [hash_file(find_voice(name)) for name in names]
        return {"face": face, "voice": voice, "videos": list(self.videos), "seed": self.seed}


def find_voice(name: str) -> Path:
    """Return the file of a voice encoder: that path, or the embedded one of that name."""
    path = Path(name)
    return path if path.suffix == ".safetensors" else find_weights(name)


def is_held(number: int) -> bool:
    """Return whether a corpus' speaker, by the order of their names, is held out: a fifth are."""
    return number % 5 == 2


def hold_speakers(voices: Voices) -> Bools:
    """Return which clips (N,) are of speakers that are held out."""
    speakers = voices.table.groupby("corpus")["speaker"].unique()
    held = {name for names in speakers for k, name in enumerate(sorted(names)) if is_held(k)}
    return voices.table["speaker"].isin(held).to_numpy()


@dataclass(frozen=True)
class Picture:
    """A drawn picture, to be cropped as a frame of a video is."""

    light: Image  # (H, W)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.light.shape[1], self.light.shape[0]

    def region_rgb(self, x0: int, y0: int, x1: int, y1: int) -> Image:
        """Return a region (y1 - y0, x1 - x0, 3)."""
        return np.repeat(self.light[y0:y1, x0:x1, None], 3, axis=2)


def place_boxes(track: Track, seed: Sequence[int]) -> Doubles:
    """Return the boxes (T, 4), as x, y, w, h, in which a detector would find a person's face."""
    random = np.random.default_rng((*seed, 3))
    spread = random.normal(0, BOX_SPREAD, int(max(track.image.max(), track.other.max())) + 1)
    own, other = spread[np.maximum(track.image, 0)], spread[np.maximum(track.other, 0)]
    drift = [BOX_DRIFT * draw_drift(len(own), random) for _ in range(3)]
    scale = BOX_SCALE * np.exp((1 - track.mix) * own + track.mix * other + drift[0])
    side = track.side * scale
    centre = track.centre + track.side[:, None] * np.stack(drift[1:], axis=1)
    return np.column_stack([centre - side[:, None] / 2, side, side])


class Maker:
    """Loaded encoders and sources of a split, for any number of videos."""

    def __init__(self, work: Work, split: str) -> None:
        self.work, self.split = work, split
        self.held = split == "train"
        folds = work.folds if self.held else None
        self.faces: FaceImages = read_faces(work.faces, split, folds)
        self.voices = Voices(work.voices, split)
        if self.held and work.held_voice:
            self.voices.keep(hold_speakers(self.voices))
        self.backbones = describe_backbones(work)

    @cached_property
    def encoders(self) -> list[FaceFeatures]:
        """The image encoder of each fold, or the one in use."""
        if not self.held or self.work.folds is None:
            return [FaceFeatures(self.work.face)]
        maps = load_maps(self.work)
        return [FaceFeatures(e, maps[f"face{k}"]) for k, e in enumerate(self.work.fold_encoders)]

    @cached_property
    def voice(self) -> VoiceFeatures:
        """The audio encoder."""
        if not self.held or self.work.held_voice is None:
            return VoiceFeatures(self.work.voice)
        return VoiceFeatures(self.work.held_voice, load_maps(self.work)["voice"])

    def plan(self) -> list[Video]:
        """Return the plans of all videos."""
        count = self.work.count_videos(self.split)
        return list(plan_videos(self.faces, self.voices, self.split, count, self.work.seed))

    def make(self, video: Video) -> None:
        """Write plan and features of a video."""
        write_plan(video, self.work.out / self.split)
        for name, features in self.extract(video):
            path = self.work.find_file(self.split, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_features(features, path, {})

    def extract(self, video: Video) -> Iterator[tuple[str, Features]]:
        """Yield name and features of each person."""
        signal = mix_audio(video, self.voices)
        audio, has_audio = self._encode_audio(video, signal)
        painter = Painter(video, self.faces.files, signal)
        light = [
            np.clip(painter.draw_light(k), 0, 255).astype(np.uint8) for k in range(video.frames)
        ]
        encoder = self.encoders[max(video.fold, 0)]
        source = FeatureSource("composed", f"fold {video.fold}" if video.fold >= 0 else None)
        for name, track in video.tracks.items():
            boxes, there = place_boxes(track, video.seed), track.image >= 0
            visual = self._encode_faces(light, boxes, there, encoder)
            yield (
                name,
                Features(
                    frame=np.arange(1, video.frames + 1),
                    time_s=np.arange(video.frames) / FPS,
                    visual=visual,
                    audio=audio,
                    has_visual=there,
                    has_audio=has_audio,
                    box=np.where(there[:, None], boxes, np.nan).astype(np.float32),
                    face_score=np.where(there, 1, np.nan).astype(np.float32),
                    quality=np.full((video.frames, 4), np.nan, np.float32),
                    metadata=FeaturesMetadata(name, "main", self.backbones, source),
                ),
            )

    def _encode_faces(
        self, light: Sequence[Image], boxes: Doubles, there: Bools, encoder: FaceFeatures
    ) -> Halves:
        """Return features (T, Dv), 0 without a face."""
        how, frames = encoder.preprocess, np.flatnonzero(there)
        cut = [
            crop_frame(Picture(light[k]), boxes[k].tolist(), how.crop_scales, how.resize,
                       resample=how.resample)
            for k in frames
        ]  # fmt: skip
        found = round_features(encoder.encode(np.array(cut)))
        features = np.zeros((len(there), found.shape[1]), np.float16)
        features[frames] = found
        return features

    def _encode_audio(self, video: Video, signal: Floats) -> tuple[Halves, Bools]:
        """Return features (T, Da) and their mask (T,)."""
        aligner = self.voice.align([Audio(signal, 0.0)] if video.has_audio else [])
        rows = [aligner.at(k / FPS) for k in range(video.frames)]
        return np.stack([row for row, _ in rows]), np.array([has for _, has in rows])


def describe_backbones(work: Work) -> Backbones:
    """Return the backbones that the features count as."""
    visual = load_feature_encoder(work.face, torch.device("cpu"))[1]
    return Backbones(visual, VoiceFeatures(work.voice).describe())


def load_maps(work: Work) -> dict[str, Floats]:
    """Return the maps of held-out encoders, which are fitted at the first call."""
    path, maps = work.out / "maps.npz", {}
    if path.exists():
        with np.load(path) as stored:
            return dict(stored)
    if work.folds:
        faces = read_faces(work.faces, "train", work.folds)
        assert faces.folds is not None
        found = fit_face_maps(faces.files, faces.folds, work.fold_encoders, work.face)
        maps |= {f"face{fold}": weights for fold, weights in enumerate(found)}
    if work.held_voice:
        voices = Voices(work.voices, "train")
        seen = np.flatnonzero(~hold_speakers(voices))
        clips = np.random.default_rng(0).permutation(seen)[:CLIPS]
        maps["voice"] = fit_voice_map(
            [voices.read(int(k)) for k in clips], work.held_voice, work.voice
        )
    with write_whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **maps)
    return maps


def make_stills(work: Work) -> None:
    """Write features of the train images, as those of videos without audio, in random order."""
    maker = Maker(work, "train")
    if (work.out / "stills" / "labels").exists():
        return
    faces, label = maker.faces, np.zeros(len(maker.faces.files), np.int64)
    for value, images in faces.by_label.items():
        label[images] = value
    folds = np.zeros(len(label), np.int64) if faces.folds is None else faces.folds
    parts = [np.flatnonzero(folds == fold) for fold in range(len(maker.encoders))]
    encoded = [
        encoder.encode_files([faces.files[k] for k in part])
        for encoder, part in zip(maker.encoders, parts, strict=True)
    ]
    visual = round_features(np.concatenate(encoded))
    write_stills(work.out / "stills", visual, label[np.concatenate(parts)], maker.backbones)


MAKERS: dict[str, Maker] = {}  # of a worker process, by split


def start_worker(work: Work, split: str) -> None:
    """Load everything once in a process."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    MAKERS[split] = Maker(work, split)


def work_share(split: str, share: int, shares: int) -> int:
    """Make the videos of one share; return how many were not there."""
    maker, made = MAKERS[split], 0
    for video in maker.plan()[share::shares]:
        if not all(maker.work.find_file(split, name).exists() for name in video.tracks):
            maker.make(video)
            made += 1
    return made


def check_sources(work: Work) -> None:
    """Make sure that the folder's features are of the same encoders and plans."""
    path, described = work.out / "sources.json", work.describe()
    if path.exists() and json.loads(path.read_text()) != described:
        raise SystemExit(
            f"{work.out} holds features of other encoders or plans; give another --out"
        )
    work.out.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(described, indent=1))


def make_features(work: Work, workers: int, splits: Sequence[str] = SPLITS) -> None:
    """Make all features that are not there: of videos, and of stills beside train videos."""
    check_sources(work)
    load_maps(work)
    context = multiprocessing.get_context("spawn")
    for split in splits:
        with ProcessPoolExecutor(workers, context, start_worker, (work, split)) as pool:
            shares = range(workers)
            made = sum(pool.map(work_share, [split] * workers, shares, [workers] * workers))
        print(f"{split}: features of {made} videos made", flush=True)
    if "train" in splits:
        make_stills(work)
