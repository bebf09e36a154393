"""Compose labelled videos with audio from labelled face images and labelled speech recordings.

They serve to train and compare fusion heads where labelled videos are missing. Each video is a
sequence of segments of one expression, in about the proportions of the ABAW challenge. All face
images of a person in a video resemble each other (there are no identities): one of each expression,
or two. An image turns, nods and blinks (benchmarks/motion.py), its mouth follows the audio, and
position, size, roll and light change slowly. Expressions fade into each other; these frames are not
annotated. Most segments have speech of the same label. Some frames have no face, some have a face
that exceeds the picture's border, and some have no annotation (-1, with any content). Some segments
have no speech, and some videos have no audio. Every eighth video, `<name>_pair`, shows two people
with separate expressions, of whom one speaks; it has two annotations, `<name>_pair_left` and
`_right`.

Differences from real videos: face and speech are independent given the label; an expression is a
still image that is warped; speech is acted. A label without recordings (Other) gets speech of any
label. Train videos are made from the train splits only and valid videos from the valid splits. With
the same seed, the plan is the same, and so are the files if the encoders are deterministic.

    python benchmarks/compose.py --faces DIR --voices DIR --out DIR [--split train|valid]
        [--videos 60] [--seed 0] [--check]

Writes OUT/videos/<name>.mp4, OUT/labels/<name>.txt in ABAW's format, and OUT/plan/<name>.csv:
frame, label, face, edge (part of the face is over the border), voice (this person speaks), and
the face's square x, y, side. With --check, faces are detected with the project's detector.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from painting import Floats, Image, Painter, read_grey
from sequences import (
    FPS,
    SECONDS,
    Corpora,
    Ints,
    Planner,
    Track,
    Utterance,
    Video,
    describe_labels,
)

from abawcli.config import AUDIO_RATE_HZ
from abawcli.faces.detect import Detector, load_detector
from abawcli.formats.abaw import write_annotation
from abawcli.formats.atomic import write_whole
from abawcli.formats.manifest import read_manifest
from abawcli.labels import IGNORE, index_of
from abawcli.media.audio import read_audio
from abawcli.media.video import read_frames

Doubles = NDArray[np.float64]
SPLITS = ("train", "valid")

LOOK_SIDE = 12  # pixels of the images by which faces are compared
FRAME_SAMPLES = AUDIO_RATE_HZ // FPS
SILENCE = 0.03  # of a clip's loudest: what is below at its ends is cut off
FADE = 160  # samples
AUDIO_BLOCK = 1024  # samples of an AAC frame
CHECK_EVERY = 10  # frames


class Voices:
    """The speech clips of one split, decoded on request, without silence at their ends."""

    def __init__(self, folder: Path, split: str) -> None:
        table = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)
        table = table[(table["split"].str.lower() == split) & (table["label"] != "")]
        table = table.reset_index(drop=True)
        self.table = table
        self.files = [folder / file for file in table["file"]]
        self.by_label: Corpora = self._group(table)

    @staticmethod
    def _group(table: pd.DataFrame) -> Corpora:
        """Return the clips of each label and corpus."""
        groups: dict[int, list[Ints]] = {}
        for (name, _), rows in table.groupby(["label", "corpus"]):
            groups.setdefault(index_of(str(name)), []).append(rows.index.to_numpy())
        return groups

    def keep(self, clips: NDArray[np.bool_]) -> None:
        """Use only some of all clips (N,)."""
        self.by_label = self._group(self.table[clips])

    @lru_cache(maxsize=256)  # noqa: B019 - one object, as long as the script runs
    def read(self, clip: int) -> Floats:
        """Return a clip's samples (N,) from the first sound to the last."""
        audio = read_audio(self.files[clip])
        samples = np.zeros(FRAME_SAMPLES, np.float32) if audio is None else audio.samples
        loud = np.flatnonzero(np.abs(samples) > SILENCE * np.abs(samples).max())
        return samples[loud[0] : loud[-1] + 1] if len(loud) else samples

    def measure(self, clip: int) -> float:
        """Return a clip's length in seconds."""
        return len(self.read(clip)) / AUDIO_RATE_HZ


@dataclass(frozen=True)
class FaceImages:
    """The labelled images of one split, without duplicates."""

    files: Sequence[Path]
    by_label: dict[int, Ints]  # numbers of the images of each label
    looks: Doubles  # (N, D) descriptions of unit length, without the mean brightness
    folds: Ints | None  # (N,)


