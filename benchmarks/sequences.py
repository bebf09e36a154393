"""The plan of a composed video: its faces and speech in each frame.

A video is divided into segments of one expression. Given a segment's expression, its face and its
speech are drawn independently. This is an approximation: in real videos, face and speech depend on
each other beyond their common label. All images of a video resemble one face.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from abawcli.labels import CLASSES, IGNORE, N_CLASSES

Floats = NDArray[np.float64]
Doubles = Floats
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Corpora = Mapping[int, Sequence[Ints]]  # of a label: the clips of each corpus that has it

FPS = 25
SECONDS = (15.0, 25.0)  # of a video
SEGMENT_S = (1.0, 5.0)  # of one expression; the last one may be up to a second longer
LIKE = 8  # images of a label that resemble a person most, of which one is shown
FADE_S = (0.3, 0.8)  # of the change from one expression to the next
FADED = 0.1  # share of the other image from which on a frame of a change is not annotated
RETAKE = 0.35  # share of segments in which another image of the same label appears
# Labelled frames of train and validation set of the challenge, in the order of CLASSES. To the
# power of FLATTEN, so that rare classes occur in a few minutes: 4 % at least instead of 2 %.
ABAW_FRAMES = (262610, 23280, 16300, 17583, 129285, 106265, 42977, 278146)
FLATTEN = 0.6
DECK = 60  # segments in which each label comes as often as its share says
UNANNOTATED = 0.1  # share of segments
MISSING, MISSING_S = 0.15, (0.5, 4.0)  # share of frames without a face; length of a run
# Likewise of frames at the border or on the way there; without those on which the face is still
# whole, or missing, about 0.15 are left.
EDGE, EDGE_S = 0.2, (1.0, 4.0)
PASSAGE = 25  # frames from the face's own place to the border, and back
CUT = (0.12, 0.42)  # share of the face beyond the border
WHOLE = 0.98  # share of the face's square in the picture from which on the face is whole
SIDE = (112.0, 145.0)  # pixels of the face's square, +- 10 % as time goes by
PICTURE, WIDE_PICTURE = (320, 240), (512, 240)  # width, height; wide: of two people
TWO_PEOPLE = (8, 3)  # videos whose number leaves the rest 3 when divided by 8
NO_AUDIO = (12, 5)  # likewise
SILENT = 0.25  # share of segments without a voice
PAUSE_S = (0.05, 0.4)  # before each clip
SHORTEST_S = 0.6  # of speech; less is not worth beginning
GAIN_DB = (-9.0, 6.0)
ROOM_DB = (-75.0, -45.0)  # of the noise in the room, to full scale
QUIET_ROOM = 0.2  # share of videos with digital silence instead


@dataclass(frozen=True)
class Segment:
    """Frames from `start` (counted from 0) to before `stop` with one expression."""

    start: int
    stop: int
    label: int
    annotated: bool


@dataclass(frozen=True)
class Utterance:
    """A speech clip, from its beginning, in frames `start` to before `stop`."""

    start: int
    stop: int
    clip: int
    gain: float


@dataclass(frozen=True)
class Track:
    """The plan of one person, with one value per frame."""

    labels: Ints  # (T,) as annotated: class or -1
    image: Ints  # (T,) which face image, -1: no face
    other: Ints  # (T,) the image before or after it, from or to which it fades
    mix: Floats  # (T,) share of the other image, 0 to 0.5
    centre: Floats  # (T, 2) x, y in pixels
    side: Floats  # (T,) of the face's square, pixels
    degrees: Floats  # (T,) of rotation
    light: Floats  # (T,) factor
    edge: Bools  # (T,) part of the face is beyond the border
    voice: Bools  # (T,) this person speaks


@dataclass(frozen=True)
class Video:
    """A whole video: one person, or `left` and `right` of whom one speaks."""

    name: str
    size: tuple[int, int]  # width, height
    tracks: Mapping[str, Track]  # by annotation: the video's name, or with _left and _right
    has_audio: bool
    speech: Sequence[Utterance]
    room: float  # amplitude of the room's noise
    seed: Sequence[int]  # of textures, noise and motion
    fold: int = -1  # of the images, -1: of no fold

    @property
    def frames(self) -> int:
        """Return the number of frames."""
        return len(next(iter(self.tracks.values())).labels)


def share_labels(labels: Sequence[int]) -> Floats:
    """Return the share of each of the given labels among them in composed videos."""
    weights = np.array([ABAW_FRAMES[label] for label in labels], np.float64) ** FLATTEN
    return np.asarray(weights / weights.sum())


def deal_labels(labels: Sequence[int], random: Generator) -> Iterator[int]:
    """Yield labels without end; every DECK of them have the given shares."""
    ends = np.cumsum(share_labels(labels)) * DECK
    while True:
        # As systematic sampling: a card at every whole step and a random offset.
        cards = np.searchsorted(ends, np.arange(DECK) + random.random(), side="right")
        yield from (labels[k] for k in random.permutation(np.minimum(cards, len(labels) - 1)))


def draw_frames(limits_s: tuple[float, float], random: Generator) -> int:
    """Return a random duration in frames, between limits in seconds."""
    return round(random.uniform(*limits_s) * FPS)


def plan_segments(
    frames: int, deck: Iterator[int], labels: Sequence[int], random: Generator
) -> list[Segment]:
    """Divide a video into segments. Those without annotation may show any label."""
    segments, at = [], 0
    while at < frames:
        stop = at + draw_frames(SEGMENT_S, random)
        if frames - stop < SEGMENT_S[0] * FPS:
            stop = frames
        annotated = bool(random.random() >= UNANNOTATED)
        label = next(deck) if annotated else int(random.choice(labels))
        segments.append(Segment(at, stop, label, annotated))
        at = stop
    return segments


def draw_runs(
    frames: int, share: float, limits_s: tuple[float, float], random: Generator
) -> list[tuple[int, int]]:
    """Return random runs of frames, (first, end), with about a given share of all frames."""
    gap_s = sum(limits_s) / 2 * (1 / share - 1)
    runs, at = [], draw_frames((0.0, gap_s), random)
    while at < frames:
        stop = min(frames, at + draw_frames(limits_s, random))
        runs.append((at, stop))
        at = stop + draw_frames((0.4 * gap_s, 1.6 * gap_s), random)
    return runs


def mark_runs(runs: Sequence[tuple[int, int]], frames: int) -> Bools:
    """Return the mask (T,) of the frames within runs."""
    mask = np.zeros(frames, np.bool_)
    for start, stop in runs:
        mask[start:stop] = True
    return mask


def draw_drift(frames: int, random: Generator) -> Floats:
    """Return a slow random movement (T,) between -1 and 1."""
    time_s = np.arange(frames)[:, None] / FPS
    periods_s, phases = random.uniform(3, 14, 3), random.uniform(0, 2 * np.pi, 3)
    waves = np.sin(2 * np.pi * time_s / periods_s + phases)
    return np.asarray(waves @ random.dirichlet((1, 1, 1)))


def choose_lookalikes(
    faces: Mapping[int, Ints], looks: Floats, count: int, random: Generator
) -> dict[int, Ints]:
    """Return for each label images (count,) that resemble one random face.

    Images have no identities. Those that resemble each other in hair, pose and light pass for one
    person, more or less.

    Args:
        faces: images of each label.
        looks: (N, D) descriptions of all images, to be compared by their products.
        count: images of each label.
        random: random number generator.
    """
    person = looks[random.choice(np.concatenate(list(faces.values())))]  # (D,)
    chosen = {}
    for label, images in faces.items():
        nearest = images[np.argsort(-(looks[images] @ person))[:LIKE]]
        chosen[label] = random.choice(nearest, count, replace=len(nearest) < count)
    return chosen


def choose_images(
    segments: Sequence[Segment], person: Mapping[int, Ints], random: Generator
) -> tuple[Ints, Ints, Floats]:
    """Return image (T,), other image (T,) and its share (T,) in every frame.

    A segment shows the person's image of its label, in some segments a second one from some frame
    on. One image fades into the next.
    """
    shown, starts = [], []
    for segment in segments:
        first, *others = random.permutation(person[segment.label])
        shown.append(first)
        starts.append(segment.start)
        length = segment.stop - segment.start
        if others and length >= 2 * SEGMENT_S[0] * FPS and random.random() < RETAKE:
            shown.append(others[0])
            starts.append(segment.start + round(random.uniform(0.35, 0.65) * length))
    frames = segments[-1].stop
    image = np.repeat(np.array(shown, np.int64), np.diff([*starts, frames]))
    other, mix = image.copy(), np.zeros(frames)
    for k, at in enumerate(starts[1:], 1):
        half = min(draw_frames(FADE_S, random) // 2, at, frames - at)
        ramp = (np.arange(half) + 0.5) / (2 * half) if half else np.zeros(0)
        mix[at - half : at], mix[at : at + half] = ramp, ramp[::-1]
        other[at - half : at], other[at : at + half] = shown[k], shown[k - 1]
    return image, other, mix


def move_face(
    frames: int, area: tuple[int, int], size: tuple[int, int], borders: str, random: Generator
) -> tuple[Floats, Floats]:
    """Return centre (T, 2) and side (T,) of a face that exceeds a border from time to time.

    Args:
        frames: T.
        area: the first and the last x of the face's usual position.
        size: width and height of the picture.
        borders: those that it may exceed, of `lrtb`.
        random: random number generator.
    """
    side = random.uniform(*SIDE) * (1 + 0.1 * draw_drift(frames, random))  # (T,)
    lows, highs = (area[0], 0), (area[1], size[1])
    centre = np.empty((frames, 2))
    for axis, (low, high) in enumerate(zip(lows, highs, strict=True)):
        home = random.uniform(low + 0.4 * (high - low), high - 0.4 * (high - low))
        place = home + 0.25 * side * draw_drift(frames, random)
        centre[:, axis] = np.clip(place, low + side / 2 + 1, high - side / 2 - 1)
    for run in draw_runs(frames, EDGE, EDGE_S, random):
        border, beyond = random.choice(list(borders)), random.uniform(*CUT)
        axis, far = "lrtb".index(border) // 2, border in "rb"
        inside = (0.5 - beyond) * side
        target = size[axis] - inside if far else inside
        mask = mark_runs([run], frames).astype(np.float64)
        weight = np.convolve(mask, np.hanning(PASSAGE + 2) / (PASSAGE + 1) * 2, "same")
        centre[:, axis] += np.minimum(weight, 1) * (target - centre[:, axis])
    return centre, side


def measure_visible(centre: Floats, side: Floats, size: tuple[int, int]) -> Floats:
    """Return the share (T,) of the faces' squares that is in the picture."""
    half = side[:, None] / 2
    seen = np.minimum(centre + half, size) - np.maximum(centre - half, 0)  # (T, 2)
    return np.asarray((seen / side[:, None]).clip(0, 1).prod(axis=1))


