"""What the sample videos show and say, when, and the labels that follow from it."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np

from abawcli.labels import IGNORE, index_of

PASSAGE_S = 0.4  # from one expression to the next: half before its time, half after
BLINK_S = 0.24  # from open to closed to open
LABELLED_SHARE = 0.5  # of the face: with less to be seen there is no label
# The face in a rendered picture, in its pixels.
FACE_CENTRE = (192.0, 156.0)
FACE_SIZE = (116.0, 150.0)  # width, height
HEAD_SHARE = 1.3  # a head hides more than its face: width and height as a share of the face's


@dataclass(frozen=True)
class Speech:
    """A sentence in the audio track; times are those of the picture."""

    start_s: float
    text: str
    words_per_minute: int
    pitch: int  # 0..99


@dataclass(frozen=True)
class Pose:
    """Where a face is at a time: its centre as a share of the picture, and its size."""

    time_s: float
    x: float
    y: float
    scale: float  # pixels of the video for one of the rendered picture
    lean_degrees: float = 0.0


@dataclass(frozen=True)
class Actor:
    """All that one person does in a video."""

    person: str  # a name in `people.PEOPLE`
    expressions: tuple[tuple[float, str], ...]  # each from its time on
    poses: tuple[Pose, ...]
    speech: tuple[Speech, ...] = ()
    blinks_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Clip:
    """All that one video shows and says. Times are seconds from the first frame."""

    name: str
    size: tuple[int, int]  # width, height as displayed
    times_ms: tuple[int, ...]  # when each frame is shown
    actors: tuple[Actor, ...]  # the last one stands in front
    cuts_s: tuple[float, ...] = ()  # where another shot begins, before other shelves
    audio_start_s: float = 0.0
    turns: int = 0  # quarter turns counterclockwise that the player has to apply


@dataclass(frozen=True)
class Look:
    """A face that is rendered: once for all frames of all videos."""

    person: str
    expression: str
    speaks: bool = False  # as wide as a mouth opens
    blinks: bool = False  # eyes closed

    @property
    def name(self) -> str:
        """Return the name of its picture."""
        what = "-speaks" * self.speaks + "-blinks" * self.blinks
        return f"{self.person}-{self.expression}{what}"


@dataclass(frozen=True)
class Face:
    """What a face looks like in a frame: between two rendered ones."""

    first: Look
    second: Look
    share: float  # of the second


def space_evenly(fps: int, seconds: float) -> tuple[int, ...]:
    """Return the times of frames at a constant rate, in ms."""
    return tuple(round(1000 * k / fps) for k in range(round(seconds * fps)))


def space_unevenly(seconds: float) -> tuple[int, ...]:
    """Return the times of frames as a busy phone records them, in ms, with one long gap."""
    gaps_ms = np.random.default_rng(0).choice((20, 33, 40, 67, 100), size=int(seconds * 50))
    gaps_ms[60] = 400
    times_ms = np.concatenate(([0], np.cumsum(gaps_ms)))
    return tuple(int(t) for t in times_ms[times_ms < 1000 * seconds])


def ease(part: float) -> float:
    """Return the smooth step from 0 to 1."""
    part = min(1.0, max(0.0, part))
    return part * part * (3 - 2 * part)


def find_pose(poses: Sequence[Pose], time_s: float) -> Pose:
    """Return the pose at a time, at rest in each of the given ones; two at one time are a cut."""
    later = next((k for k, pose in enumerate(poses) if pose.time_s > time_s), len(poses))
    if later == len(poses):
        return poses[-1]
    a, b = poses[later - 1], poses[later]
    part = ease((time_s - a.time_s) / (b.time_s - a.time_s))
    values = [(1 - part) * p + part * q for p, q in zip(astuple(a), astuple(b), strict=True)]
    return Pose(*values)


def find_face(actor: Actor, time_s: float, loudness: float) -> Face:
    """Return what a face looks like at a time; `loudness` (0..1) of its voice opens the mouth."""
    before = Look(actor.person, actor.expressions[0][1])
    for start_s, name in actor.expressions[1:]:
        after = Look(actor.person, name)
        part = round((time_s - start_s) / PASSAGE_S + 0.5, 6)
        if 0 < part < 1:
            return Face(before, after, ease(part))
        before = after if part >= 1 else before
    away_s = min((abs(time_s - blink_s) for blink_s in actor.blinks_s), default=BLINK_S)
    if away_s < BLINK_S / 2:
        return Face(before, replace(before, blinks=True), ease(2 - 4 * away_s / BLINK_S))
    return Face(before, replace(before, speaks=loudness > 0), loudness)


def box_face(clip: Clip, pose: Pose, share: float = 1.0) -> tuple[float, float, float, float]:
    """Return the box of a face in the picture, x0, y0, x1, y1, `share` times its size."""
    x, y = pose.x * clip.size[0], pose.y * clip.size[1]
    half_w, half_h = (share * side * pose.scale / 2 for side in FACE_SIZE)
    return x - half_w, y - half_h, x + half_w, y + half_h


def measure_overlap(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> float:
    """Return the share of box `a` that is inside box `b`."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height) / ((a[2] - a[0]) * (a[3] - a[1]))


def measure_visible(clip: Clip, actor: Actor, time_s: float) -> float:
    """Return the share of a face's box that is in the picture and behind nobody's head."""
    face = box_face(clip, find_pose(actor.poses, time_s))
    share = measure_overlap(face, (0, 0, *clip.size))
    for other in clip.actors[clip.actors.index(actor) + 1 :]:
        head = box_face(clip, find_pose(other.poses, time_s), HEAD_SHARE)
        share -= measure_overlap(face, head)
    return max(0.0, share)


def label_frame(clip: Clip, actor: Actor, time_s: float) -> int:
    """Return the class number at a time, -1 in a passage and where most of the face is hidden."""
    face = find_face(actor, time_s, 0.0)
    arrived = face.first.expression == face.second.expression
    seen = measure_visible(clip, actor, time_s) >= LABELLED_SHARE
    return index_of(face.first.expression) if arrived and seen else IGNORE


def label_frames(clip: Clip, actor: Actor) -> list[int]:
    """Return the class number of every frame of a person's."""
    return [label_frame(clip, actor, time_ms / 1000) for time_ms in clip.times_ms]
