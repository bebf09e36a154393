"""Stage fuse: the weighted mean of prediction tables of the same frames.

Rows are matched by video, subject and frame, and must be the same in all tables. A table without a
prediction for a row does not count in it; a row that was filled from neighbouring frames counts
like any other. Sources are joined: `visual` in one table and `audio` in another give `av`. Face
and box are those of the first table with a face, and the time that of the first one that has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import EXPR, FUSED_TIMES_S, QUALITY
from abawcli.datasets.fused_tracks import ChosenWeights
from abawcli.errors import InputError, UsageError
from abawcli.formats.inputs import expand_inputs
from abawcli.formats.json_values import JsonObject
from abawcli.formats.names import compose_name
from abawcli.formats.provenance import describe_work, find_finished, read_provenance
from abawcli.formats.summary import Summary, keep_warnings, note_summary, read_summary
from abawcli.formats.table_checks import warn_edited
from abawcli.formats.table_forms import TABLE_FORMS, TableForm
from abawcli.formats.table_schemas import LOGITS, TITLES, find_table_task
from abawcli.formats.tables import (
    TABLE_SUFFIXES,
    has_logits,
    read_table,
    write_table,
)
from abawcli.fusion import prefer_confident
from abawcli.logits import make_outputs
from abawcli.sources import NONE, join_sources

KEYS = ["video", "subject", "frame"]
OF_FACE = ["found", "face_score", *"xywh", *QUALITY]  # of a row


@dataclass(frozen=True)
class FuseSummary(Summary):
    """The summary of a fusion."""

    rows: int
    labelled: int  # of the rows


def resolve_weights(weights: Sequence[float] | None, count: int) -> list[float]:
    """Return a weight for each of `count` tables, by default 1.

    Raises:
        UsageError: there are fewer than two tables, or another number of weights, or a weight is
            not positive.
    """
    if count < 2:
        raise UsageError(f"fusing needs two different tables or folders, not {count}")
    if weights is None:
        return [1.0] * count
    if len(weights) != count:
        raise UsageError(f"{len(weights)} weights for {count} inputs; give each its own, in order")
    bad = [weight for weight in weights if not 0 < weight < np.inf]
    if bad:
        raise UsageError(f"the weight {bad[0]:g} is no positive number; leave that input out")
    return list(weights)


def match_tables(folders: Sequence[str | Path]) -> tuple[dict[Path, list[Path]], dict[str, str]]:
    """Find the tables that are in all folders, by relative name.

    Returns the tables of each name, in the order of the folders; and a message for each name that
    is missing in a folder.

    Raises:
        InputError: a folder has no table.
    """
    folders = list(map(Path, folders))
    tables = [
        {
            Path(compose_name(str(relative))): path
            for path, relative in expand_inputs([str(folder)], TABLE_SUFFIXES).items()
        }
        for folder in folders
    ]
    whole: dict[Path, list[Path]] = {}
    partial: dict[str, str] = {}
    for name in sorted(set().union(*tables)):
        found = [there[name] for there in tables if name in there]
        if len(found) == len(folders):
            whole[name] = found
        else:
            lacking = next(folders[k] for k, there in enumerate(tables) if name not in there)
            partial[str(name)] = f"{lacking} has no {name}, and there is {found[0]}"
    return whole, partial


def fuse_tables(
    tables: Mapping[str, pd.DataFrame],
    weights: Sequence[float] | None = None,
    confident: float | None = None,
) -> pd.DataFrame:
    """Fuse tables, given by names for messages; rows have the order of the first table.

    Label and confidence follow from the mean; only the ratio of the weights counts. Logits are
    kept if all tables have them.

    With `confident`, rows in which the first table's confidence exceeds it are those of the first
    table, and the others are the mean of the other tables (`fusion.prefer_confident`).

    Raises:
        InputError: the tables have different tasks, a row is missing in a table, or its times
            differ.
        UsageError: as for `resolve_weights`; or `confident` with weights, or with tables without
            confidence.
    """
    if confident is not None and weights is not None:
        raise UsageError("the filter of confident predictions excludes weights")
    weights = resolve_weights(weights, len(tables))
    form = _find_common_form(tables)
    if confident is not None and form is not TABLE_FORMS[EXPR]:
        raise UsageError("the filter of confident predictions is for tables of expressions")
    aligned = _align_tables(tables)
    if with_logits := all(map(has_logits, aligned)):
        members = [make_outputs(table[LOGITS].to_numpy()) for table in aligned]  # (N, 9) each
    else:
        members = [table[form.outputs].to_numpy() for table in aligned]  # (N, 8) or (N, K) each
    sources = [table["source"].to_numpy(str) for table in aligned]
    outputs, source = _fuse_rows(form, members, sources, weights, confident=confident)
    change = form.lay if with_logits else form.set
    return change(_choose_copied(aligned), outputs, source)


def _find_common_form(tables: Mapping[str, pd.DataFrame]) -> TableForm:
    """Return the form that all tables have.

    Raises:
        InputError: they have different tasks.
    """
    tasks = {name: find_table_task(table) or EXPR for name, table in tables.items()}
    (first_name, first), *others = tasks.items()
    for name, task in others:
        if task != first:
            raise InputError(
                f"{first_name} is a table of {TITLES[first]} (--task {first}), and {name} of "
                f"{TITLES[task]} (--task {task}); fuse tables of one task"
            )
    return TABLE_FORMS[first]


def _fuse_rows(
    form: TableForm,
    members: Sequence[NDArray[np.float64]],
    sources: Sequence[NDArray[np.str_]],
    weights: Sequence[float],
    *,
    confident: float | None,
) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Return the fused outputs (N, C) and sources (N,) of the rows of K tables."""
    if confident is None:
        outputs = form.average(members, weights)
        return outputs, join_sources(sources, ~np.isnan(outputs[:, 0]))
    others, source = _fuse_rows(form, members[1:], sources[1:], weights[1:], confident=None)
    first = prefer_confident(members[0], others, confident)
    return np.where(first[:, None], members[0], others), np.where(first, sources[0], source)


