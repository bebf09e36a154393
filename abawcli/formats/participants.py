"""The participants file of a study: a csv with one row per video and columns of groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from abawcli.errors import InputError
from abawcli.formats.names import find_names
from abawcli.formats.table_checks import check_width

SEPARATORS = ",;\t|"  # that spreadsheets write; of equally frequent ones, the first


@dataclass(frozen=True)
class Groups:
    """Columns of a participants file that define groups of subjects."""

    file: Path
    columns: tuple[str, ...] = ()  # empty: all but the first


def read_groups(groups: Groups, videos: Sequence[str], failed: dict[str, str]) -> pd.DataFrame:
    """Return the columns of a participants file, with one row per video, which is the index.

    Its first column has the names of videos. Videos that it has twice or not at all are left out
    and added to `failed`.

    Raises:
        InputError: the file cannot be read, or a column is missing.
    """
    path = groups.file
    try:
        with path.open(encoding="utf-8-sig") as file:
            separator = max(SEPARATORS, key=file.readline().count)
        people = pd.read_csv(path, dtype=str, encoding="utf-8-sig", sep=separator)
        check_width(people)
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the participants file {path}: {error}") from error
    columns = list(groups.columns or people.columns[1:])
    missing = [name for name in columns if name not in people.columns]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(people.columns)}"
        )
    names = people.iloc[:, 0].fillna("").tolist()
    rows: dict[str, int] = {}
    for video in videos:
        found = find_names(video, [name for name in names if name])
        matches = [k for k, name in enumerate(names) if name in found]
        if len(matches) == 1:
            rows[video] = matches[0]
        else:
            what = "not in" if not matches else f"{len(matches)} times in"
            failed[video] = f"{video} is {what} {path}; it is left out of the groups"
    return people.loc[list(rows.values()), columns].set_axis(list(rows), axis=0)
