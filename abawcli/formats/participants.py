"""The participants file of a study: csv, a row a video, with what subjects are compared by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from abawcli.errors import InputError
from abawcli.formats.names import find_names


@dataclass(frozen=True)
class Groups:
    """Columns of a participants file, by which subjects are compared."""

    file: Path
    columns: tuple[str, ...] = ()  # none: all but the first


def read_groups(groups: Groups, videos: Sequence[str], failed: dict[str, str]) -> pd.DataFrame:
    """Return the columns of a participants file for each video, which is the index.

    Its first column names the videos. A video that it has twice or not at all is named in
    `failed` and left out.

    Raises:
        InputError: the file cannot be read or lacks a column.
    """
    path = groups.file
    try:
        people = pd.read_csv(path, dtype=str, encoding="utf-8-sig", sep=None, engine="python")
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (OSError, ValueError, pd.errors.ParserError) as error:
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
        places = [k for k, name in enumerate(names) if name in found]
        if len(places) == 1:
            rows[video] = places[0]
        else:
            what = "not in" if not places else f"{len(places)} times in"
            failed[video] = f"{video} is {what} {path}; it takes no part in the groups"
    return people.loc[list(rows.values()), columns].set_axis(list(rows), axis=0)
