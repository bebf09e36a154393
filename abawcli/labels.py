"""The eight expression classes of the ABAW EXPR challenge, in the challenge's order."""

import re
from collections.abc import Iterable

from abawcli.errors import InputError

CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
N_CLASSES = len(CLASSES)
IGNORE = -1  # not annotated: no part of any score or loss
PROBABILITY_COLUMNS = tuple(f"p_{name.lower()}" for name in CLASSES)

# Names of other label sets that mean one of ours. Contempt has no class of its own in EXPR.
SYNONYMS = {
    "angry": "Anger",
    "disgusted": "Disgust",
    "fearful": "Fear",
    "happy": "Happiness",
    "sad": "Sadness",
    "surprised": "Surprise",
    "contempt": "Other",
    "calm": "Neutral",
}
_INDEX = {name.lower(): k for k, name in enumerate(CLASSES)} | {
    alias: CLASSES.index(name) for alias, name in SYNONYMS.items()
}


def index_of(name: str) -> int:
    """Return the class number of a class name, in any case and any known synonym.

    Raises:
        InputError: the name belongs to no class.
    """
    try:
        return _INDEX[name.strip().lower()]
    except KeyError:
        raise InputError(
            f"unknown expression {name!r}; known are {', '.join(CLASSES)} "
            f"and {', '.join(sorted(SYNONYMS))}"
        ) from None


def parse_label(text: str) -> int:
    """Return the class number that a text means: a number, such as 4 or 4.0, or a class name.

    Numbers may be any; whether there is such a class is for the reader of a whole file to say.

    Raises:
        InputError: the text is neither.
    """
    if re.fullmatch(r"\s*-?\d{1,9}(\.0*)?\s*", text):
        return int(float(text))
    return index_of(text)


def known_names(names: Iterable[str]) -> list[str]:
    """Return those of `names` that mean one of the eight classes, in their order."""
    return [name for name in names if name.strip().lower() in _INDEX]
