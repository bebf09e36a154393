"""Compose labelled videos with audio from labelled face images and labelled speech recordings.

They serve to train and compare fusion heads where labelled videos are missing. Each video is a
sequence of segments of one expression, in about the proportions of the ABAW challenge. A segment
shows face images of its label, which change every second, while position, size, roll and light
change slowly. Most segments have speech of the same label. Some frames have no face, some have a
face that exceeds the picture's border, and some have no annotation (-1, with any content). Some
segments have no speech, and some videos have no audio. Every eighth video, `<name>_pair`, shows two
people with separate expressions, of whom one speaks; it has two annotations, `<name>_pair_left` and
`_right`.

Differences from real videos: face and speech are independent given the label; each image is of
another person and does not move; speech is acted. A label without recordings (Other) gets speech of
any label. Train videos are made from the train splits only and valid videos from the valid splits.
With the same seed, the plan is the same, and so are the files if the encoders are deterministic.

    python benchmarks/compose.py --faces DIR --voices DIR --out DIR [--split train|valid]
        [--videos 60] [--seed 0] [--check]

Writes OUT/videos/<name>.mp4, OUT/labels/<name>.txt in ABAW's format, and OUT/plan/<name>.csv:
frame, label, face, edge (part of the face is over the border), voice (this person speaks), and
the face's square x, y, side. With --check, faces are detected with the project's detector.
"""

import argparse
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
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
from abawcli.faces.crop import read_image
from abawcli.faces.detect import Detector, load_detector
from abawcli.formats.abaw import write_annotation
from abawcli.formats.atomic import write_whole
from abawcli.formats.manifest import read_manifest
from abawcli.labels import IGNORE, index_of
from abawcli.media.audio import read_audio
from abawcli.media.video import read_frames

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
SPLITS = ("train", "valid")

ENLARGED = 192  # pixels that a face image is brought to before it is placed
FEATHER = 0.06  # of its side: a soft border, not a picture on a wall
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
        self.files = [folder / file for file in table["file"]]
        self.by_label: Corpora = {
            label: [np.flatnonzero(labels & (table["corpus"] == c).to_numpy()) for c in corpora]
            for label, labels, corpora in self._group(table)
        }

    @staticmethod
    def _group(table: pd.DataFrame) -> Iterator[tuple[int, NDArray[np.bool_], list[str]]]:
        labels = np.array([index_of(name) for name in table["label"]])
        for label in np.unique(labels).tolist():
            yield label, labels == label, sorted(set(table["corpus"][labels == label]))

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


def read_faces(folder: Path, split: str) -> tuple[list[Path], dict[int, Ints]]:
    """Return the labelled images of a split, without duplicates, and their numbers by label."""
    found = read_manifest(folder / "manifest.csv", folder, soft=False)[split]
    labels = np.unique(found.labels).tolist()
    return found.files, {label: np.flatnonzero(found.labels == label) for label in labels}


