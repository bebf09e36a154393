"""Tracking: exact moments, steady numbers, few detections, bounded template."""

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from media_files import Image
from scipy.optimize import linear_sum_assignment

from abawcli.config import Detection, Tracking
from abawcli.faces.detect import Face, Floats
from abawcli.faces.track import FrameFaces, find_pairs, track_faces

RED, GREEN, BLUE = (200, 40, 40), (40, 200, 40), (40, 40, 200)
GREY, BRIGHT = 90, 200
Scene = list[tuple[float, float, float, tuple[int, int, int], float]]  # x, y, side, colour, score


@dataclass(eq=False)
class Drawn:
    """A frame of coloured squares; the detector reads what it shows from its first row."""

    frame: int
    time_s: float
    scene: Scene
    background: int = GREY
    size: tuple[int, int] = (128, 72)

    def rgb(self, long_side: int | None = None) -> np.ndarray:
        height, width = (72, 128) if self.size[0] > self.size[1] else (128, 72)
        image = np.full((height, width, 3), self.background, np.uint8)
        for x, y, side, colour, _ in self.scene:
            x0, y0 = max(0, int(x - side / 2)), max(0, int(y - side / 2))
            image[y0 : int(y + 1.5 * side), x0 : int(x + 1.5 * side)] = colour
        image[0, 0] = self.frame % 256, self.frame // 256, 0
        return image


@dataclass
class Script:
    """A detector that knows the scenes, and counts."""

    scenes: dict[int, Scene]
    config: Detection = Detection(long_side=128)
    name: str = "script"
    sha256: str = ""
    looked: list[int] = field(default_factory=list)

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        assert len({image.shape for image in images}) <= 1  # as a network's batch needs
        numbers = [int(image[0, 0, 0]) + 256 * int(image[0, 0, 1]) for image in images]
        self.looked += numbers
        return [[face_at(*item) for item in self.scenes[number]] for number in numbers]


def face_at(x: float, y: float, side: float, colour: object, score: float) -> Face:
    landmarks = np.array([[x + k, y + 2 * k] for k in range(5)], np.float32)
    return Face((x, y, side, side), score, landmarks)


class ByColour:
    """Tells people apart by the colour of their square."""

    name, min_similarity = "colour", 0.5
    sha256: str | None = None

    def begin_template(self) -> "ColourTemplate":
        return ColourTemplate()

    def describe_faces(self, image: np.ndarray, faces: Sequence[Face]) -> Floats:
        raise AssertionError("tracking compares templates")


class ColourTemplate:
    colour = (0, 0, 0)

    def update(self, image: np.ndarray, face: Face, whole: object) -> None:
        x, y, side, _ = face.box
        self.colour = tuple(image[int(y + side / 2), int(x + side / 2)].tolist())

    def compare(self, other: "ColourTemplate") -> float:
        return float(self.colour == other.colour)


def run(
    scenes: list[Scene],
    config: Tracking | None = None,
    fps: float = 25.0,
    backgrounds: dict[int, int] | None = None,
) -> tuple[list[FrameFaces], Script]:
    script = Script(dict(enumerate(scenes, 1)))
    frames = [
        Drawn(k, (k - 1) / fps, scene, (backgrounds or {}).get(k, GREY))
        for k, scene in enumerate(scenes, 1)
    ]
    tracked = track_faces(frames, script, config or Tracking(), ByColour())
    return [found for _, found in tracked], script


def subjects_of(tracked: list[FrameFaces]) -> list[list[int]]:
    return [[face.subject for face in item.faces] for item in tracked]


def still(n: int, x: float = 40, colour: tuple[int, int, int] = RED) -> list[Scene]:
    return [[(x, 20, 16, colour, 0.99)] for _ in range(n)]


def test_calm_face_is_detected_every_stride_frames_and_interpolated_by_time() -> None:
    scenes: list[Scene] = [[(20 + 0.5 * k, 20, 16, RED, 0.99)] for k in range(43)]
    tracked, script = run(scenes)
    assert script.looked == [1, 2, 3, 4, 9, 14, 19, 24, 29, 34, 39, 43]
    assert subjects_of(tracked) == [[0]] * 43
    for k, item in enumerate(tracked):
        (face,) = item.faces
        assert face.detected == (item.frame in script.looked)
        assert face.box == pytest.approx((20 + 0.5 * k, 20, 16, 16), abs=1e-5)
        assert face.landmarks[1] == pytest.approx((21 + 0.5 * k, 22), abs=1e-4)


