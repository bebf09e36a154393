"""Folds of a cross-validation: csv with the columns `name` (of an annotation) and `fold` (from 1).

Tracks of one source video (`x`, `x_left`, `x_right`) are always in the same fold, because they
share faces, light and audio.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from abawcli.errors import InputError, UsageError, explain_os_error
from abawcli.formats.abaw import Labels, split_side
from abawcli.formats.atomic import write_whole
from abawcli.formats.names import compose_name
from abawcli.formats.table_checks import check_width
from abawcli.formats.text_form import check_commas
from abawcli.labels import IGNORE

Folds = dict[str, int]  # name of an annotation -> fold, from 1


def make_folds(names: Sequence[str], labels: Sequence[Labels], count: int) -> Folds:
    """Assign annotations to folds with similar shares of the classes.

    Args:
        names: of the annotations.
        labels: of each annotation, (T,).
        count: number of folds.

    Raises:
        UsageError: there are fewer than 2 folds, or more than annotated source videos or than
            frames of each class.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import; few runs need it

    sources = [split_side(name)[0] for name in names]
    known = [part[part != IGNORE] for part in labels]
    labelled = {s for s, part in zip(sources, known, strict=True) if len(part)}
    if not 2 <= count <= len(labelled):
        raise UsageError(
            f"{len(labelled)} annotated source videos cannot be split into {count} folds; "
            f"{_advise(len(labelled))}"
        )
    y = np.concatenate(known)
    if np.bincount(y).max() < count:
        raise UsageError(f"no class has the {count} annotated frames that {count} folds need")
    groups = np.repeat(sources, [len(part) for part in known])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer frames than folds
        splits = list(StratifiedGroupKFold(count).split(y, y, groups))
    fold_of = {source: k for k, (_, held) in enumerate(splits, 1) for source in set(groups[held])}
    # Videos without labels are neither trained on nor scored, so their fold does not matter.
    return {name: fold_of.get(source, 1) for name, source in zip(names, sources, strict=True)}


def _advise(sources: int) -> str:
    if sources < 2:
        return "cross-validation needs 2 or more"
    return f"use from 2 to {sources} folds"


def write_folds(folds: Folds, path: str | Path) -> None:
    """Write folds atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    table = pd.DataFrame({"name": list(folds), "fold": list(folds.values())})
    with write_whole(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def read_folds(path: str | Path) -> Folds:
    """Read folds.

    Raises:
        InputError: the file is no such table, a name occurs twice, a source video is in several
            folds, or a fold is empty.
    """
    path = Path(path)
    check_commas(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        check_width(table)
        names = table["name"].map(compose_name)
        folds: Folds = dict(zip(names, map(int, table["fold"]), strict=True))
    except OSError as error:
        raise InputError(explain_os_error(path, error)) from error
    except (ValueError, KeyError, OverflowError) as error:
        raise InputError(f"{path} is no table of name and fold: {error}") from error
    if len(folds) < len(names):
        raise InputError(f"{path}: {names[names.duplicated()].iloc[0]} occurs twice")
    fold_of: dict[str, int] = {}
    for name, fold in folds.items():
        source = split_side(name)[0]
        if fold_of.setdefault(source, fold) != fold:
            raise InputError(
                f"{path}: tracks of {source} are in folds {fold_of[source]} and {fold}"
            )
    numbers = set(folds.values())
    if not numbers or (min(numbers), max(numbers)) != (1, len(numbers)):
        raise InputError(f"{path}: folds must be numbered from 1 without a gap")
    return folds
