"""The choice of subjects among the faces of a video.

A strategy, one of `config.STRATEGIES`, is applied to columns of the whole video, one row per face,
because the subject that is on screen longest is known only at the end.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from abawcli.config import FOLLOW_LARGEST, SUBJECTS, is_strategy, parse_track
from abawcli.errors import UsageError

Ints = NDArray[np.integer]
Floats = NDArray[np.floating]
NOBODY = -1  # the subject of a row without a face


def find_main(subject: Ints, boxes: Floats) -> int:
    """Return the subject with the largest sum of the square roots of its faces' areas.

    With the areas themselves, a short close-up would count more than a face that is there all the
    time. Of equal subjects, the lower number is returned; NOBODY if there is no face.

    Args:
        subject: (N,) track number of each face.
        boxes: (N, 4) x, y, w, h in pixels.
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


def _is_chosen(
    subject: Ints, boxes: Floats, strategy: str, followed: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """Tell which faces are those of the strategy's person, (N,): none for `skip`."""
    if strategy == FOLLOW_LARGEST:
        if followed is None:
            raise UsageError(f"{strategy} needs to know which faces were followed: give `followed`")
        return followed
    if strategy == "main":
        return np.asarray(subject == find_main(subject, boxes))
    return np.asarray(subject == parse_track(strategy))


def choose_rows(
    frame: Ints,
    subject: Ints,
    boxes: Floats,
    strategy: str,
    *,
    followed: NDArray[np.bool_] | None = None,
) -> NDArray[np.intp]:
    """Return the indices (M,) of the faces that a strategy chooses, by frame, then subject.

    Args:
        frame: (N,) frame number of each face.
        subject: (N,) track number, with at most one face of a subject in a frame.
        boxes: (N, 4) x, y, w, h in pixels.
        strategy: `main`: the subject of `find_main`; `largest`, `left` (of the picture, by the
            centre), `right`, `top`: one face per frame, of any subject; `follow-largest`: the
            faces that are `followed`; `all`: every face; `track N`: that subject; `skip`: none.
        followed: (N,) the faces of the person who is followed, for `follow-largest`.

    Raises:
        UsageError: the strategy is unknown, or is `follow-largest` without `followed`.
    """
    if not is_strategy(strategy):
        raise UsageError(f"unknown subject {strategy!r}; choose one of {', '.join(SUBJECTS)}")
    if strategy == "all":
        return np.lexsort((subject, frame))
    if strategy not in _FIRST_BY:
        rows = np.flatnonzero(_is_chosen(subject, boxes, strategy, followed))
        return rows[np.argsort(frame[rows], kind="stable")]
    order = np.lexsort((subject, _FIRST_BY[strategy](boxes), frame))
    _, first = np.unique(frame[order], return_index=True)
    return order[first]


def explain_no_track(strategy: str, subject: Ints) -> str | None:
    """Return a message if the track of a strategy `track N` does not exist, or None.

    `subject` (N,) are the track numbers of all faces of the video.
    """
    number, tracks = parse_track(strategy), int(subject.max(initial=-1)) + 1
    if number is None or number < tracks:
        return None
    known = ["no face was found in it", "its only one is 0", f"they are 0 to {tracks - 1}"]
    return f"has no track {number}; {known[min(tracks, 2)]}"


def lay_rows(
    frames: Ints,
    frame: Ints,
    subject: Ints,
    boxes: Floats,
    *,
    strategy: str,
    followed: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a table in which every frame has one row for each requested subject.

    Args:
        frames: (F,) numbers of all decoded frames, ascending.
        frame, subject, boxes, strategy, followed: as for `choose_rows`.

    Returns:
        frame, subject and index of the face, each (R,); R is F, or for `all` F times the number of
        subjects. In rows without a face, the index is -1 and the subject is the absent one, or
        NOBODY if the strategy names no particular subject, or there is none.
    """
    chosen = choose_rows(frame, subject, boxes, strategy, followed=followed)
    by_frame = strategy in (*_FIRST_BY, FOLLOW_LARGEST)
    everyone = np.array([]) if by_frame else np.unique(subject[chosen])
    if len(everyone) == 0:
        everyone = np.array([NOBODY])
    column = np.searchsorted(everyone, subject[chosen]) if everyone[0] != NOBODY else 0
    index = np.full((len(frames), len(everyone)), -1, np.int64)
    index[np.searchsorted(frames, frame[chosen]), column] = chosen
    who = np.tile(everyone, len(frames)).astype(np.int64)
    flat = index.ravel()
    who[flat >= 0] = subject[flat[flat >= 0]]
    return np.repeat(frames, len(everyone)).astype(np.int64), who, flat
