"""The participants file of a study: a csv with one row per video and columns of groups."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pandas as pd

from abawcli.config import SHOWN_FAILURES
from abawcli.errors import InputError
from abawcli.formats.lines import read_text
from abawcli.formats.names import find_names
from abawcli.formats.table_checks import check_width

SEPARATORS = ",;\t|"  # that spreadsheets write; of equally frequent ones, the first
MISSING = ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan"]  # "None" may be a group
LOG = logging.getLogger("abawcli")


@dataclass(frozen=True)
class Groups:
    """Columns of a participants file that define groups of subjects."""

    file: Path
    columns: tuple[str, ...] = ()  # empty: all but the first


def read_groups(groups: Groups, videos: Sequence[str], failed: dict[str, str]) -> pd.DataFrame:
    """Return the columns of a participants file, with one row per video, which is the index.

    Its first column has the names of videos. Blanks around cells are no part of them. Videos that
    it has twice or not at all are left out and named in `failed`, as a failure of the file; those
    without a value in one of the columns of `groups` are named in a warning.

    Raises:
        InputError: the file cannot be read, or a column is missing, or all but the first one.
    """
    path = groups.file
    text, _ = read_text(path, "participants file")
    if not text:
        raise InputError(f"the participants file {path} is empty")
    try:
        people = _read_cells(text)
    except ValueError as error:
        raise InputError(f"cannot read the participants file {path}: {error}") from error
    columns = list(groups.columns or people.columns[1:])
    if not columns:
        raise InputError(f"{path} has only the column {people.columns[0]}, and none of groups")
    missing = [name for name in columns if name not in people.columns]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(people.columns)}"
        )
    rows = _find_rows(people.iloc[:, 0].fillna("").tolist(), videos, path, failed=failed)
    chosen = people.loc[list(rows.values()), columns].set_axis(list(rows), axis=0)
    for column in groups.columns:
        if empty := [str(video) for video in chosen.index[chosen[column].isna()]]:
            LOG.warning("%s has no %s for %s; left out of the groups", path, column, _name(empty))
    return chosen


def _read_cells(text: str) -> pd.DataFrame:
    """Return the cells of a csv as texts without blanks around them; NaN where there is none."""
    separator = max(SEPARATORS, key=text.partition("\n")[0].count)
    people = pd.read_csv(StringIO(text), dtype=str, sep=separator, keep_default_na=False)
    check_width(people)
    people.columns = people.columns.str.strip()
    stripped: pd.DataFrame = people.apply(lambda cells: cells.str.strip())
    return stripped.mask(stripped.isin(MISSING))


def _find_rows(
    names: Sequence[str], videos: Sequence[str], path: Path, *, failed: dict[str, str]
) -> Mapping[str, int]:
    """Return the number of the row of each video; those without exactly one go to `failed`."""
    rows: dict[str, int] = {}
    wrong: list[str] = []
    for video in videos:
        found = find_names(video, [name for name in names if name])
        matches = [k for k, name in enumerate(names) if name in found]
        if len(matches) == 1:
            rows[video] = matches[0]
        else:
            what = "not in" if not matches else f"{len(matches)} times in"
            wrong.append(f"{video} is {what} {path}")
    if wrong:
        failed[str(path)] = f"{_name(wrong)}; left out of the groups"
    return rows


def _name(texts: Sequence[str]) -> str:
    """Return the first of some texts, and the number of the others."""
    more = len(texts) - SHOWN_FAILURES
    rest = f" and {more} other{'' if more == 1 else 's'}" if more > 0 else ""
    return ", ".join(texts[:SHOWN_FAILURES]) + rest
