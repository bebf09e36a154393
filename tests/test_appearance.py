"""Who is who by appearance: real pictures and recordings, found by the built-in detector."""

from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sample_faces import place_landmarks, read_face

from abawcli.faces.appearance import describe_face
from abawcli.faces.detect import Detector, Face, load_detector
from abawcli.faces.identity import Appearance
from abawcli.faces.track import track_faces
from abawcli.media.video import read_frames

PERSON = read_face("anna", 320)
WALL = (205, 203, 200)
EMPTY = np.full((320, 480, 3), WALL, np.uint8)


def bend_face(strength: float) -> np.ndarray:
    """Return another person in the same clothes: other eyes, nose and mouth; no colour changes."""
    rows, columns = np.mgrid[:320, :320].astype(np.float32)
    x, y = (columns - 160) / 58, (rows - 156) / 75  # of the middle of the face
    inside = strength * np.exp(-(x**4 + y**4))
    across = columns + 58 * inside * x * np.where(y < 0, 0.6, -0.45)
    down = rows + 75 * inside * 0.3 * np.sin(2.5 * y + 0.6)
    return cv2.remap(PERSON, across.astype(np.float32), down.astype(np.float32), cv2.INTER_LINEAR)


def mirror_face(portrait: np.ndarray) -> np.ndarray:
    """Mirror the face and nothing else."""
    changed = portrait.copy()
    changed[81:231, 102:218] = portrait[81:231, 102:218][:, ::-1]
    return changed


def place(portrait: np.ndarray, x: int = 80, side: int = 320) -> np.ndarray:
    """Return a picture of the room, 480x320, with somebody in it, `side` pixels wide and high."""
    room = EMPTY.copy()
    shown = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)[:320, : 480 - x]
    room[: len(shown), x : x + shown.shape[1]] = shown
    return room


@dataclass(eq=False)
class Picture:
    frame: int
    image: np.ndarray

    @property
    def time_s(self) -> float:
        return self.frame / 25

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[1], self.image.shape[0]

    def rgb(self, long_side: int | None = None) -> np.ndarray:
        width, height = self.size
        size = (long_side or width), (long_side or width) * height // width
        return cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector("retinaface", threads=1)


def follow(detector: Detector, *parts: tuple[int, np.ndarray]) -> list[list[int]]:
    """Return who is in each part of a film, of which each picture is shown so many times."""
    images = [image for count, image in parts for _ in range(count)]
    frames = [Picture(k, image) for k, image in enumerate(images, 1)]
    found = [[face.subject for face in item.faces] for _, item in track_faces(frames, detector)]
    ends = np.cumsum([count for count, _ in parts])
    return [
        sorted({who for frame in found[end - count : end] for who in frame})
        for end, (count, _) in zip(ends, parts, strict=True)
    ]


@pytest.mark.parametrize(
    "other",
    [
        place(bend_face(0.7), x=110),
        place(bend_face(0.7), side=280),
        place(mirror_face(bend_face(0.7))),
    ],
    ids=["elsewhere", "smaller", "in the very place"],
)
def test_two_people_in_one_room_stay_two_over_a_cut(detector: Detector, other: np.ndarray) -> None:
    """Clothes, hair, wall and light are the same: the picture changes too little for a cut."""
    assert follow(detector, (9, place(PERSON)), (9, other), (9, place(PERSON))) == [[0], [1], [0]]


def test_one_person_stays_one_over_a_cut(detector: Detector) -> None:
    closer = place((PERSON * 0.85).astype(np.uint8), x=40, side=400)
    assert follow(detector, (9, place(PERSON)), (9, closer)) == [[0], [0]]


def test_who_leaves_and_returns_is_known_by_appearance(detector: Detector) -> None:
    back, other = place(PERSON, x=130, side=300), place(bend_face(0.7), x=130, side=300)
    assert follow(detector, (6, place(PERSON)), (60, EMPTY), (6, back)) == [[0], [], [0]]
    assert follow(detector, (6, place(PERSON)), (60, EMPTY), (6, other)) == [[0], [], [1]]


def remember(identity: Appearance, detector: Detector, image: np.ndarray) -> Any:
    template = identity.begin_template()
    (face,) = detector.detect([image])[0]
    template.update(image, face, lambda: image)
    return template


