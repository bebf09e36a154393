"""Following of the largest face, on made tracks and made identities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from abawcli.config import Following
from abawcli.faces.detect import Face, Floats
from abawcli.faces.follow import Followed, follow_largest
from abawcli.faces.track import FrameFaces, TrackedFace
from abawcli.formats.strategy import SubjectSegment, find_starts
from abawcli.pipeline.video_columns import VideoColumns

Person = tuple[int, float, float, float]  # track, x, side, direction of the identity in degrees
NAN = float("nan")


@dataclass
class Still:
    """A frame without pixels."""

    frame: int
    time_s: float = 0.0
    size: tuple[int, int] = (640, 480)

    def rgb(self, long_side: int | None = None) -> np.ndarray:
        return np.zeros((1, 1, 3), np.uint8)


class Directions:
    """Reads the identity of a face, a direction in a plane, from its landmarks."""

    name, min_similarity = "directions", 0.8  # 36.9 degrees
    sha256: str | None = None

    def begin_template(self) -> None:
        raise AssertionError("nobody is tracked here")

    def describe_faces(self, image: np.ndarray, faces: Sequence[Face]) -> Floats:
        angle = np.radians([face.landmarks[0, 0] for face in faces])
        return np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)


def make_face(track: int, x: float, side: float, degrees: float) -> TrackedFace:
    landmarks = np.full((5, 2), degrees)
    return TrackedFace(track, (x, 0, side, side), 0.9, landmarks, True)


def select(frames: list[list[Person]], segments: tuple[SubjectSegment, ...]) -> list[int]:
    """Return the track that is chosen in each frame, -1 where nobody is."""
    starts = find_starts([segments])
    shown = [
        (Still(k), FrameFaces(k, 0.0, [make_face(*person) for person in people]))
        for k, people in enumerate(frames, 1)
    ]
    columns: VideoColumns[FrameFaces] = VideoColumns(starts=starts)
    columns.collect(found for _, found in follow_largest(shown, Directions(), starts))
    return columns.select(segments, "v.mp4").subject.tolist()


def follow(*frames: list[Person]) -> list[int]:
    return select(list(frames), (SubjectSegment("follow-largest"),))


def test_the_largest_face_of_the_first_frame_with_a_face_is_followed() -> None:
    small, large = (0, 0.0, 40.0, 90.0), (1, 100.0, 50.0, 0.0)
    grown = (0, 0.0, 200.0, 90.0)
    assert follow([], [small, large], [grown, large], [grown, large]) == [-1, 1, 1, 1]
    equal = (0, 0.0, 50.0, 90.0)
    assert follow([equal, large]) == [0]


def test_identity_decides_where_people_cross_and_tracks_do_not() -> None:
    # The followed person is track 0 at first, then far away as track 1; track 0 is now another.
    first, other = [(0, 0.0, 50.0, 0.0), (1, 300.0, 40.0, 90.0)], (0, 0.0, 50.0, 90.0)
    assert follow(first, [other, (1, 300.0, 40.0, 10.0)]) == [0, 1]


def test_overlap_decides_where_all_similarities_are_weak_or_unknown() -> None:
    first = [(0, 0.0, 50.0, 0.0)]
    for degrees in (60.0, NAN):  # a weak similarity; a face too small to be described
        near, far = (0, 20.0, 50.0, degrees), (1, 45.0, 50.0, degrees)
        assert follow(first, [near, far], [far]) == [0, 0, 1]
    # Somebody who is hardly where the followed person was does not take the place.
    assert follow(first, [(1, 40.0, 50.0, 90.0)], [(2, 300.0, 50.0, 0.0)]) == [0, -1, 2]


def test_a_face_that_turns_slowly_is_followed_and_one_that_turns_at_once_is_not() -> None:
    turned = [[(0, 100.0 * k, 50.0, 3.0 * k)] for k in range(40)]  # boxes never overlap
    assert follow(*turned) == [0] * 40
    assert follow(turned[0], turned[-1]) == [0, -1]


def test_the_mean_keeps_the_published_share() -> None:
    person, faces = Followed(min_similarity=0.5), [make_face(0, 0, 50, 0)]
    identities = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6]], np.float32)
    expected = identities[0]
    for identity in identities:
        assert person.find(faces, identity[None]) == 0
        expected = 0.9 * expected + 0.1 * identity
        assert person.mean == pytest.approx(expected)
    unknown = np.full((1, 2), np.nan, np.float32)
    assert person.find(faces, unknown) == 0  # by overlap
    assert person.mean == pytest.approx(expected)
    assert person.find([], unknown[:0]) is None
    assert Following.keep == 0.90


def test_each_segment_follows_its_own_first_largest_face() -> None:
    a, b = (0, 0.0, 50.0, 0.0), (1, 100.0, 40.0, 90.0)
    grown = (1, 100.0, 60.0, 90.0)
    segments = (SubjectSegment("follow-largest", 1, 2), SubjectSegment("follow-largest", 4))
    assert select([[a, b], [a, grown], [a, grown], [a, grown], [a, b]], segments) == [
        0, 0, -1, 1, 1,
    ]  # fmt: skip
    assert find_starts([segments, (SubjectSegment("largest"),)]) == (1, 4)
