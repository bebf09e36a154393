"""The options --participants and --by: groups of subjects to compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from abawcli.errors import UsageError

if TYPE_CHECKING:
    from abawcli.formats.participants import Groups

participants_option = click.option(
    "--participants", type=click.Path(path_type=Path), metavar="FILE.csv",
    help="Participants file (csv): the first column names the videos, the others are groups.",
)  # fmt: skip
by_option = click.option(
    "--by", metavar="COLUMN,...", help="Columns of the participants file to compare groups by."
)


def choose_groups(participants: Path | None, by: str | None) -> Groups | None:
    """Return the groups to compare, or None if neither option is given.

    `by` may name the file too, as `FILE.csv:COLUMN,...`: its form before version 0.2.

    Raises:
        UsageError: columns without a file, or an empty name of a column, or one given twice.
    """
    from abawcli.formats.participants import Groups

    if by is not None and participants is None:
        file, colon, by = by.rpartition(":")
        if not colon:
            raise UsageError(f"--by {by} needs --participants, the file that has these columns")
        participants = Path(file)
    if participants is None:
        return None
    columns = () if by is None else tuple(by.split(","))
    if not all(columns):
        raise UsageError(f"--by {by!r} must be COLUMN, or COLUMN,COLUMN")
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise UsageError(f"--by names {twice[0]} twice; name each column once")
    return Groups(participants, columns)
