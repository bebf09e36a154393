"""Tracking of faces over time, as a stream that reads a few frames ahead.

While all tracks are certain, faces are detected only every few frames, and boxes in between are
interpolated. If two successive detection steps disagree (a face appeared, disappeared, moved too
far or has a low score, or the scene or the size of the picture changed), faces are detected in all
frames in between, to find the exact frame of the change, and in all further frames until two
successive steps agree.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import cv2
import numpy as np

from abawcli.config import Tracking
from abawcli.faces.appearance import describe_face
from abawcli.faces.detect import Box, Detector, Face, Floats, Image, enlarge_small, scale_faces
from abawcli.faces.identity import Appearance, AppearanceTemplate, Identity

_THUMB = (32, 18)  # pixels of the thumbnail that is compared to detect cuts
_FORBIDDEN = 1e6


class Picture(Protocol):
    """The part of a frame that tracking needs; `media.frame.Frame` has it."""

    frame: int  # number, from 1
    time_s: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    def rgb(self, long_side: int | None = None) -> Image:
        """Return the pixels (H, W, 3), scaled down to a longer side of `long_side`."""


FrameT = TypeVar("FrameT", bound=Picture)


Quality = tuple[float, float, float, float]  # of `config.QUALITY`
_UNRATED: Quality = (np.nan, np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class TrackedFace:
    """A subject in one frame, in pixels of the frame."""

    subject: int  # from 0, in the order of first appearance
    box: Box
    score: float
    landmarks: Floats  # (5, 2)
    detected: bool  # False: interpolated between two detection steps
    quality: Quality = _UNRATED  # set by `quality.rate_faces`
    followed: tuple[bool, ...] = ()  # from each start on; set by `follow.follow_largest`


@dataclass(frozen=True)
class FrameFaces:
    """The subjects in one frame, by number, without its pixels."""

    frame: int  # number, from 1
    time_s: float
    faces: list[TrackedFace]


@dataclass(frozen=True)
class _Scene:
    """The scene of a detection step, with which that of the next step is compared."""

    time_s: float
    size: tuple[int, int]  # of the frame
    thumb: Floats  # (18, 32) brightness, 0..1


@dataclass(frozen=True)
class _Detection:
    """The result of one detection step."""

    scene: _Scene
    faces: list[Face]  # in pixels of the frame
    image: Image  # in which they were detected
    in_image: list[Face]  # the same faces in its pixels
    appearances: list[Floats]  # of each face
    whole: Callable[[], Image]  # returns the frame in full size


@dataclass(eq=False)
class _Track:
    """A tracked face, which becomes a subject after enough detections."""

    face: Face
    time_s: float
    appearance: Floats
    template: AppearanceTemplate
    born_s: float
    seen: int = 0
    subject: int | None = None
    flicker: bool = False

    def see(self, detection: _Detection, k: int) -> None:
        """Continue the track with face `k` of a detection step."""
        self.face, self.time_s = detection.faces[k], detection.scene.time_s
        self.seen += 1
        self.appearance = detection.appearances[k]
        self.template.update(detection.image, detection.in_image[k], detection.whole)


@dataclass(frozen=True)
class _Match:
    """The assignment of the faces of a detection step, by index, to tracks."""

    kept: list[tuple[_Track, int]]  # of active tracks
    returned: list[tuple[_Track, int]]  # of tracks that were lost for a short time
    new: list[int]  # faces that start tracks
    cut: bool  # the scene changed
    steady: bool  # it agrees with the step before


_Sighting = tuple[_Track, Face, bool]  # a track's face in a frame; whether it was detected


def track_faces(
    frames: Iterable[FrameT],
    detector: Detector,
    config: Tracking | None = None,
    identity: Identity | None = None,
) -> Iterator[tuple[FrameT, FrameFaces]]:
    """Yield every frame, in order, and the subjects in it.

    At most `stride + confirm` frames are buffered. A face of fewer than `stride` frames may be
    missed, and one of fewer than `confirm` frames is no subject. A subject keeps its number over a
    gap of up to `gap_s` by its position and size, and over longer gaps and cuts by
    re-identification. Frames within a gap have no face of it.

    Args:
        frames: of one video.
        detector: of faces.
        config: settings of the tracking.
        identity: method of re-identification; None: by appearance.
    """
    config = config or Tracking()
    tracker = _Tracker(
        detector, config, identity or Appearance(config.same_appearance, config.same_colours)
    )
    unseen: list[FrameT] = []
    waiting: deque[tuple[FrameT, list[_Sighting]]] = deque()
    for frame in frames:
        unseen.append(frame)
        if tracker.is_due(unseen):
            waiting.extend(zip(unseen, tracker.follow(unseen), strict=True))
            unseen = []
            yield from _release(waiting)
    if unseen:
        waiting.extend(zip(unseen, tracker.follow(unseen), strict=True))
    tracker.confirm_tracks(1)  # tracks at the end of the video need no further detections
    yield from _release(waiting)


def _release(
    waiting: deque[tuple[FrameT, list[_Sighting]]],
) -> Iterator[tuple[FrameT, FrameFaces]]:
    """Yield the frames whose tracks are all decided: each is a subject, or too short for one."""
    while waiting and all(t.subject is not None or t.flicker for t, _, _ in waiting[0][1]):
        frame, sightings = waiting.popleft()
        faces = [
            TrackedFace(
                subject=track.subject,
                box=face.box,
                score=face.score,
                landmarks=face.landmarks,
                detected=detected,
            )
            for track, face, detected in sightings
            if track.subject is not None
        ]
        faces.sort(key=lambda face: face.subject)
        yield frame, FrameFaces(frame.frame, frame.time_s, faces)


class _Tracker:
    def __init__(self, detector: Detector, config: Tracking, identity: Identity) -> None:
        self.detector, self.config, self.identity = detector, config, identity
        self.active: list[_Track] = []
        self.lost: list[_Track] = []  # subjects without a face now
        self.subjects = 0
        self.last: _Scene | None = None
        self.steady = False

    def is_due(self, unseen: Sequence[Picture]) -> bool:
        """Tell whether the last of the frames since the last detection step needs one."""
        if not self.steady or self.last is None or len(unseen) >= self.config.stride:
            return True
        if unseen[-1].size != self.last.size:  # then all frames before it have one size
            return True
        return unseen[-1].time_s - self.last.time_s >= self.config.stride_s

    def follow(self, frames: Sequence[Picture]) -> list[list[_Sighting]]:
        """Return the faces in each frame, detected in the last one and in others if necessary."""
        (detection,) = self._detect(frames[-1:])
        match = self._match(detection)
        if match.steady:
            between = [self._interpolate(frame.time_s, detection, match) for frame in frames[:-1]]
            return [*between, self._apply(detection, match)]
        detections = [*self._detect(frames[:-1]), detection]
        return [self._apply(detection, self._match(detection)) for detection in detections]

    def _detect(self, frames: Sequence[Picture]) -> list[_Detection]:
        config = self.detector.config
        pictures = [frame.rgb(config.long_side) for frame in frames]
        small_side = min(config.small_side, config.long_side)
        images = [enlarge_small(picture, small_side) for picture in pictures]
        detections = []
        for frame, image, faces in zip(frames, images, self.detector.detect(images), strict=True):
            grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            small = cv2.resize(grey, _THUMB, interpolation=cv2.INTER_AREA)
            thumb = np.asarray(small, np.float32) / np.float32(255)
            scene = _Scene(frame.time_s, frame.size, thumb)
            factor = max(frame.size) / max(image.shape[:2])
            described = [describe_face(image, face) for face in faces]
            detections.append(
                _Detection(
                    scene=scene,
                    faces=scale_faces(faces, factor),
                    image=image,
                    in_image=faces,
                    appearances=described,
                    whole=frame.rgb,
                )
            )
        return detections

    def _match(self, detection: _Detection) -> _Match:
        config, last, scene = self.config, self.last, detection.scene
        change = 0.0 if last is None else float(np.abs(scene.thumb - last.thumb).mean())
        cut = last is not None and (scene.size != last.size or change > config.cut)
        # The similarity to an appearance of NaN is unknown; then only the position counts.
        limit = config.same_appearance if change > config.shift else config.other_appearance
        kept: list[tuple[_Track, int]] = []
        returned: list[tuple[_Track, int]] = []
        free = list(range(len(detection.faces)))
        if not cut:
            recent = [t for t in self.lost if scene.time_s - t.time_s <= config.gap_s]
            kept = _assign(self.active, detection, free, limit, config=config)
            free = [k for k in free if k not in {k for _, k in kept}]
            returned = _assign(recent, detection, free, limit, config=config)
            free = [k for k in free if k not in {k for _, k in returned}]
        new = [k for k in free if detection.faces[k].score >= config.sure_score]
        sure = len(kept) == len(self.active) and all(
            track.subject is not None
            and detection.faces[k].score >= config.sure_score
            and measure_overlap(track.face.box, detection.faces[k].box) >= config.sure_iou
            for track, k in kept
        )
        return _Match(
            kept=kept,
            returned=returned,
            new=new,
            cut=cut,
            steady=sure and not (cut or returned or new),
        )

    def _apply(self, detection: _Detection, match: _Match) -> list[_Sighting]:
        seen = match.kept + match.returned
        for track, k in seen:
            track.see(detection, k)
        born = [(self._begin(detection, k), k) for k in match.new]
        there = {id(track) for track, _ in seen}
        for track in self.active:
            track.flicker = track.subject is None and id(track) not in there
        known = [t for t in self.active + self.lost if t.subject is not None]
        self.lost = [t for t in known if id(t) not in there]
        if match.cut:
            for track in self.lost:
                track.time_s = -np.inf  # its position is of no use after a cut
        self.active = [track for track, _ in seen + born]
        self.last, self.steady = detection.scene, match.steady
        self.confirm_tracks(self.config.confirm)
        return [(track, detection.faces[k], True) for track, k in seen + born]

    def _begin(self, detection: _Detection, k: int) -> _Track:
        time_s, template = detection.scene.time_s, self.identity.begin_template()
        track = _Track(
            face=detection.faces[k],
            time_s=time_s,
            appearance=detection.appearances[k],
            template=template,
            born_s=time_s,
        )
        track.see(detection, k)
        return track

    def confirm_tracks(self, confirm: int) -> None:
        """Make tracks with `confirm` detections subjects, re-identified ones or new ones."""
        for track in self.active:
            if track.subject is None and track.seen >= confirm:
                track.subject = self._recognise(track)

    def _recognise(self, track: _Track) -> int:
        """Return the number of the lost subject that is most similar, or else the next one."""
        gone = [t for t in self.lost if t.time_s < track.born_s]  # never in one frame with it
        similarity = [track.template.compare(other.template) for other in gone]
        if similarity and max(similarity) >= self.identity.min_similarity:
            known = gone[int(np.argmax(similarity))]
            self.lost.remove(known)
            assert known.subject is not None
            return known.subject
        self.subjects += 1
        return self.subjects - 1

    def _interpolate(self, time_s: float, detection: _Detection, match: _Match) -> list[_Sighting]:
        sightings = []
        for track, k in match.kept:
            a, b = track.face, detection.faces[k]
            span = detection.scene.time_s - track.time_s
            share = (time_s - track.time_s) / span if span > 0 else 0.0
            x, y, w, h = (p + share * (q - p) for p, q in zip(a.box, b.box, strict=True))
            landmarks = a.landmarks + np.float32(share) * (b.landmarks - a.landmarks)
            score = a.score + share * (b.score - a.score)
            sightings.append((track, Face((x, y, w, h), score, landmarks), False))
        return sightings


def measure_overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the intersection of two boxes (x, y, w, h) over their union."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def _cost(a: Sequence[float], b: Sequence[float], config: Tracking) -> float:
    """Return the cost of assigning two boxes to one face: small if they overlap."""
    sides = sorted((max(a[2:]), max(b[2:])))
    distance = np.hypot(a[0] - b[0] + (a[2] - b[2]) / 2, a[1] - b[1] + (a[3] - b[3]) / 2) / sides[1]
    if distance > config.reach or sides[1] > config.resize * sides[0]:
        return _FORBIDDEN
    return float(1 - measure_overlap(a, b) + distance)


def _assign(
    tracks: Sequence[_Track],
    detection: _Detection,
    free: Sequence[int],
    min_similarity: float,
    *,
    config: Tracking,
) -> list[tuple[_Track, int]]:
    """Assign the faces with the indices `free` to tracks, with the lowest total cost.

    A face is not assigned if its similarity to the track's last face is below `min_similarity`.
    """
    faces = [detection.faces[k].box for k in free]
    cost = np.array([[_cost(track.face.box, box, config) for box in faces] for track in tracks])
    if cost.size == 0:
        return []
    near = [(tracks[r], free[c]) for r, c in find_pairs(cost) if cost[r, c] < _FORBIDDEN]
    return [
        (track, k)
        for track, k in near
        if not track.appearance @ detection.appearances[k] < min_similarity
    ]


def find_pairs(cost: Floats) -> list[tuple[int, int]]:
    """Return the pairs of a row and a column of costs (R, C) that have the lowest total."""
    if 1 in cost.shape:  # most videos show one person, and scipy.optimize takes 24 MB and 0.3 s
        row, column = np.unravel_index(cost.argmin(), cost.shape)
        return [(int(row), int(column))]
    from scipy.optimize import linear_sum_assignment

    return list(zip(*linear_sum_assignment(cost), strict=True))