def test_interpolation_follows_the_clock_not_the_count() -> None:
    times = [0, 0.02, 0.04, 0.06, 0.1, 0.11, 0.12, 0.18]
    frames = [Drawn(k + 1, t, [(20 + 30 * t, 20, 16, RED, 0.99)]) for k, t in enumerate(times)]
    script = Script({frame.frame: frame.scene for frame in frames})
    tracked = [found for _, found in track_faces(frames, script)]
    assert [item.faces[0].box[0] for item in tracked] == pytest.approx(
        [20 + 30 * t for t in times], abs=1e-5
    )
    assert [item.frame for item in tracked if not item.faces[0].detected] == [5, 6, 7]


def test_slow_frames_are_looked_at_more_often() -> None:
    _, script = run(still(40), fps=5)
    assert script.looked[4:8] == [6, 8, 10, 12]  # 0.4 s, not 1 s


@settings(max_examples=40, deadline=None)
@given(start=st.integers(1, 30), length=st.integers(5, 20))
def test_a_face_comes_and_goes_in_the_exact_frames(start: int, length: int) -> None:
    scenes: list[Scene] = [[] for _ in range(60)]
    scenes[start - 1 : start - 1 + length] = still(length)
    tracked, _ = run(scenes)
    there = [item.frame for item in tracked if item.faces]
    assert there == list(range(start, start + length))
    assert subjects_of(tracked)[start - 1] == [0]


def test_a_short_flicker_is_no_subject_but_three_frames_are() -> None:
    scenes = still(40, x=20)
    for k in (4, 5, 11, 12, 13):
        scenes[k] = [*scenes[k], (90, 20, 16, BLUE, 0.95)]
    tracked, script = run(scenes, Tracking(stride=1))
    assert [item.frame for item in tracked if len(item.faces) > 1] == [12, 13, 14]
    assert len(script.looked) == 40


def test_a_video_of_one_or_two_frames_has_its_face() -> None:
    for n in (1, 2):
        assert subjects_of(run(still(n))[0]) == [[0]] * n


def test_weak_faces_do_not_begin_a_track_but_go_on_with_one() -> None:
    weak: list[Scene] = [[(40, 20, 16, RED, 0.7)] for _ in range(10)]
    assert subjects_of(run(weak)[0]) == [[]] * 10
    tracked, script = run(still(10) + weak + still(10))
    assert subjects_of(tracked) == [[0]] * 30
    assert set(range(11, 21)) <= set(script.looked)


def test_a_short_gap_keeps_the_number_by_place_and_stays_a_gap() -> None:
    scenes = still(20) + [[] for _ in range(30)] + still(20, x=44, colour=BLUE)
    tracked, _ = run(scenes)
    assert subjects_of(tracked) == [[0]] * 20 + [[]] * 30 + [[0]] * 20


def test_after_a_long_gap_identity_decides_who_it_is() -> None:
    gap: list[Scene] = [[] for _ in range(80)]
    tracked, _ = run(still(20) + gap + still(20, x=90, colour=RED))
    assert subjects_of(tracked)[-20:] == [[0]] * 20
    tracked, _ = run(still(20) + gap + still(20, x=40, colour=BLUE))
    assert subjects_of(tracked)[-20:] == [[1]] * 20
    tracked, _ = run(
        still(9) + gap + still(9, 90, BLUE) + gap + still(9, 9, RED) + gap + still(9, 9, BLUE)
    )
    assert [s for s in subjects_of(tracked) if s] == [[0]] * 9 + [[1]] * 9 + [[0]] * 9 + [[1]] * 9


def test_at_a_cut_place_means_nothing_and_the_moment_is_exact() -> None:
    scenes = still(17) + still(20, colour=BLUE) + still(20)
    bright = dict.fromkeys(range(18, 38), BRIGHT)
    tracked, script = run(scenes, backgrounds=bright)
    assert subjects_of(tracked) == [[0]] * 17 + [[1]] * 20 + [[0]] * 20
    assert {17, 18, 37, 38} <= set(script.looked)


def test_two_people_keep_their_numbers_while_they_move() -> None:
    scenes: list[Scene] = [
        [(20 + 0.4 * k, 10.0, 14.0, RED, 0.99), (90 - 0.4 * k, 40.0, 20.0, GREEN, 0.98)][
            :: 1 if k % 3 else -1
        ]
        for k in range(60)
    ]
    tracked, script = run(scenes)
    assert subjects_of(tracked) == [[0, 1]] * 60 or subjects_of(tracked) == [[1, 0]] * 60
    ys = {face.subject: set() for face in tracked[0].faces}
    for item in tracked:
        for face in item.faces:
            ys[face.subject].add(round(face.box[1]))
    assert sorted(map(tuple, ys.values())) == [(10,), (40,)]
    assert len(script.looked) < 20


