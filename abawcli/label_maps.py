"""Labels of other people's classifiers and data sets, as classes of ours."""

import logging
from collections.abc import Iterable, Mapping, Sequence

from abawcli.errors import InputError, UsageError
from abawcli.labels import CLASSES, IGNORE, index_of

LOG = logging.getLogger(__name__)

NO_CLASS = "none"  # of a label whose probability the others share
# Labels that are no expressions, such as of a network with further tasks.
NO_EXPRESSIONS = {"valence", "arousal", "dominance"}


def parse_label_map(text: str) -> dict[str, str]:
    """Return the classes of labels in lower case, of `boredom=Neutral,LABEL_0=Anger,noise=none`.

    Raises:
        UsageError: it is not of that form, has a label twice, or a class that is unknown.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        label, given, name = (word.strip() for word in part.partition("="))
        if not (label and given and name):
            raise UsageError(f"{part!r} is no label and class, such as boredom=Neutral")
        if label.lower() in found:
            raise UsageError(f"the label {label!r} is mapped twice")
        _find_class(name)
        found[label.lower()] = name
    return found


def _find_class(name: str) -> int:
    if name.lower() == NO_CLASS:
        return IGNORE
    try:
        return index_of(name)
    except InputError:
        classes = ", ".join((*CLASSES, NO_CLASS))
        raise UsageError(f"unknown class {name!r} of a label; choose one of {classes}") from None


def map_labels(labels: Sequence[str], given: Mapping[str, str], name: str) -> list[int]:
    """Return the class number of each label of the classifier `name`; IGNORE of `none`.

    Classes that no label has are named in a warning: their probability is 0.

    Raises:
        UsageError: labels are unknown, or all are left out.
    """
    classes = [map_label(label, given) for label in labels]
    unknown = [label for label, k in zip(labels, classes, strict=True) if k is None]
    if unknown:
        example = f"{unknown[0]}=Anger"
        raise UsageError(
            f"{name} has labels that are no class here: {', '.join(unknown)}; give each a class, "
            f"as by --label-map {example},... (one of {', '.join(CLASSES)}, or {NO_CLASS})"
        )
    known = [k for k in classes if k is not None]
    if not any(k >= 0 for k in known):
        raise UsageError(f"all labels of {name} are mapped to {NO_CLASS}; nothing is left")
    lacking = [CLASSES[k] for k in range(len(CLASSES)) if k not in known]
    if lacking:
        LOG.warning("%s has no label for %s, whose probability is 0", name, ", ".join(lacking))
    return known


def map_label(label: str, given: Mapping[str, str]) -> int | None:
    """Return the class number of a label by the map `given` or its name; None: it is unknown.

    IGNORE is the class of labels that are mapped to `none`, and of those that are no expressions.
    """
    key = label.strip().lower()
    if key in given:
        return _find_class(given[key])
    if key in NO_EXPRESSIONS:
        return IGNORE
    try:
        return index_of(key)
    except InputError:
        return None


def check_label_map(given: Mapping[str, str], labels: Iterable[str]) -> None:
    """Check that all labels of a map are among those of the classifiers.

    Raises:
        UsageError: one is not.
    """
    labels = list(dict.fromkeys(labels))
    known = {label.strip().lower() for label in labels}
    spare = [label for label in given if label not in known]
    if spare:
        raise UsageError(f"--label-map: no label {spare[0]!r}; there are {', '.join(labels)}")
