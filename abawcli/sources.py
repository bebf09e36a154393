"""Decides the source of a frame: what its label comes from, and how sources combine.

The names are those of the column `source`:

av, visual   a face in this frame, with or without speech
audio        speech without a face
filled       neighbouring frames only, by smoothing or by a head that reads windows of frames
none         nothing: there is no label
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

AV, VISUAL, AUDIO, FILLED, NONE = SOURCES = ("av", "visual", "audio", "filled", "none")
FACE_SOURCES = (AV, VISUAL)
FACELESS_SOURCES = (AUDIO, FILLED)  # of rows that have probabilities without a face
Names = NDArray[np.str_]
Mask = NDArray[np.bool_]

_FACE, _SPEECH = 1, 2  # bits
_BITS = {AV: _FACE | _SPEECH, VISUAL: _FACE, AUDIO: _SPEECH, FILLED: 0, NONE: 0}
_BY_BITS = np.array([FILLED, VISUAL, AUDIO, AV])


def name_sources(face: Mask, speech: Mask, known: Mask) -> Names:
    """Return the source of each row, from masks (...) of one shape; the result has that shape.

    Args:
        face: the row has a face of its own.
        speech: the row has speech of its own.
        known: the row has probabilities. The source of the others is `none`.
    """
    own = _BY_BITS[face * _FACE + speech * _SPEECH]
    return np.where(known, own, NONE)


def name_source(face: bool, speech: bool, known: bool) -> str:
    """Return the source of one row, as `name_sources`."""
    return str(name_sources(np.array(face), np.array(speech), np.array(known)))


def join_sources(parts: Sequence[Names], known: Mask) -> Names:
    """Return the source (N,) of the mean of several tables' rows, given each table's sources (N,).

    A face in one table and speech in another give `av`. `known` (N,) tells which rows have
    probabilities.
    """
    bits = np.zeros(len(known), np.int64)
    for part in parts:
        for name, value in _BITS.items():
            bits[part == name] |= value
    return np.where(known, _BY_BITS[bits], NONE)


def name_smoothed(source: Names, known: Mask) -> Names:
    """Return the source of rows after smoothing, (N,), given those before, (N,).

    Rows with a face keep their source; others are `filled`, or `none` if they have no
    probabilities. `known` (N,) tells which rows have them now.
    """
    return np.where(has_face(source), source, np.where(known, FILLED, NONE))


def drop_sources(source: Names, dropped: Mask) -> Names:
    """Return the source of rows, (N,), `none` for those whose probabilities are `dropped`, (N,)."""
    return np.where(dropped, NONE, source)


def has_face(source: Names) -> Mask:
    """Return which rows (N,) are based on a face in their own frame, (N,)."""
    return np.isin(source, FACE_SOURCES)
