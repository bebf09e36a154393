"""The eight expression classes of the ABAW EXPR challenge, in the challenge's order."""

import re
from collections.abc import Iterable

from abawcli.errors import InputError

CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
N_CLASSES = len(CLASSES)
NEUTRAL = CLASSES.index("Neutral")
IGNORE = -1  # not annotated; left out of scores and losses
PROBABILITY_COLUMNS = tuple(f"p_{name.lower()}" for name in CLASSES)
LOGIT_COLUMNS = tuple(f"z_{name.lower()}" for name in CLASSES)

# Names of other label sets for the same classes. EXPR has no class for contempt.
SYNONYMS = {
    "angry": "Anger",
    "ang": "Anger",
    "disgusted": "Disgust",
    "dis": "Disgust",
    "fearful": "Fear",
    "fea": "Fear",
    "happy": "Happiness",
    "hap": "Happiness",
    "joy": "Happiness",
    "sad": "Sadness",
    "surprised": "Surprise",
    "sur": "Surprise",
    "contempt": "Other",
    "others": "Other",
    "calm": "Neutral",
    "neu": "Neutral",
}
_INDEX = {name.lower(): k for k, name in enumerate(CLASSES)} | {
    alias: CLASSES.index(name) for alias, name in SYNONYMS.items()
}


def index_of(name: str) -> int:
    """Return the class number of a class name or a synonym, in upper or lower case.

    Raises:
        InputError: the name is unknown.
    """
    try:
        return _INDEX[name.strip().lower()]
    except KeyError:
        raise InputError(
            f"unknown expression {name!r}; known are {', '.join(CLASSES)} "
            f"and {', '.join(sorted(SYNONYMS))}"
        ) from None


def parse_label(text: str) -> int:
    """Return the class number of a text: a number, such as 4 or 4.0, or a class name.

    The range of numbers is not checked; readers of files check it and name the line.

    Raises:
        InputError: the text is neither.
    """
    if re.fullmatch(r"\s*-?\d{1,9}(\.0*)?\s*", text):
        return int(float(text))
    return index_of(text)


def known_names(names: Iterable[str]) -> list[str]:
    """Return the items of `names` that are names or synonyms of a class, in their order."""
    return [name for name in names if name.strip().lower() in _INDEX]
