"""Praat TextGrids: interval tiers, read and written by pympi."""

import codecs
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from abawcli.errors import InputError
from abawcli.formats.elan import TimedText, check_readable


def format_textgrid(tiers: Mapping[str, Sequence[TimedText]], end_s: float) -> str:
    """Return a TextGrid from 0 to `end_s` with one interval tier per entry."""
    from pympi import Praat

    last = max([end_s, *(end for rows in tiers.values() for _, end, _ in rows)])
    grid = Praat.TextGrid(xmin=0, xmax=last)
    for name, intervals in tiers.items():
        tier = grid.add_tier(name)
        for start, end, text in intervals:
            tier.add_interval(start, end, text)
    with tempfile.TemporaryDirectory() as folder:  # pympi can only write to a path
        path = Path(folder) / "labels.TextGrid"
        grid.to_file(path)
        return path.read_text(encoding="utf-8")


def read_textgrid(path: str | Path) -> dict[str, list[TimedText]]:
    """Return the intervals of each interval tier that have a text, ordered by start.

    Raises:
        InputError: the file cannot be read, or is no TextGrid.
    """
    path = Path(path)
    from pympi import Praat

    check_readable(path)
    try:
        with path.open("rb") as file:  # Praat writes UTF-16 where a text is not ASCII
            marked = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        grid = Praat.TextGrid(path, codec="utf-16" if marked else "utf-8")
        tiers = {
            tier.name: [row for row in tier.get_intervals(sort=True) if str(row[2]).strip()]
            for tier in grid.get_tiers()
            if tier.tier_type == "IntervalTier"
        }
    except Exception as error:  # pympi raises any error of its parser
        unmatched = isinstance(error, AttributeError)  # a line is not as pympi expects
        reason = "" if unmatched else f": {error}".rstrip(": ")
        raise InputError(f"{path} is no TextGrid of Praat{reason}") from error
    return {
        name: [(float(a), float(b), str(text)) for a, b, text in rows]
        for name, rows in tiers.items()
    }