def read_faces(folder: Path, split: str, folds: Path | None = None) -> FaceImages:
    """Read the images of a split; `folds` is a csv with columns file and fold."""
    found = read_manifest(folder / "manifest.csv", folder, soft=False)[split]
    labels = np.unique(found.labels).tolist()
    by_label = {label: np.flatnonzero(found.labels == label) for label in labels}
    looks = [_describe_look(read_grey(path)) for path in found.files]
    fold = None
    if folds:
        table = pd.read_csv(folds).set_index("file")["fold"]
        fold = table[[str(path.relative_to(folder)) for path in found.files]].to_numpy()
    return FaceImages(found.files, by_label, np.array(looks), fold)


def _describe_look(image: Image) -> Doubles:
    """Return the description (D,) of an image: its coarse pattern of brightness."""
    small = cv2.resize(image, (LOOK_SIDE, LOOK_SIDE), interpolation=cv2.INTER_AREA)
    look = small.ravel() - small.mean()
    return np.asarray(look / max(float(np.linalg.norm(look)), 1e-6), np.float64)


def mix_audio(video: Video, voices: Voices) -> Floats:
    """Return the audio (N,) of a video: its speech and the noise of a room."""
    random = np.random.default_rng((*video.seed, 1))
    count = video.frames * FRAME_SAMPLES
    hiss = random.normal(0, 1, count + 7).astype(np.float32)
    audio = video.room * np.convolve(hiss, np.full(8, 8**-0.5, np.float32), "valid")
    for utterance in video.speech:
        start = utterance.start * FRAME_SAMPLES
        samples = _cut_clip(voices.read(utterance.clip), utterance)
        audio[start : start + len(samples)] += samples
    return np.asarray(audio, np.float32).clip(-1, 1)