def plan_speech(
    segments: Sequence[Segment],
    voices: Corpora,
    measure_clip: Callable[[int], float],
    random: Generator,
) -> list[Utterance]:
    """Fill most segments with speech of their label.

    All corpora with the label are equally likely. A label without recordings (Other) gets speech of
    another label, drawn by the shares of those that have recordings, so that audio gives no
    evidence for or against it.
    """
    spoken = sorted(voices)
    shares = share_labels(spoken)
    speech = []
    for segment in segments:
        if not spoken or random.random() < SILENT:
            continue
        label = segment.label if segment.label in voices else int(random.choice(spoken, p=shares))
        at = segment.start + draw_frames(PAUSE_S, random)
        gain = 10 ** (random.uniform(*GAIN_DB) / 20)
        while segment.stop - at >= SHORTEST_S * FPS:
            clip = int(random.choice(voices[label][random.integers(len(voices[label]))]))
            stop = min(segment.stop, at + max(1, int(measure_clip(clip) * FPS)))
            speech.append(Utterance(at, stop, clip, gain))
            at = stop + draw_frames(PAUSE_S, random)
    return speech


class Planner:
    """Plans one video after the other; their number does not change the first ones."""

    def __init__(
        self,
        faces: Mapping[int, Ints],
        voices: Corpora,
        measure_clip: Callable[[int], float],
        seed: Sequence[int],
        looks: Floats,
        folds: Ints | None = None,
    ) -> None:
        """Set what videos are made of.

        Args:
            faces: the images of each label, by index.
            voices: the clips of each label, by index, of each corpus.
            measure_clip: returns the duration of a clip in seconds.
            seed: of all random numbers.
            looks: (N, D) descriptions of all images; see `choose_lookalikes`.
            folds: (N,) of all images: a video has images of one fold only, of each fold in turn.
        """
        self.faces, self.voices, self.measure_clip = faces, voices, measure_clip
        self.labels = [label for label in range(N_CLASSES) if label in faces]
        self.looks, self.folds = looks, folds
        self.seed, self.random = tuple(seed), np.random.default_rng(seed)
        self.deck = deal_labels(self.labels, self.random)

    def plan_video(self, name: str, number: int, seconds: tuple[float, float] = SECONDS) -> Video:
        """Plan the next video. Its number decides whether it has two people, and audio.

        One of two people is called `<name>_pair`.
        """
        two = number % TWO_PEOPLE[0] == TWO_PEOPLE[1]
        name += "_pair" if two else ""
        has_audio = number % NO_AUDIO[0] != NO_AUDIO[1]
        size, frames = WIDE_PICTURE if two else PICTURE, draw_frames(seconds, self.random)
        middle = size[0] // 2
        people = {"": ((0, size[0]), "lrtb")}
        if two:
            people = {"_left": ((0, middle), "ltb"), "_right": ((middle, size[0]), "rtb")}
        speaker = self.random.choice(list(people))
        fold, faces = self._choose_fold(number)
        tracks, speech = {}, []
        for who, (area, borders) in people.items():
            segments = plan_segments(frames, self.deck, self.labels, self.random)
            said = []
            if has_audio and who == speaker:
                said = speech = plan_speech(segments, self.voices, self.measure_clip, self.random)
            tracks[name + who] = self._plan_track(segments, said, faces, area, size, borders)
        quiet = self.random.random() < QUIET_ROOM
        room = 0.0 if quiet else 10 ** (self.random.uniform(*ROOM_DB) / 20)
        return Video(name, size, tracks, has_audio, speech, room, (*self.seed, number), fold)

    def _choose_fold(self, number: int) -> tuple[int, Mapping[int, Ints]]:
        """Return the fold of a video, and the images of each label in it."""
        if self.folds is None:
            return -1, self.faces
        fold = number % (int(self.folds.max()) + 1)
        return fold, {label: ids[self.folds[ids] == fold] for label, ids in self.faces.items()}

    def _plan_track(
        self,
        segments: Sequence[Segment],
        speech: Sequence[Utterance],
        faces: Mapping[int, Ints],
        area: tuple[int, int],
        size: tuple[int, int],
        borders: str,
    ) -> Track:
        random, frames = self.random, segments[-1].stop
        person = choose_lookalikes(faces, self.looks, 2, random)
        image, other, mix = choose_images(segments, person, random)
        image[mark_runs(draw_runs(frames, MISSING, MISSING_S, random), frames)] = -1
        centre, side = move_face(frames, area, size, borders, random)
        labels = np.concatenate(
            [np.full(s.stop - s.start, s.label if s.annotated else IGNORE) for s in segments]
        )
        retaken = [person[s.label] for s in segments for _ in range(s.start, s.stop)]  # (T, 2)
        same = (np.array(retaken) == other[:, None]).any(axis=1)
        labels[(mix > FADED) & ~same] = IGNORE
        return Track(
            labels=labels.astype(np.int64),
            image=image,
            other=other,
            mix=mix,
            centre=centre,
            side=side,
            degrees=random.normal(0, 2) + 5 * draw_drift(frames, random),
            light=1 + random.uniform(-0.1, 0.1) + 0.15 * draw_drift(frames, random),
            edge=(image >= 0) & (measure_visible(centre, side, size) < WHOLE),
            voice=mark_runs([(u.start, u.stop) for u in speech], frames),
        )


def describe_labels(labels: Ints) -> str:
    """Return the shares of the labels (N,) of annotated frames."""
    counts = np.bincount(labels[labels != IGNORE], minlength=N_CLASSES)
    shares = counts / max(1, counts.sum())
    return ", ".join(f"{name} {share:.1%}" for name, share in zip(CLASSES, shares, strict=True))
