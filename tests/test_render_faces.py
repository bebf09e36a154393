"""Faces that are hidden: nothing of them is left, whoever the table is about."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import write_media
from sample_clips import SAMPLES
from sample_tables import make_table

from abawcli.faces.detect import load_detector
from abawcli.faces.hide import Detections, hide_faces, join_boxes
from abawcli.formats.tables import write_table
from abawcli.media.video import read_frames
from abawcli.views.render import RenderSettings, render_video

NOISE = np.random.default_rng(5).integers(0, 256, (144, 192, 3), np.uint8)
FACE = np.array([[60.0, 40.0, 60.0, 60.0]])


def test_all_that_is_left_of_a_face_are_a_few_colours() -> None:
    hidden = hide_faces(NOISE, FACE)
    region = hidden[25:115, 45:135]  # the box and a quarter of its sides around it
    assert len(np.unique(region.reshape(-1, 3), axis=0)) <= 36
    assert (hidden[:25] == NOISE[:25]).all() and (hidden[:, 135:] == NOISE[:, 135:]).all()
    # Another face with the same means of the squares gives the same picture.
    mirrored = NOISE.copy()
    for y in range(25, 115, 15):
        for x in range(45, 135, 15):
            mirrored[y : y + 15, x : x + 15] = NOISE[y : y + 15, x : x + 15][::-1, ::-1]
    assert (hide_faces(mirrored, FACE) == hidden).all()


@pytest.mark.parametrize(
    "box", [(-30, -30, 60, 60), (170, 120, 90, 90), (500, 5, 9, 9), (3, 3, 0, 0)]
)
def test_boxes_may_reach_beyond_the_picture(box: tuple[float, ...]) -> None:
    hidden = hide_faces(NOISE, np.array([box], float))
    assert hidden.shape == NOISE.shape
    x0, y0 = max(0, int(box[0])), max(0, int(box[1]))
    part = hidden[y0 : int(box[1] + box[3]), x0 : int(box[0] + box[2])].reshape(-1, 3)
    assert len(np.unique(part, axis=0)) <= 36


boxes = st.tuples(*[st.integers(0, 50)] * 2, *[st.integers(1, 30)] * 2)


@settings(max_examples=30)
@given(st.lists(boxes, max_size=8))
def test_joined_boxes_cover_all_and_do_not_overlap(given_boxes: list[tuple[int, ...]]) -> None:
    count = np.zeros((90, 90), int)
    for x, y, w, h in join_boxes(np.array(given_boxes, float).reshape(-1, 4)):
        count[int(y) : int(y + h), int(x) : int(x + w)] += 1
    assert count.max() <= 1
    assert all(count[y : y + h, x : x + w].all() for x, y, w, h in given_boxes)


def test_a_face_is_hidden_shortly_before_and_after_it_is_seen() -> None:
    seen = Detections(np.array([1.0, 1.1, 3.0]), np.arange(12.0).reshape(3, 4))
    assert seen.find_around(0.9, 0.25)[:, 0].tolist() == [0, 4]
    assert seen.find_around(2.0, 0.25).shape == (0, 4)
    assert seen.find_around(3.25, 0.25)[:, 0].tolist() == [8]


def test_the_face_of_the_table_is_hidden_where_no_detector_sees_it(tmp_path: Path) -> None:
    write_media(tmp_path / "clip.mkv", [NOISE] * 3, codec="ffv1", pixel_format="bgr0")
    table = make_table([0] * 3).assign(x=60.0, y=40.0, w=60.0, h=60.0)
    write_table(table, tmp_path / "clip.csv", {})
    render_video(
        tmp_path / "clip.mkv", tmp_path / "clip.csv", tmp_path / "out.mkv",
        RenderSettings(blur_faces=True),
    )  # fmt: skip
    inside = slice(44, 96), slice(64, 116)
    for frame in read_frames(tmp_path / "out.mkv"):
        left, original = frame.rgb()[inside].astype(float), NOISE[inside].astype(float)
        assert left.std() < original.std() / 4
        assert abs(np.corrcoef(left.ravel(), original.ravel())[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("times_s", "span_s"),
    [((0.0, 0.04), (0.0, 0.08)), ((0.0, 1.0), (0.6, 0.7))],  # also one that came long before
)
def test_a_face_that_the_table_is_not_about_is_hidden(
    tmp_path: Path, times_s: tuple[float, float], span_s: tuple[float, float]
) -> None:
    """The table knows of a label, and of no face; the picture shows one."""
    face = next(iter(read_frames(SAMPLES / "expressions.mp4"))).rgb()
    clip, table = tmp_path / "clip.mkv", tmp_path / "clip.csv"
    write_media(clip, [face, face], times=[round(25 * time_s) for time_s in times_s])
    spoken = make_table([4, 4]).assign(time_s=times_s, found=False, source="audio")
    write_table(spoken, table, {})
    for name, blur in (("open", False), ("hidden", True)):
        settings = RenderSettings(blur, from_s=span_s[0], to_s=span_s[1])
        render_video(clip, table, tmp_path / f"{name}.mp4", settings)
    assert count_faces(tmp_path / "open.mp4") > 0
    assert count_faces(tmp_path / "hidden.mp4") == 0


def count_faces(path: Path) -> int:
    detector = load_detector("retinaface", threads=1)
    return sum(len(detector.detect([frame.rgb(384)])[0]) for frame in read_frames(path))
