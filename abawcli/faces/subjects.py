"""Which of the faces in a video are meant.

A strategy works on columns collected over the whole video, one entry a face: who has been on
screen longest is known only at its end. What strategies there are says `config`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from abawcli.config import SUBJECTS, is_strategy, parse_track
from abawcli.errors import UsageError

Ints = NDArray[np.integer]
Floats = NDArray[np.floating]
NOBODY = -1  # the subject of a row that no face stands behind


def find_main(subject: Ints, boxes: Floats) -> int:
    """Return the subject with the largest sum over its faces of the root of the area.

    The root keeps a short close-up from outweighing someone who is there throughout. The lower
    number wins a tie; NOBODY when there is no face.
    """
    if len(subject) == 0:
        return NOBODY
    numbers, index = np.unique(subject, return_inverse=True)
    presence = np.bincount(index, weights=np.sqrt(boxes[:, 2] * boxes[:, 3]))
    return int(numbers[presence.argmax()])


def _area(boxes: Floats) -> Floats:
    return np.asarray(-boxes[:, 2] * boxes[:, 3])


def _from_left(boxes: Floats) -> Floats:
    return np.asarray(boxes[:, 0] + boxes[:, 2] / 2)


def _from_right(boxes: Floats) -> Floats:
    return -_from_left(boxes)


def _from_top(boxes: Floats) -> Floats:
    return np.asarray(boxes[:, 1] + boxes[:, 3] / 2)


_FIRST_BY: dict[str, Callable[[Floats], Floats]] = {
    "largest": _area,
    "left": _from_left,
    "right": _from_right,
    "top": _from_top,
}


def _find_one(subject: Ints, boxes: Floats, strategy: str) -> int:
    """Return the subject that a strategy is about all the time; NOBODY for `skip`."""
    if strategy == "main":
        return find_main(subject, boxes)
    number = parse_track(strategy)
    return NOBODY if number is None else number


def choose_rows(frame: Ints, subject: Ints, boxes: Floats, strategy: str) -> NDArray[np.intp]:
    """Return the indices of the faces that a strategy means, by frame, then subject.

    Args:
        frame: (N,) number of the frame of each face.
        subject: (N,) track number, at most one face of a subject in a frame.
        boxes: (N, 4) x, y, w, h in pixels.
        strategy: `main`: the subject on screen longest and largest; `largest`, `left` (in the
            picture, by the centre), `right`, `top`: one face a frame, whoever it is; `all`:
            every face; `track N`: that subject; `skip`: none.

    Raises:
        UsageError: no such strategy.
    """
    if not is_strategy(strategy):
        raise UsageError(f"unknown subject {strategy!r}; choose one of {', '.join(SUBJECTS)}")
    if strategy == "all":
        return np.lexsort((subject, frame))
    if strategy not in _FIRST_BY:
        rows = np.flatnonzero(subject == _find_one(subject, boxes, strategy))
        return rows[np.argsort(frame[rows], kind="stable")]
    order = np.lexsort((subject, _FIRST_BY[strategy](boxes), frame))
    _, first = np.unique(frame[order], return_index=True)
    return order[first]


def explain_no_track(strategy: str, subject: Ints) -> str | None:
    """Say that no face has the number of a strategy `track N`, and which there are; or None.

    `subject` (N,) are the track numbers of all faces of a video.
    """
    number, tracks = parse_track(strategy), int(subject.max(initial=-1)) + 1
    if number is None or number < tracks:
        return None
    known = ["no face was found in it", "its only one is 0", f"they are 0 to {tracks - 1}"]
    return f"has no track {number}; {known[min(tracks, 2)]}"


def lay_rows(
    frames: Ints, frame: Ints, subject: Ints, boxes: Floats, strategy: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a whole table: every frame has one row for each subject asked for.

    Args:
        frames: (F,) numbers of all decoded frames, ascending.
        frame, subject, boxes, strategy: as for `choose_rows`.

    Returns:
        frame, subject and index into the faces, each (R,): R is F, or for `all` F times the
        number of subjects. Where there is no face, the index is -1 and the subject the one
        that is absent, or NOBODY where none in particular was asked for or none exists.
    """
    chosen = choose_rows(frame, subject, boxes, strategy)
    everyone = np.array([]) if strategy in _FIRST_BY else np.unique(subject[chosen])
    if len(everyone) == 0:
        everyone = np.array([NOBODY])
    column = np.searchsorted(everyone, subject[chosen]) if everyone[0] != NOBODY else 0
    index = np.full((len(frames), len(everyone)), -1, np.int64)
    index[np.searchsorted(frames, frame[chosen]), column] = chosen
    who = np.tile(everyone, len(frames)).astype(np.int64)
    flat = index.ravel()
    who[flat >= 0] = subject[flat[flat >= 0]]
    return np.repeat(frames, len(everyone)).astype(np.int64), who, flat