def _align_tables(tables: Mapping[str, pd.DataFrame]) -> list[pd.DataFrame]:
    """Return the tables with their rows in the order of the first table."""
    (first_name, first), *others = tables.items()
    aligned = [first.reset_index(drop=True)]
    for name, table in others:
        rows = _match_rows(first_name, first, name, table)
        aligned.append(table.iloc[rows].reset_index(drop=True))
        _check_times(first_name, aligned[0], name, aligned[-1])
    return aligned


def _match_rows(
    first_name: str, first: pd.DataFrame, name: str, table: pd.DataFrame
) -> NDArray[np.intp]:
    """Return the index in another table of each row of the first one."""
    wanted, there = (
        pd.MultiIndex.from_frame(rows[KEYS].assign(video=rows["video"].map(compose_name)))
        for rows in (first, table)
    )
    if wanted.equals(there):
        return np.arange(len(first))
    found = there.get_indexer(wanted)
    if (found < 0).any():
        raise InputError(_explain_row(first_name, first, int(found.argmin()), name, other=table))
    if len(table) > len(first):
        row = int(wanted.get_indexer(there).argmin())
        raise InputError(_explain_row(name, table, row, first_name, other=first))
    return found


def _explain_row(
    name: str, table: pd.DataFrame, row: int, other_name: str, *, other: pd.DataFrame
) -> str:
    """Return a message that names a row of one table that another one lacks."""
    video, subject, frame = table[KEYS].iloc[row]
    here, there = (
        int(((rows["video"] == video) & (rows["subject"] == subject)).sum())
        for rows in (table, other)
    )
    return (
        f"{other_name} has no row for {video}, subject {subject}, frame {frame}, and {name} has "
        f"({there} rows of them against {here}); fuse tables of the same frames"
    )


def _check_times(first_name: str, first: pd.DataFrame, name: str, table: pd.DataFrame) -> None:
    """Check that tables with the same rows have the same times."""
    apart = (first["time_s"] - table["time_s"]).abs().to_numpy() > FUSED_TIMES_S
    if apart.any():
        row = int(apart.argmax())
        video, _, frame = first[KEYS].iloc[row]
        times_s = [rows["time_s"].iloc[row] for rows in (table, first)]
        raise InputError(
            f"{name}: {video}, frame {frame} is at {times_s[0]:.6f} s, in {first_name} at "
            f"{times_s[1]:.6f} s; fuse tables of the same recording"
        )


def _choose_copied(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the first table, with the face of the first table with one in the row.

    Times that tables of crops lack come from the first table that has them.
    """
    found = np.stack([table["found"].to_numpy() for table in tables])  # (K, N)
    timed = np.stack([table["time_s"].notna().to_numpy() for table in tables])
    which = dict.fromkeys(OF_FACE, found.argmax(axis=0)) | {"time_s": timed.argmax(axis=0)}  # (N,)
    rows = np.arange(found.shape[1])
    copied = {
        name: np.stack([table[name].to_numpy() for table in tables])[chosen, rows]
        for name, chosen in which.items()
    }
    return tables[0].assign(**copied)


def fuse_files(
    tables: Sequence[str | Path],
    output: str | Path,
    weights: Sequence[float] | ChosenWeights | None = None,
    *,
    confident: float | None = None,
    overwrite: bool = False,
) -> FuseSummary:
    """Fuse tables into one file, .csv or .parquet; finished work is kept.

    The provenance has the weights, and where they were found on annotated videos, their figures.

    Raises:
        InputError: a table cannot be read, or as `fuse_tables`.
        OutputError: the output exists and may not be replaced, or cannot be written.
        UsageError: as `resolve_weights`.
    """
    tables = list(map(Path, tables))
    output = Path(output)
    settings: JsonObject = {}
    if isinstance(weights, ChosenWeights):
        settings["weights_found"] = weights.describe()
        weights = weights.weights
    resolved = resolve_weights(weights, len(tables))
    settings |= {"weights": resolved} if confident is None else {"confident": confident}
    made_from = [read_provenance(path) for path in tables]
    work = describe_work("fuse", tables, settings, made_from=made_from)
    if finished := find_finished(output, work, overwrite):
        return read_summary(finished, FuseSummary, made=False)
    with keep_warnings(work):
        read = {str(path): read_table(path, task=None) for path in tables}
        for name, table in read.items():
            warn_edited(name, table, "those of the mean")
        fused = fuse_tables(read, weights, confident)
        note_summary(work, FuseSummary(len(fused), int((fused["source"] != NONE).sum())))
        write_table(fused, output, work)
    return read_summary(work, FuseSummary, made=True)
