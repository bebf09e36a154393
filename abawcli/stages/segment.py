"""Stage segment: the segments of prediction tables, with label, start and end in seconds."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from abawcli.config import Segmentation
from abawcli.formats.provenance import (
    Provenance,
    describe_work,
    find_finished,
    read_provenance,
    write_result,
)
from abawcli.formats.summary import keep_warnings
from abawcli.formats.tables import read_tables
from abawcli.segments import COLUMNS, segment_table

# Digits after the point in csv: microseconds, as the tables have; the rest as they have it.
DECIMALS = dict.fromkeys(COLUMNS[3:6], 6) | dict.fromkeys(COLUMNS[6:], 4)


def segment_files(
    tables: Sequence[str | Path],
    output: str | Path,
    config: Segmentation | None = None,
    *,
    overwrite: bool = False,
) -> Provenance:
    """Write the segments of prediction tables to one csv; return its provenance.

    Its `summary` counts the videos and segments, and names in `failed` the tables that could not
    be read. Finished work is kept.

    Raises:
        InputError: no table can be read, or a row has no time.
        OutputError: the output exists and may not be replaced, or cannot be written.
        UsageError: a duration is negative or not finite.
    """
    tables = list(map(Path, tables))
    output = Path(output)
    config = config or Segmentation()
    made_from = [read_provenance(path) for path in tables]
    work = describe_work("segment", tables, asdict(config), made_from=made_from)
    if finished := find_finished(output, work, overwrite):
        return finished
    failed: dict[str, str] = {}
    with keep_warnings(work):
        table = read_tables(tables, failed)
        segments = segment_table(table, config).sort_values("video", kind="stable")
    videos = int(table["video"].nunique())
    work["summary"] = {"videos": videos, "segments": len(segments), "failed": failed}
    with write_result(output, work) as temporary:
        segments.round(DECIMALS).to_csv(temporary, index=False)
    return work
