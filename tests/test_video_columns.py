"""The numbers of a whole video, by name, and whom a strategy selects of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abawcli.errors import InputError, UsageError
from abawcli.faces.track import FrameFaces, TrackedFace
from abawcli.formats.strategy import SubjectSegment
from abawcli.pipeline.video_columns import VideoColumns

Boxes = dict[int, tuple[float, float, float, float]]


def make_columns(frames: list[Boxes]) -> VideoColumns[FrameFaces]:
    """Return the columns of frames, a quarter of a second apart, with the boxes of subjects."""
    columns: VideoColumns[FrameFaces] = VideoColumns(face_columns=[("landmarks", "f8", (5, 2))])
    for number, people in enumerate(frames, 1):
        faces = [
            TrackedFace(subject, box, 0.9, np.full((5, 2), number, np.float32), True)
            for subject, box in sorted(people.items())
        ]
        columns.append(FrameFaces(number, number / 4, faces))
    return columns


sides = st.floats(1, 100)
boxes = st.tuples(st.floats(-50, 500), st.floats(-50, 500), sides, sides)
videos = st.lists(st.dictionaries(st.integers(0, 3), boxes, max_size=4), min_size=1, max_size=12)


@given(videos)
def test_every_frame_has_a_row_for_everybody_with_what_was_appended(video: list[Boxes]) -> None:
    rows = make_columns(video).select((SubjectSegment("all"),), "v.mp4")
    people = sorted(set().union(*video)) or [-1]
    assert rows.frame.tolist() == [k for k in range(1, len(video) + 1) for _ in people]
    assert rows.subject.tolist() == people * len(video)
    assert (rows.of_frames("time_s") == rows.frame / 4).all()
    box, landmarks = rows.of_faces("box"), rows.of_faces("landmarks")
    for k, (frame, subject) in enumerate(zip(rows.frame, rows.subject, strict=True)):
        expected = video[frame - 1].get(subject)
        assert rows.found[k] == (expected is not None)
        if expected:
            assert tuple(box[k]) == expected and (landmarks[k] == frame).all()
        else:
            assert np.isnan(box[k]).all() and np.isnan(landmarks[k]).all()
    assert (rows.of_faces("score", missing=0)[~rows.found] == 0).all()
    own = dict(rows.split_subjects())
    assert list(own) == people and all(len(one.frame) == len(video) for one in own.values())


def test_segments_have_each_their_own_strategy() -> None:
    two: Boxes = {0: (0, 0, 10, 10), 1: (50, 0, 20, 20)}
    columns = make_columns([two] * 9)
    segments = (SubjectSegment("left", 2, 3), SubjectSegment("right", 5, 6))
    rows = columns.select(segments, "v.mp4")
    assert rows.subject.tolist() == [-1, 0, 0, -1, 1, 1, -1, -1, -1]
    assert rows.found.tolist() == [subject >= 0 for subject in rows.subject]
    assert set(columns.select((SubjectSegment("main"),), "v.mp4").subject) == {1}


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        (SubjectSegment("track 2"), "v.mp4 has no track 2; they are 0 to 1"),
        (SubjectSegment("main", 3), "v.mp4 has no frame 3; the last is 2"),
    ],
)
def test_tracks_and_frames_that_are_not_there(segment: SubjectSegment, message: str) -> None:
    columns = make_columns([{0: (0, 0, 9, 9), 1: (20, 0, 9, 9)}] * 2)
    with pytest.raises(InputError, match=message):
        columns.select((segment,), "v.mp4")


def test_whom_nobody_followed_cannot_be_selected() -> None:
    columns = make_columns([{0: (0, 0, 9, 9)}] * 2)
    with pytest.raises(UsageError, match="which faces were followed"):
        columns.select((SubjectSegment("follow-largest"),), "v.mp4")


def test_a_face_takes_less_than_two_hundred_bytes() -> None:
    assert make_columns([{}]).faces.dtype.itemsize < 200
