"""What the sample videos show and say, when, and the labels that follow from it."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from animated_face import EXPRESSIONS, FACE_SIZE, mix_weights

from abawcli.labels import IGNORE, index_of

PASSAGE_S = 0.32  # from one expression to the next
LABELLED_SHARE = 0.5  # of the face: with less in the picture there is no label


@dataclass(frozen=True)
class Speech:
    """A sentence in the sound track; times are those of the picture."""

    start_s: float
    text: str
    words_per_minute: int
    pitch: int  # 0..99


@dataclass(frozen=True)
class Pose:
    """Where the face is at a time: its centre as a share of the picture, and its size."""

    time_s: float
    x: float
    y: float
    scale: float  # pixels of the picture for one of the photograph
    lean_degrees: float = 0.0


@dataclass(frozen=True)
class Clip:
    """All that one video shows and says. Times are seconds from the first frame."""

    name: str
    size: tuple[int, int]  # width, height as displayed
    times_ms: tuple[int, ...]  # when each frame is shown
    expressions: tuple[tuple[float, str], ...]  # each from its time on
    poses: tuple[Pose, ...]
    speech: tuple[Speech, ...]
    sound_start_s: float = 0.0
    turns: int = 0  # quarter turns counterclockwise that the player has to apply


def space_evenly(fps: int, seconds: float) -> tuple[int, ...]:
    """Return the times of frames at a constant rate, in ms."""
    return tuple(round(1000 * k / fps) for k in range(round(seconds * fps)))


def space_unevenly(seconds: float) -> tuple[int, ...]:
    """Return the times of frames as a busy phone records them, in ms, with one long gap."""
    gaps_ms = np.random.default_rng(0).choice((20, 33, 40, 67, 100), size=int(seconds * 50))
    gaps_ms[60] = 400
    times_ms = np.concatenate(([0], np.cumsum(gaps_ms)))
    return tuple(int(t) for t in times_ms[times_ms < 1000 * seconds])


CLIPS = (
    Clip(
        "expressions",
        (640, 480),
        space_evenly(25, 12),
        (
            (0, "Neutral"),
            (2.4, "Happiness"),
            (4.8, "Surprise"),
            (7.2, "Sadness"),
            (9.6, "Anger"),
        ),
        (
            Pose(0, 0.45, 0.45, 1.5, -2),
            Pose(3, 0.52, 0.46, 1.6, 2),
            Pose(6, 0.55, 0.47, 1.75, -1),
            Pose(9, 0.46, 0.50, 1.55, 4),
            Pose(12, 0.50, 0.46, 1.7, -2),
        ),
        (
            Speech(2.7, "I am so happy to see you!", 170, 65),
            Speech(7.6, "They have all gone home.", 120, 35),
            Speech(10.0, "That is not fair!", 180, 45),
        ),
    ),
    Clip(
        "leaves_and_returns_vfr",
        (640, 360),
        space_unevenly(10),
        ((0, "Happiness"), (2.0, "Neutral"), (5.0, "Surprise"), (8.0, "Happiness")),
        (
            Pose(0, 0.40, 0.46, 1.3),
            Pose(2.0, 0.55, 0.46, 1.4, 3),
            Pose(3.0, 0.96, 0.47, 1.4, 4),  # a third of the face is over the edge
            Pose(3.6, 0.96, 0.47, 1.4, 2),
            Pose(4.4, 1.50, 0.48, 1.4, 5),
            Pose(5.4, 1.50, 0.48, 1.2, -5),
            Pose(7.0, 0.60, 0.46, 1.2, -2),
            Pose(10, 0.45, 0.46, 1.35),
        ),
        (
            Speech(1.8, "Wait, I have to get something.", 170, 50),
            Speech(8.0, "Here I am again!", 170, 60),
        ),
        sound_start_s=1.25,
    ),
    Clip(
        "rotated_phone",
        (270, 480),
        space_evenly(30, 4),
        ((0, "Neutral"), (1.2, "Happiness"), (2.6, "Surprise")),
        (Pose(0, 0.48, 0.42, 1.25, -2), Pose(4, 0.53, 0.44, 1.4, 3)),
        (Speech(1.3, "Hello from my phone.", 170, 60),),
        turns=3,
    ),
)


def find_pose(poses: Sequence[Pose], time_s: float) -> Pose:
    """Return the pose at a time, at rest in each of the given ones."""
    later = next((k for k, pose in enumerate(poses) if pose.time_s > time_s), len(poses) - 1)
    a, b = poses[later - 1], poses[later]
    part = ease((time_s - a.time_s) / (b.time_s - a.time_s))
    values = [(1 - part) * p + part * q for p, q in zip(astuple(a), astuple(b), strict=True)]
    return Pose(*values)


def ease(part: float) -> float:
    """Return the smooth step from 0 to 1."""
    part = min(1.0, max(0.0, part))
    return part * part * (3 - 2 * part)


def find_expression(clip: Clip, time_s: float) -> str:
    """Return the name of the expression that is to be seen at a time."""
    return [name for start_s, name in clip.expressions if start_s <= time_s][-1]


def weigh_units(clip: Clip, time_s: float) -> dict[str, float]:
    """Return the action units at a time, between two expressions around each change."""
    weights = dict(EXPRESSIONS[clip.expressions[0][1]])
    for start_s, name in clip.expressions[1:]:
        part = ease((time_s - start_s) / PASSAGE_S + 0.5)
        weights = mix_weights(weights, EXPRESSIONS[name], part)
    return weights


def measure_visible(clip: Clip, pose: Pose) -> float:
    """Return the share of the face's box that is inside the picture."""
    share = 1.0
    for centre, side, limit in zip((pose.x, pose.y), FACE_SIZE, clip.size, strict=True):
        low, high = (centre * limit + sign * side * pose.scale / 2 for sign in (-1, 1))
        share *= max(0.0, min(high, limit) - max(low, 0)) / (high - low)
    return share


def label_frames(clip: Clip) -> list[int]:
    """Return the class number of every frame, -1 where most of the face is out of the picture."""
    labels = []
    for time_ms in clip.times_ms:
        seen = measure_visible(clip, find_pose(clip.poses, time_ms / 1000)) >= LABELLED_SHARE
        labels.append(index_of(find_expression(clip, time_ms / 1000)) if seen else IGNORE)
    return labels
