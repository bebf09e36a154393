"""What a label rests on, and how that combines: the vocabulary of the column `source`.

av, visual   a face in that very frame, with or without a voice
audio        a voice alone
filled       frames around it: by smoothing, or by a head that looks at several frames
none         nothing: there is no label
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

AV, VISUAL, AUDIO, FILLED, NONE = SOURCES = ("av", "visual", "audio", "filled", "none")
FACE_SOURCES = (AV, VISUAL)
Names = NDArray[np.str_]
Mask = NDArray[np.bool_]

_SEEN, _HEARD = 1, 2  # bits
_BITS = {AV: _SEEN | _HEARD, VISUAL: _SEEN, AUDIO: _HEARD, FILLED: 0, NONE: 0}
_BY_BITS = np.array([FILLED, VISUAL, AUDIO, AV])


def name_sources(seen: Mask, heard: Mask, known: Mask) -> Names:
    """Name what rows rest on, of any shape: their own face and voice, or frames around them.

    `known` tells which rows have probabilities. The others rest on nothing.
    """
    own = _BY_BITS[seen * _SEEN + heard * _HEARD]
    return np.where(known, own, NONE)


def name_source(seen: bool, heard: bool, known: bool) -> str:
    """Name what one row rests on, as `name_sources`."""
    return str(name_sources(np.array(seen), np.array(heard), np.array(known)))


def join_sources(parts: Sequence[Names], known: Mask) -> Names:
    """Name what means of several tables' rows rest on: each (N,), together.

    A face here and a voice there are both. `known` (N,) tells which rows have probabilities.
    """
    bits = np.zeros(len(known), np.int64)
    for part in parts:
        for name, value in _BITS.items():
            bits[part == name] |= value
    return np.where(known, _BY_BITS[bits], NONE)


def has_face(source: Names) -> Mask:
    """Tell which rows rest on a face of their own."""
    return np.isin(source, FACE_SOURCES)