def test_a_fast_face_without_overlap_stays_one_subject() -> None:
    scenes: list[Scene] = [[(4 + 10 * k, 20, 12, RED, 0.99)] for k in range(11)]
    tracked, script = run(scenes)
    assert subjects_of(tracked) == [[0]] * 11
    assert script.looked == sorted(script.looked) and len(script.looked) == 11


def test_a_newcomer_never_shares_the_number_of_someone_seen_beside_him() -> None:
    both: Scene = [(20, 20, 16, RED, 0.99), (90, 20, 16, RED, 0.99)]
    scenes = still(10, x=20) + [both, both] + still(20, x=90)
    tracked, _ = run(scenes)
    assert subjects_of(tracked) == [[0]] * 10 + [[0, 1]] * 2 + [[1]] * 20


def test_boxes_are_scaled_to_the_frame() -> None:
    frames = [Drawn(k, k / 25, scene, size=(1280, 720)) for k, scene in enumerate(still(5), 1)]
    script = Script({frame.frame: frame.scene for frame in frames})
    boxes = [item.faces[0].box for _, item in track_faces(frames, script)]
    assert boxes == [pytest.approx((400, 200, 160, 160))] * 5


@settings(max_examples=25, deadline=None)
@given(parts=st.lists(st.integers(1, 14), min_size=2, max_size=5))
def test_another_picture_size_is_a_cut_in_the_exact_frame(parts: list[int]) -> None:
    lying, upright = (128, 72), (72, 128)
    sizes = [(lying, upright)[k % 2] for k, part in enumerate(parts) for _ in range(part)]
    frames = [
        Drawn(k, k / 25, [(20 if size == lying else 40, 20, 16, RED, 0.99)], size=size)
        for k, size in enumerate(sizes, 1)
    ]
    script = Script({frame.frame: frame.scene for frame in frames})
    pairs = list(track_faces(frames, script))
    assert [frame for frame, _ in pairs] == frames
    assert [item.frame for _, item in pairs] == [frame.frame for frame in frames]
    for frame, item in pairs:  # no box lies between those of different sizes
        x = frame.scene[0][0]
        assert all(face.box == pytest.approx((x, 20, 16, 16)) for face in item.faces)
    changes = {k for k, size in enumerate(sizes[1:], 2) if size != sizes[k - 2]}
    assert changes | {k - 1 for k in changes} <= set(script.looked)


def test_after_a_change_of_size_place_means_nothing() -> None:
    sizes = [(128, 72)] * 10 + [(72, 128)] * 5 + [(128, 72)] * 10
    colours = [BLUE if size == (72, 128) else RED for size in sizes]
    frames = [
        Drawn(k, k / 25, [(40, 20, 16, colour, 0.99)], size=size)
        for k, (size, colour) in enumerate(zip(sizes, colours, strict=True), 1)
    ]
    script = Script({f.frame: f.scene for f in frames})
    tracked = [found for _, found in track_faces(frames, script, identity=ByColour())]
    assert subjects_of(tracked) == [[0]] * 10 + [[1]] * 5 + [[0]] * 10


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(
            st.sampled_from([(10.0, 0.99), (50.0, 0.95), (90.0, 0.7)]), max_size=3, unique=True
        ),
        min_size=1,
        max_size=60,
    )
)
def test_every_frame_comes_out_once_in_order_from_a_bounded_buffer(
    seen: list[list[tuple[float, float]]],
) -> None:
    config = Tracking()
    alive: weakref.WeakSet[Drawn] = weakref.WeakSet()
    most = 0
    scenes: dict[int, Scene] = {
        k: [(x, 20, 16, RED, score) for x, score in faces] for k, faces in enumerate(seen, 1)
    }

    def read() -> Iterator[Drawn]:
        nonlocal most
        for k, scene in scenes.items():
            frame = Drawn(k, k / 25, scene)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame
            del frame

    order = []
    for item in track_faces(read(), Script(scenes), config):
        order.append(item[1].frame)
        numbers = [face.subject for face in item[1].faces]
        assert numbers == sorted(set(numbers))
        del item
    assert order == list(scenes)
    assert most <= config.stride + config.confirm + 2


def test_no_frames_give_nothing() -> None:
    assert list(track_faces([], Script({}))) == []


@settings(max_examples=50)
@given(
    arrays(float, st.integers(1, 6), elements=st.one_of(st.floats(0, 3), st.just(1e6))),
    st.booleans(),
)
def test_one_face_or_track_is_assigned_as_scipy_does(line: np.ndarray, upright: bool) -> None:
    cost = line[:, None] if upright else line[None]
    ((row, column),) = find_pairs(cost)
    assert cost[row, column] == cost[linear_sum_assignment(cost)].sum()
    if (line == line.min()).sum() == 1:  # else several are as good
        assert [row, column] == np.ravel(linear_sum_assignment(cost)).tolist()