def test_face_and_colours_both_have_to_agree(detector: Detector) -> None:
    identity = Appearance()
    same, darker, other, blue = (
        remember(identity, detector, image)
        for image in (
            PERSON, (PERSON * 0.9).astype(np.uint8), bend_face(0.7), PERSON[..., ::-1].copy(),
        )
    )  # fmt: skip
    assert same.compare(same) == pytest.approx(1, abs=1e-5)
    assert same.compare(darker) > identity.min_similarity
    limit = identity.min_similarity
    assert same.compare(other) < limit < Appearance(colours=0).min_similarity + 0.01
    assert same.compare(blue) == -1


def test_a_look_does_not_depend_on_light_and_hardly_on_size(detector: Detector) -> None:
    look = describe_face(PERSON, detector.detect([PERSON])[0][0])
    assert np.linalg.norm(look) == pytest.approx(1, abs=1e-5)
    smaller = np.asarray(cv2.resize(PERSON, (130, 130), interpolation=cv2.INTER_AREA), np.uint8)
    for image in (PERSON // 2 + 60, smaller):
        assert look @ describe_face(image, detector.detect([image])[0][0]) > 0.85


def test_what_cannot_be_told_is_a_new_person(detector: Detector) -> None:
    """Too small a face, or one without any detail: nothing is like it."""
    identity = Appearance(min_similarity=-0.9, colours=0.0)
    for image, face in (
        (PERSON, Face((100, 60, 20, 23), 0.99, place_landmarks(100, 60, 23))),
        (EMPTY, Face((100, 60, 80, 80), 0.99, place_landmarks(100, 60, 80))),
    ):
        assert np.isnan(describe_face(image, face)).all()
        templates = [identity.begin_template(), identity.begin_template()]
        for template in templates:
            template.update(image, face, lambda: PERSON)
        assert templates[0].compare(templates[1]) < identity.min_similarity


# Recordings of people: M and W of whom two clips are, and another man, all before one wall


def join(folder: Path, *names: str) -> list[list[int]]:
    """Return who is in each of some clips when they are one film, the first 20 frames of each."""
    detector, parts = load_detector("retinaface", threads=1), []
    for name in names:
        parts.append([frame.rgb() for frame in islice(read_frames(folder / name), 20)])
    size = parts[0][0].shape[1::-1]
    frames = [Picture(k, cv2.resize(i, size)) for k, i in enumerate(chain(*parts), 1)]
    found = [[face.subject for face in item.faces] for _, item in track_faces(frames, detector)]
    ends = np.cumsum([len(part) for part in parts])
    return [
        sorted({who for frame in found[end - len(part) : end] for who in frame})
        for end, part in zip(ends, parts, strict=True)
    ]


@pytest.mark.shared_data
def test_people_of_recordings_stay_apart(shared_data: Path) -> None:
    videos = shared_data / "videos"
    assert join(videos, "talk_again.mkv", "talk_eat.mkv", "talk_school.mkv") == [[0], [1], [2]]
    assert join(videos, "talk_again.mkv", "talk_help.mkv") == [[0], [0]]
    assert join(videos, "talk_book.mkv", "talk_school.mkv") == [[0], [0]]
    assert join(videos, "neutral_to_smile.mp4", "cry_then_laugh_sound.mp4") == [[0], [1]]


@pytest.mark.shared_data
def test_a_loop_of_two_people_has_two(shared_data: Path) -> None:
    assert join(shared_data / "videos", *["twofaces_headpose.gif"] * 3) == [[0, 1]] * 3


@pytest.mark.shared_data
def test_a_person_who_leaves_a_recording_and_returns_is_one(shared_data: Path) -> None:
    detector = load_detector("retinaface", threads=1)
    first, second = (
        [frame.rgb() for frame in islice(read_frames(shared_data / "videos" / name), 9)]
        for name in ("talk_again.mkv", "talk_help.mkv")
    )
    away = np.full_like(first[0], 200)
    parts = [*((1, image) for image in first), (65, away), *((1, image) for image in second)]
    people = follow(detector, *parts)  # away for 2.6 s
    assert people == [[0]] * 9 + [[]] + [[0]] * 9