def _cut_clip(clip: Floats, utterance: Utterance) -> Floats:
    """Return the used part of a clip (N,): its beginning, faded out, at most at full scale."""
    samples = clip[: (utterance.stop - utterance.start) * FRAME_SAMPLES].copy()
    fade = min(FADE, len(samples))
    samples[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    loudest = max(float(np.abs(samples).max()), 1e-6)
    return samples * np.float32(min(utterance.gain, 0.95 / loudest))


def encode_pictures(
    container: av.container.OutputContainer, video: Video, painter: Painter
) -> "list[av.Packet[Any]]":
    """Encode all pictures as H.264 and return the packets."""
    # With mbtree, x264 does not always encode the same pictures to the same bytes.
    options = {"crf": "20", "preset": "veryfast", "x264-params": "mbtree=0"}
    stream = container.add_stream("libx264", rate=FPS, options=options)
    stream.width, stream.height = video.size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1  # the same file on every machine
    packets = []
    for index in range(video.frames):
        frame = av.VideoFrame.from_ndarray(painter.draw(index), format="yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, FPS)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def encode_audio(container: av.container.OutputContainer, audio: Floats) -> "list[av.Packet[Any]]":
    """Encode the audio as AAC and return the packets."""
    stream = container.add_stream("aac", rate=AUDIO_RATE_HZ, layout="mono")
    stream.bit_rate = 64_000
    packets = []
    for at in range(0, len(audio), AUDIO_BLOCK):
        block = audio[None, at : at + AUDIO_BLOCK]
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = AUDIO_RATE_HZ, Fraction(1, AUDIO_RATE_HZ)
        frame.pts = at
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def list_frames(track: Track) -> pd.DataFrame:
    """Return the plan of one person as a table, with one row per frame."""
    face = track.image >= 0
    columns = {
        "frame": np.arange(1, len(face) + 1),
        "label": track.labels,
        "face": face,
        "edge": track.edge,
        "voice": track.voice,
        "x": (track.centre[:, 0] - track.side / 2).round(1),
        "y": (track.centre[:, 1] - track.side / 2).round(1),
        "side": track.side.round(1),
    }
    table = pd.DataFrame(columns)
    table.loc[~face, ["x", "y", "side"]] = np.nan
    return table


def write_video(video: Video, files: Sequence[Path], voices: Voices, out: Path) -> None:
    """Write one video with its annotations and plans."""
    (out / "videos").mkdir(parents=True, exist_ok=True)
    path = out / "videos" / f"{video.name}.mp4"
    audio = mix_audio(video, voices)
    with write_whole(path) as temporary, av.open(str(temporary), "w") as container:
        packets = encode_pictures(container, video, Painter(video, files, audio))
        if video.has_audio:
            packets += encode_audio(container, audio)
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            container.mux(packet)
    write_plan(video, out)


def write_plan(video: Video, out: Path) -> None:
    """Write the annotations and plans of a video."""
    for folder in ("labels", "plan"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for name, track in video.tracks.items():
        write_annotation(track.labels, out / "labels" / f"{name}.txt")
        with write_whole(out / "plan" / f"{name}.csv") as temporary:
            list_frames(track).to_csv(temporary, index=False)


def plan_videos(
    faces: FaceImages,
    voices: Voices,
    split: str,
    videos: int,
    seed: int,
    seconds: tuple[float, float] = SECONDS,
) -> Iterator[Video]:
    """Yield the plans of the videos of a split."""
    chance = (seed, SPLITS.index(split))
    planner = Planner(
        faces.by_label, voices.by_label, voices.measure, chance, faces.looks, faces.folds
    )
    for number in range(videos):
        yield planner.plan_video(f"{split}{number:03d}", number, seconds)


def compose(
    faces: Path,
    voices: Path,
    out: Path,
    split: str,
    videos: int,
    seed: int,
    seconds: tuple[float, float] = SECONDS,
) -> Iterator[Video]:
    """Write videos of one split and yield each one's plan."""
    images, clips = read_faces(faces, split), Voices(voices, split)
    for video in plan_videos(images, clips, split, videos, seed, seconds):
        write_video(video, images.files, clips, out)
        yield video


def find_faces(video: Video, path: Path, detector: Detector) -> pd.DataFrame:
    """Detect faces in some frames; return for each person the plan and whether it was found."""
    rows = []
    for frame in read_frames(path):
        if frame.frame % CHECK_EVERY:
            continue
        (faces,) = detector.detect([frame.rgb()])
        k = frame.frame - 1
        for track in video.tracks.values():
            far = [
                np.hypot(x + w / 2 - track.centre[k, 0], y + h / 2 - track.centre[k, 1])
                for x, y, w, h in (face.box for face in faces)
            ]
            found = bool(far) and min(far) < 0.35 * track.side[k]
            what = "none" if track.image[k] < 0 else "edge" if track.edge[k] else "whole"
            rows.append((what, found))
    return pd.DataFrame(rows, columns=["drawn", "found"])


def summarise(videos: Sequence[Video]) -> None:
    """Print the content of the videos."""
    tracks = [track for video in videos for track in video.tracks.values()]
    labels = np.concatenate([track.labels for track in tracks])
    face = np.concatenate([track.image >= 0 for track in tracks])
    shares = {
        "annotated": labels != IGNORE,
        "with a face": face,
        "at the edge": np.concatenate([track.edge for track in tracks]),
        "with a voice": np.concatenate([track.voice for track in tracks]),
    }
    minutes = sum(video.frames for video in videos) / FPS / 60
    print(f"{len(videos)} videos, {minutes:.1f} minutes, {len(tracks)} people, {len(face)} rows")
    print(", ".join(f"{name} {mask.mean():.1%}" for name, mask in shares.items()))
    print(f"annotated: {describe_labels(labels)}")


def main() -> None:
    """Write the videos, and print their content and how well their faces are detected."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--faces", type=Path, required=True, help="Images and manifest.csv.")
    parser.add_argument("--voices", type=Path, required=True, help="Clips and manifest.csv.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="Look for the faces.")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    detector = load_detector("retinaface", threads=1) if options.check else None
    done, found = [], []
    for video in compose(
        options.faces, options.voices, options.out, options.split, options.videos, options.seed
    ):
        done.append(video)
        if detector:
            found.append(find_faces(video, options.out / "videos" / f"{video.name}.mp4", detector))
        print(f"{video.name}: {video.frames} frames", flush=True)
    summarise(done)
    if found:
        for what, rows in pd.concat(found).groupby("drawn"):
            print(f"face drawn: {what:5s} found in {rows['found'].mean():.1%} of {len(rows)}")


if __name__ == "__main__":
    main()
