"""Whether a face's mouth moves with speech: own soundtracks against those of others.

python benchmarks/mouth.py --talkers FILE ... [--silent FILE ...] [--sounds FILE ...]

`--talkers` are videos of one person each with their own voice, `--silent` videos of one person
without a voice of their own, and `--sounds` other speech. A measure of the mouth in each frame is
correlated with the level of the audio over windows (`--window`, 2 s). Foreign audio is that of the
other talkers, the own audio moved in time, and the sounds, all on the faces of the talkers; and the
audio of talkers on silent faces. Prints how often the windows of talkers with their own audio have
a higher correlation than windows with foreign audio (area under the ROC curve, 0.5: chance), over
all and for the talkers where it is the lowest and the highest; the share of foreign windows that is
found if 5 % of the windows with own audio are taken for foreign; and the mean correlations.

Measures: the distance of the corners of the mouth, relative to that of the eyes, by the landmarks
of the detector, which runs on every frame; the change of pixels from frame to frame in the region
of the mouth of the aligned face; and that less the change in the region of the eyes.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from abawcli.config import AUDIO_RATE_HZ, Tracking
from abawcli.faces.appearance import align_face
from abawcli.faces.detect import Detector, load_detector
from abawcli.faces.track import track_faces
from abawcli.media.audio import Audio, read_audio
from abawcli.media.video import read_frames

Floats = NDArray[np.float64]
# Regions of the aligned face of 112 pixels: rows, columns.
MOUTH = slice(76, 112), slice(32, 80)
EYES = slice(36, 66), slice(20, 92)
BLUR = 1.5  # standard deviation in pixels, against noise
HOP_S = 0.2  # from one window to the next
SMOOTHING_FRAMES = 5  # of measure and level; syllables take about 0.2 s
LEVEL_S, FLOOR_DB = 0.08, -40.0  # of audio around a frame; limit below the loudest frame
SHIFTS_S = (-1.0, -0.6, 0.6, 1.0)  # by which own audio is moved to make it foreign


@dataclass(frozen=True)
class Talker:
    """The measures of a face in each frame (T,), and the audio of its video."""

    name: str
    time_s: Floats  # (T,)
    measures: dict[str, Floats]  # (T,)
    audio: Audio | None


def find_motion(faces: Floats, region: tuple[slice, slice]) -> Floats:
    """Return the mean change (T,) from and to each of the aligned grey faces (T, 112, 112)."""
    part = faces[(slice(None), *region)]
    part = (part - part.mean((1, 2), keepdims=True)) / (part.std((1, 2), keepdims=True) + 5)
    change = np.abs(np.diff(part, axis=0)).mean((1, 2))
    return (np.append(change, change[-1]) + np.insert(change, 0, change[0])) / 2


def read_talker(path: Path, detector: Detector) -> Talker:
    """Return the measures of the largest face of a video."""
    times, faces, points = [], [], []
    for frame, found in track_faces(read_frames(path), detector, Tracking(stride=1)):
        if not found.faces:
            continue
        face = max(found.faces, key=lambda each: each.box[2] * each.box[3])
        grey = cv2.cvtColor(align_face(frame.rgb(), face.landmarks), cv2.COLOR_RGB2GRAY)
        times.append(found.time_s)
        faces.append(cv2.GaussianBlur(grey.astype(np.float64), (0, 0), BLUR))
        points.append(face.landmarks)
    if not times:
        raise SystemExit(f"{path} has no face")
    stack, landmarks = np.array(faces), np.array(points, np.float64)  # (T, 5, 2)
    left, right, _, corner, other = np.moveaxis(landmarks, 1, 0)
    width = np.linalg.norm(corner - other, axis=1) / np.linalg.norm(left - right, axis=1)
    mouth, eyes = find_motion(stack, MOUTH), find_motion(stack, EYES)
    measures = {
        "distance of the corners": width,
        "motion of the mouth": mouth,
        "motion of the mouth less the eyes": mouth - eyes,
    }
    return Talker(path.name, np.array(times), measures, read_audio(path))


def find_levels(audio: Audio, time_s: Floats) -> Floats:
    """Return the level (T,) of audio around each time, in dB, limited below the loudest one."""
    power = np.insert(np.cumsum(np.square(audio.samples, dtype=np.float64)), 0, 0)
    ends = [
        np.clip((time_s - audio.start_s + side * LEVEL_S / 2) * AUDIO_RATE_HZ, 0, len(power) - 1)
        for side in (-1, 1)
    ]
    first, last = (end.astype(np.int64) for end in ends)
    level = 10 * np.log10((power[last] - power[first]) / np.maximum(last - first, 1) + 1e-9)
    return np.maximum(level, level.max() + FLOOR_DB)


def smooth(values: Floats) -> Floats:
    """Return the moving average (T,)."""
    edge = SMOOTHING_FRAMES // 2
    weights = np.full(SMOOTHING_FRAMES, 1 / SMOOTHING_FRAMES)
    return np.convolve(np.pad(values, edge, mode="edge"), weights, "valid")


def correlate(talker: Talker, measure: str, audio: Audio, window_s: float) -> list[float]:
    """Return the correlation in each window; 0 where one of the two is constant."""
    levels = smooth(find_levels(audio, talker.time_s))
    moves = smooth(talker.measures[measure])
    starts = np.arange(talker.time_s[0], talker.time_s[-1] - window_s + HOP_S, HOP_S)
    found = []
    for start in starts:
        rows = (talker.time_s >= start) & (talker.time_s < start + window_s)
        x, y = moves[rows] - moves[rows].mean(), levels[rows] - levels[rows].mean()
        length = np.sqrt(np.square(x).sum() * np.square(y).sum())
        found.append(float((x * y).sum() / length) if length > 1e-9 else 0.0)
    return found


def list_foreign(
    talkers: Sequence[Talker], silent: Sequence[Talker], sounds: Sequence[Audio]
) -> dict[str, list[tuple[Talker, Audio]]]:
    """Return the pairs of a face and foreign audio, by kind."""
    own = [(talker, talker.audio) for talker in talkers if talker.audio]
    return {
        "audio of other talkers": [(t, a) for t, mine in own for _, a in own if a is not mine],
        "own audio, moved": [
            (t, Audio(a.samples, a.start_s + shift)) for t, a in own for shift in SHIFTS_S
        ],
        "other speech": [(t, sound) for t, _ in own for sound in sounds],
        "talkers' audio on silent faces": [(s, a) for s in silent for _, a in own],
    }


def describe_areas(
    own: dict[str, list[float]], foreign: Sequence[tuple[str, list[float]]]
) -> Iterator[str]:
    """Yield the area, that of the talkers with the lowest and the highest, and what is found."""

    def find_area(right: list[float], wrong: list[float]) -> float:
        return float(roc_auc_score([1] * len(right) + [0] * len(wrong), right + wrong))

    everything = [value for _, values in foreign for value in values]
    right = [value for values in own.values() for value in values]
    yield f"{find_area(right, everything):.2f}"
    areas = []
    for name, values in own.items():
        same = [v for face, those in foreign if face == name for v in those]
        areas.append(find_area(values, same or everything))
    yield f"{min(areas):.2f} to {max(areas):.2f}"
    yield f"{np.mean(np.array(everything) < np.quantile(right, 0.05)):.2f}"


def find_mean(windows: Iterable[list[float]]) -> str:
    """Return the mean of all windows."""
    return f"{np.mean(np.concatenate(list(windows))):.2f}"


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--talkers", type=Path, nargs="+", required=True)
    parser.add_argument("--silent", type=Path, nargs="*", default=[])
    parser.add_argument("--sounds", type=Path, nargs="*", default=[])
    parser.add_argument("--window", type=float, default=2.0, help="seconds")
    arguments = parser.parse_args()
    window = arguments.window
    detector = load_detector("retinaface", threads=1)
    talkers = [read_talker(path, detector) for path in arguments.talkers]
    silent = [read_talker(path, detector) for path in arguments.silent]
    sounds = [sound for sound in map(read_audio, arguments.sounds) if sound]
    print("| foreign audio | pairs | measure | area | by talker | found | mean, own | foreign |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, pairs in list_foreign(talkers, silent, sounds).items():
        if not pairs:
            continue
        for measure in talkers[0].measures:
            own = {t.name: correlate(t, measure, t.audio, window) for t in talkers if t.audio}
            foreign = [
                (face.name, correlate(face, measure, audio, window)) for face, audio in pairs
            ]
            cells = [*describe_areas(own, foreign), find_mean(own.values())]
            cells.append(find_mean(values for _, values in foreign))
            print(f"| {kind} | {len(pairs)} | {measure} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
