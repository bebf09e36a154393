"""Stage summarize: measures of each subject of each video, as tables for a paper or for R."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from abawcli.errors import InputError
from abawcli.formats.participants import Groups, read_groups
from abawcli.formats.provenance import (
    Provenance,
    describe_work,
    find_finished,
    read_provenance,
    write_result,
)
from abawcli.formats.summary import keep_warnings
from abawcli.formats.tables import read_tables
from abawcli.segments import segment_table
from abawcli.summary import (
    KEYS,
    LONG,
    OF_GROUPS,
    SummarySettings,
    count_transitions,
    describe_columns,
    lay_long,
    summarize_groups,
    summarize_table,
)

LOG = logging.getLogger(__name__)
DIGITS = 6  # after the point in csv, as in the tables


def name_companions(output: str | Path) -> dict[str, Path]:
    """Return the paths of the tables beside a summary, by kind."""
    output = Path(output)
    stem = output.with_suffix("")
    return {
        "dictionary": output.with_suffix(".json"),
        "groups": stem.with_name(f"{stem.name}.groups.csv"),
        "transitions": stem.with_name(f"{stem.name}.transitions.csv"),
    }


def summarize_files(
    tables: Sequence[str | Path],
    output: str | Path,
    settings: SummarySettings | None = None,
    *,
    groups: Groups | None = None,
    transitions: bool = False,
    overwrite: bool = False,
) -> Provenance:
    """Write the summary of prediction tables to one csv; return its provenance.

    Beside `summary.csv` there is its column dictionary `summary.json`, with `groups` also
    `summary.groups.csv`, and with `transitions` also `summary.transitions.csv`. The `summary` of
    the provenance counts subjects and names unreadable files in `failed`. Finished work is kept.

    Raises:
        InputError: no table can be read, a row has no time, or the participants file is none or
            has columns with names of the summary's.
        OutputError: an output exists and may not be replaced, or cannot be written.
    """
    tables = list(map(Path, tables))
    output = Path(output)
    settings = settings or SummarySettings()
    by = list(groups.columns) if groups else []
    described = asdict(settings) | {"by": by, "transitions": transitions}
    companions = [groups.file] if groups else []
    made_from = [read_provenance(path) for path in tables]
    work = describe_work("summarize", tables, described, companions=companions, made_from=made_from)
    beside = name_companions(output)
    wanted = {"dictionary"} | ({"groups"} if groups else set())
    wanted |= {"transitions"} if transitions else set()
    _warn_of_former(_choose(beside, beside.keys() - wanted))
    finished = [find_finished(path, work, overwrite) for path in _choose(beside, wanted)]
    if (done := find_finished(output, work, overwrite)) and all(finished):
        return done
    failed: dict[str, str] = {}
    with keep_warnings(work):
        table = read_tables(tables, failed)
        summary = summarize_table(table, settings)
        if groups:
            people = read_groups(groups, summary["video"].unique().tolist(), failed)
    results: dict[Path, str] = {}
    keys = list(KEYS)
    if groups:
        _check_names(people, summary, groups.file)
        summary = summary.merge(people, how="left", left_on="video", right_index=True)
        chosen = people.columns.tolist()
        results[beside["groups"]] = _format_csv(summarize_groups(summary, chosen))
        keys += chosen
    if transitions:
        counts = count_transitions(segment_table(table, settings.segmentation))
        results[beside["transitions"]] = counts.to_csv()
    work["summary"] = {"subjects": len(summary), "failed": failed}
    shown = lay_long(summary, keys) if settings.long else summary
    columns = [*shown.columns, *(["n", "mean", "sd"] if groups else [])]
    results[beside["dictionary"]] = _format_json(describe_columns(columns))
    results[output] = _format_csv(shown)  # last: it is the one that says that all is done
    for path, text in results.items():
        _write(text, path, work if path == output else work | {"warnings": []})  # repeated once
    return work


def _warn_of_former(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.exists():
            LOG.warning("%s is of an earlier run with other options", path)


def _write(text: str, path: Path, work: Provenance) -> None:
    with write_result(path, work) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _check_names(people: pd.DataFrame, summary: pd.DataFrame, path: Path) -> None:
    """Check that the columns of a participants file have names of their own.

    Raises:
        InputError: a column is called like one of the outputs.
    """
    own = {*summary, *LONG, *OF_GROUPS}
    for name in people:
        if name in own:
            raise InputError(f"{path}: {name} is also a column of the summary; rename it")


def _choose(paths: Mapping[str, Path], wanted: set[str]) -> list[Path]:
    return [path for what, path in paths.items() if what in wanted]


def _format_csv(table: pd.DataFrame) -> str:
    return str(table.round(DIGITS).to_csv(index=False))


def _format_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