def draw_texture(
    size: tuple[int, int], cells: Sequence[int], random: np.random.Generator
) -> Floats:
    """Return smooth random values (H, W), about -1..1, with patches of different widths."""
    width, height = size
    texture = np.zeros((height, width), np.float32)
    for cell in cells:
        coarse = random.normal(0, 1, (height // cell + 2, width // cell + 2)).astype(np.float32)
        texture += cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(texture / (2 * len(cells) ** 0.5), -1, 1)


class Painter:
    """Draws the pictures of one video as they are stored: brightness, and two of colour."""

    def __init__(self, video: Video, files: Sequence[Path]) -> None:
        self.video, self.files = video, files
        width, height = size = video.size
        self.random = random = np.random.default_rng(video.seed)
        scene = draw_texture(size, (90, 40, 20), random) + 0.1 * draw_texture(size, (4,), random)
        self.room = np.float32(random.uniform(80, 150)) + np.float32(random.uniform(20, 60)) * scene
        sigma = random.uniform(1.5, 5)
        self.noise = random.normal(0, sigma, (height + 64, width + 64)).astype(np.float32)
        half = width // 2, height // 2
        colours = [128 + 6 * draw_texture(half, (60, 20), random) for _ in range(2)]
        self.colours = np.concatenate([c.ravel() for c in colours]).astype(np.uint8)
        self.colours = self.colours.reshape(height // 2, width)
        self.soft = _soften_border(ENLARGED)

    @lru_cache(maxsize=8)  # noqa: B019 - lives as long as one video
    def _read(self, image: int) -> Image:
        face = read_image(self.files[image])
        if face is None:
            raise SystemExit(f"{self.files[image]} is no readable image")
        grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, (ENLARGED, ENLARGED), interpolation=cv2.INTER_CUBIC)

    def draw(self, index: int) -> Image:
        """Return one picture, (3/2 H, W): the planes of yuv420p below each other."""
        picture = self.room.copy()
        for track in self.video.tracks.values():
            if track.image[index] >= 0:
                self._place(picture, track, index)
        x, y = self.random.integers(0, 64, 2)
        height, width = picture.shape
        picture += self.noise[y : y + height, x : x + width]
        # Black is 16 and white 235 in a video.
        stored = cv2.convertScaleAbs(np.maximum(picture, 0), alpha=219 / 255, beta=16)
        return np.concatenate([np.minimum(stored, 235), self.colours])

    def _place(self, picture: Floats, track: Track, index: int) -> None:
        """Draw a face over the picture (H, W)."""
        side, (x, y) = track.side[index], track.centre[index]
        reach = side * 0.6  # the turned square fits in
        height, width = picture.shape
        x0, y0 = max(0, int(x - reach)), max(0, int(y - reach))
        x1, y1 = min(width, int(x + reach) + 1), min(height, int(y + reach) + 1)
        middle = (ENLARGED - 1) / 2
        turn = cv2.getRotationMatrix2D(
            (middle, middle), float(track.degrees[index]), float(side / ENLARGED)
        )
        turn[:, 2] += (x - x0 - middle, y - y0 - middle)
        size = x1 - x0, y1 - y0
        face = self._read(int(track.image[index]))
        seen = cv2.warpAffine(face, turn, size, borderMode=cv2.BORDER_REPLICATE)
        opacity = cv2.warpAffine(self.soft, turn, size)
        region = picture[y0:y1, x0:x1]
        region += opacity * (np.float32(track.light[index]) * seen - region)


def _soften_border(side: int) -> Floats:
    """Return the opacity (side, side) of a face image: 1 inside, falling to 0 at its border."""
    inside = (np.minimum(np.arange(side), np.arange(side)[::-1]) + 1) / (FEATHER * side)
    ramp = np.minimum(inside, 1).astype(np.float32)
    return np.outer(ramp, ramp)


def mix_sound(video: Video, voices: Voices) -> Floats:
    """Return the audio (N,) of a video: its speech and the noise of a room."""
    random = np.random.default_rng((*video.seed, 1))
    count = video.frames * FRAME_SAMPLES
    hiss = random.normal(0, 1, count + 7).astype(np.float32)
    sound = video.room * np.convolve(hiss, np.full(8, 8**-0.5, np.float32), "valid")
    for utterance in video.speech:
        start = utterance.start * FRAME_SAMPLES
        samples = _cut_clip(voices.read(utterance.clip), utterance)
        sound[start : start + len(samples)] += samples
    return np.asarray(sound, np.float32).clip(-1, 1)


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


def encode_sound(container: av.container.OutputContainer, sound: Floats) -> "list[av.Packet[Any]]":
    """Encode the audio as AAC and return the packets."""
    stream = container.add_stream("aac", rate=AUDIO_RATE_HZ, layout="mono")
    stream.bit_rate = 64_000
    packets = []
    for at in range(0, len(sound), AUDIO_BLOCK):
        block = sound[None, at : at + AUDIO_BLOCK]
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
    for folder in ("videos", "labels", "plan"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    path = out / "videos" / f"{video.name}.mp4"
    with write_whole(path) as temporary, av.open(str(temporary), "w") as container:
        packets = encode_pictures(container, video, Painter(video, files))
        if video.sound:
            packets += encode_sound(container, mix_sound(video, voices))
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            container.mux(packet)
    for name, track in video.tracks.items():
        write_annotation(track.labels, out / "labels" / f"{name}.txt")
        with write_whole(out / "plan" / f"{name}.csv") as temporary:
            list_frames(track).to_csv(temporary, index=False)


def compose(
    faces: Path,
    voices: Path,
    out: Path,
    split: str,
    videos: int,
    seed: int,
    seconds: tuple[float, float] = SECONDS,
    one_image: bool = False,
) -> Iterator[Video]:
    """Write videos of one split and yield each one's plan."""
    files, by_label = read_faces(faces, split)
    clips = Voices(voices, split)
    chance = (seed, SPLITS.index(split))
    planner = Planner(by_label, clips.by_label, clips.measure, chance, one_image)
    prefix = f"{split}_one" if one_image else split
    for number in range(videos):
        video = planner.plan_video(f"{prefix}{number:03d}", number, seconds)
        write_video(video, files, clips, out)
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
    parser.add_argument("--one-image", action="store_true", help="One image a segment.")
    parser.add_argument("--check", action="store_true", help="Look for the faces.")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    detector = load_detector("retinaface", threads=1) if options.check else None
    done, found = [], []
    for video in compose(
        options.faces, options.voices, options.out, options.split, options.videos, options.seed,
        one_image=options.one_image,
    ):  # fmt: skip
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
