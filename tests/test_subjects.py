"""Choosing subjects, against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abawcli.config import SUBJECTS
from abawcli.errors import UsageError
from abawcli.faces.subjects import NOBODY, choose_rows, find_main, lay_rows

Faces = list[tuple[int, int, tuple[float, float, float, float]]]  # frame, subject, box

side = st.integers(1, 50).map(float)
place = st.integers(-20, 100).map(float)
faces_strategy = st.lists(
    st.tuples(st.integers(1, 12), st.integers(0, 4), st.tuples(place, place, side, side)),
    unique_by=lambda face: face[:2],
    max_size=30,
)


def columns(faces: Faces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.array([f for f, _, _ in faces], np.int64),
        np.array([s for _, s, _ in faces], np.int64),
        np.array([b for _, _, b in faces], np.float64).reshape(-1, 4),
    )


def mark_followed(faces: Faces) -> list[bool]:
    """Return whether each face is followed: the first of every other frame."""
    first = {f: min(s for g, s, _ in faces if f == g) for f, _, _ in faces}
    return [f % 2 == 0 and first[f] == s for f, s, _ in faces]


def choose_plainly(faces: Faces, strategy: str) -> list[int]:
    weight: dict[int, float] = {}
    for _, subject, (_, _, w, h) in faces:
        weight[subject] = weight.get(subject, 0) + (w * h) ** 0.5
    order = {
        "main": lambda b: 0.0,
        "largest": lambda b: -b[2] * b[3],
        "left": lambda b: b[0] + b[2] / 2,
        "right": lambda b: -b[0] - b[2] / 2,
        "top": lambda b: b[1] + b[3] / 2,
    }
    chosen = []
    for frame in sorted({f for f, _, _ in faces}):
        rows = sorted((s, k) for k, (f, s, _) in enumerate(faces) if f == frame)
        if strategy == "main":
            main = min(weight, key=lambda s: (-weight[s], s))
            chosen += [k for s, k in rows if s == main]
        elif strategy == "follow-largest":
            chosen += [k for _, k in rows if mark_followed(faces)[k]]
        elif strategy.startswith("track") or strategy == "skip":
            chosen += [k for s, k in rows if strategy == f"track {s}"]
        elif strategy == "all":
            chosen += [k for _, k in rows]
        else:
            chosen.append(min((order[strategy](faces[k][2]), s, k) for s, k in rows)[2])
    return chosen


CHOICES = (*SUBJECTS, "skip", "track 0", "track 3", "track 99")


@given(faces_strategy, st.sampled_from(CHOICES))
def test_choice_is_the_plain_one(faces: Faces, strategy: str) -> None:
    followed = np.array(mark_followed(faces), bool)
    assert choose_rows(*columns(faces), strategy, followed=followed).tolist() == choose_plainly(
        faces, strategy
    )


@given(faces_strategy, st.sampled_from(CHOICES), st.integers(12, 15))
def test_every_frame_has_a_row_for_each_subject(faces: Faces, strategy: str, n: int) -> None:
    frame, subject, boxes = columns(faces)
    followed = np.array(mark_followed(faces), bool)
    frames, who, index = lay_rows(
        np.arange(1, n + 1), frame, subject, boxes, strategy=strategy, followed=followed
    )
    people = max(1, len(set(subject.tolist()))) if strategy == "all" else 1
    assert frames.tolist() == [f for f in range(1, n + 1) for _ in range(people)]
    found = index >= 0
    assert (
        index[found].tolist()
        == choose_rows(frame, subject, boxes, strategy, followed=followed).tolist()
    )
    assert (frame[index[found]] == frames[found]).all()
    assert (subject[index[found]] == who[found]).all()
    if strategy == "main":
        assert set(who.tolist()) == {find_main(subject, boxes)}
    elif strategy == "all" and faces:
        assert who.tolist() == sorted(set(subject.tolist())) * n
    elif strategy.startswith("track") and found.any():
        assert set(who.tolist()) == {int(strategy[6:])}
    else:
        assert (who[~found] == NOBODY).all()


def test_main_is_longest_and_largest() -> None:
    small = [(k, 0, (0.0, 0.0, 10.0, 10.0)) for k in range(1, 11)]
    close_up = [(k, 1, (0.0, 0.0, 30.0, 30.0)) for k in range(1, 4)]
    assert find_main(*columns(small + close_up)[1:]) == 0
    assert find_main(*columns(small + close_up + [(4, 1, (0.0, 0.0, 30.0, 30.0))])[1:]) == 1


def test_following_needs_to_know_who_was_followed() -> None:
    faces = [(1, 0, (0.0, 0.0, 10.0, 10.0))]
    with pytest.raises(UsageError, match="which faces were followed: give `followed`"):
        choose_rows(*columns(faces), "follow-largest")
    with pytest.raises(UsageError, match="which faces were followed"):
        lay_rows(np.array([1, 2]), *columns(faces), strategy="follow-largest")


def test_an_unknown_strategy_is_refused() -> None:
    for name in ("middle", "track N", "track", "track -1", "track 1.5", "trackl 1"):
        message = f"unknown subject '{name}'; choose one of main, largest"
        with pytest.raises(UsageError, match=message):
            choose_rows(*columns([]), name)
