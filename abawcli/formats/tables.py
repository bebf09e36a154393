"""Prediction tables: one row per decoded frame and subject, csv or parquet by suffix.

The columns are those of `table_schemas`. Missing values are empty cells in csv, nulls in parquet
and NaN in a DataFrame.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from abawcli.config import EXPR, QUALITY
from abawcli.errors import InputError, UsageError, explain_os_error
from abawcli.formats.inputs import check_exists, check_input
from abawcli.formats.names import decode_name
from abawcli.formats.provenance import Provenance, read_provenance, write_result
from abawcli.formats.table_checks import check_table, name_row
from abawcli.formats.table_schemas import (
    ALWAYS_PRESENT,
    COLUMNS,
    CSV_TYPES,
    DECIMALS,
    LOGIT_FIELDS,
    LOGITS,
    PROBABILITIES,
    SCHEMAS,
    TITLES,
    TYPES,
    find_table_task,
)
from abawcli.formats.text_form import check_commas, explain_csv_error
from abawcli.labels import (
    CLASSES,
    IGNORE,
    N_CLASSES,
    SYNONYMS,
    parse_label,
)
from abawcli.sources import NONE
from abawcli.tasks import Task

TABLE_COMMANDS = ("predict", "smooth", "fuse")  # that write prediction tables
HEADER_BYTES = 4096  # of a csv; those of our own have 300
UNICODE = pd.StringDtype("pyarrow", na_value=np.nan)  # of columns that hold nothing else

# Readers and writers open the file themselves: pyarrow refuses names that are not UTF-8.


def _read_csv(path: Path) -> pa.Table:
    check_commas(path)
    # With one thread, errors name the line.
    options = pa.csv.ReadOptions(use_threads=False)
    types = pa.csv.ConvertOptions(column_types=CSV_TYPES)
    with path.open("rb") as file:
        return pa.csv.read_csv(file, options, convert_options=types)


def _read_parquet(path: Path) -> pa.Table:
    with path.open("rb") as file:
        rows = pa.parquet.ParquetFile(file).read()
    rows.validate(full=True)  # finds damaged bytes within pages
    return rows


def _needs_quotes(text: pa.ChunkedArray) -> bool:
    return bool(pa.compute.any(pa.compute.match_substring_regex(text, '[",\r\n]')).as_py())


def _write_csv(table: pa.Table, path: Path) -> None:
    for name in [name for name in table.column_names if name in DECIMALS]:
        k, digits = table.schema.get_field_index(name), DECIMALS[name]
        rounded = pa.compute.round(table[name], digits)
        table = table.set_column(k, name, rounded.cast(pa.decimal128(18, digits)))
    special = any(_needs_quotes(table[name]) for name in ("video", "subject"))
    style = "needed" if special else "none"  # "needed" quotes all text
    options = pa.csv.WriteOptions(include_header=False, quoting_style=style)
    with path.open("wb") as file:  # pyarrow would quote the names in the header
        file.write((",".join(table.column_names) + "\n").encode())
        pa.csv.write_csv(table, file, options)


def _write_parquet(table: pa.Table, path: Path) -> None:
    with path.open("wb") as file:
        pa.parquet.write_table(table, file, compression="zstd")


READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
TABLE_SUFFIXES = frozenset(READERS)


def is_table(path: str | Path) -> bool:
    """Tell whether a file is a table of frames: parquet, or csv with such columns in line 1."""
    path = Path(path)
    if path.suffix.lower() != ".csv":
        return path.suffix.lower() in READERS
    try:
        with path.open("rb") as file:
            first = file.readline(HEADER_BYTES).decode("utf-8-sig", "replace")
    except (OSError, ValueError):
        return False  # readers say why
    return {"video", "frame"} <= {cell.strip(' \t\r\n"').lower() for cell in first.split(",")}


def check_table_name(path: str | Path) -> None:
    """Check, before any work is done, that `path` has the suffix of a table format.

    Raises:
        UsageError: it has not.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise UsageError(f"{path} is no table name; it must end in {' or '.join(sorted(WRITERS))}")


def write_table(table: pd.DataFrame, path: str | Path, provenance: Provenance) -> None:
    """Write a prediction table atomically, with its provenance beside it.

    Parquet files also have a copy of the provenance in their schema metadata, under `abaw`.

    Args:
        table: the columns of this module of one task, of which those of quality and the logits are
            optional; others are not written. Bytes in names of videos that are not Unicode become
            replacement characters.
        path: the file.
        provenance: of `provenance.describe_work`.

    Raises:
        UsageError: the suffix belongs to no table format.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    check_table_name(path)
    task = find_table_task(table) or EXPR
    schema = pa.schema([*SCHEMAS[task], *(LOGIT_FIELDS if has_logits(table) else [])])
    schema = schema.with_metadata({b"abaw": json.dumps(dict(provenance)).encode()})
    known = _decode_names(_complete(table))
    rows = pa.Table.from_pandas(known, schema=schema, preserve_index=False)
    with write_result(path, provenance) as temporary:
        WRITERS[path.suffix.lower()](rows, temporary)


def _complete(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with empty columns for those that tables of older versions lack."""
    missing = [name for name in QUALITY if name not in table]
    return table.assign(**dict.fromkeys(missing, np.nan)) if missing else table


def _decode_names(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose names of videos are Unicode."""
    if table["video"].dtype == UNICODE:
        return table
    return table.assign(video=table["video"].map(decode_name))


def has_logits(table: pd.DataFrame) -> bool:
    """Tell whether all labelled rows of a table have logits."""
    if not set(LOGITS) <= set(table):
        return False
    return bool((table[LOGITS].notna().all(axis=1) | (table["source"] == NONE)).all())


def drop_logits(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without logits."""
    return table.drop(columns=LOGITS, errors="ignore")


def set_probabilities(
    table: pd.DataFrame,
    p: NDArray[np.floating[Any]],
    source: NDArray[np.str_],
    logits: NDArray[np.floating[Any]] | None = None,
) -> pd.DataFrame:
    """Return a table with these probabilities `p` (N, 8), sources (N,) and logits (N, 8), if any.

    Label and confidence are computed from the probabilities; rows of NaN have none.
    """
    known = ~np.isnan(p[:, 0])
    best = np.where(known[:, None], p, 0.0).argmax(axis=1)  # (N,)
    changed = {
        "source": source,
        "label": np.where(known, best, IGNORE),
        "confidence": p[np.arange(len(p)), best],
    }
    columns = dict(zip(PROBABILITIES, p.T, strict=True))
    if logits is not None:
        columns |= dict(zip(LOGITS, logits.T, strict=True))
    kept = {name: column for name, column in table.items() if name not in LOGITS}
    return pd.DataFrame(kept | changed | columns, index=table.index)


def set_values(
    task: Task, table: pd.DataFrame, outputs: NDArray[np.floating[Any]], source: NDArray[np.str_]
) -> pd.DataFrame:
    """Return a table of a task with these outputs (N, K) and sources (N,); rows of NaN have none.

    The values are decided anew.
    """
    exact = outputs.astype(np.float64)
    columns = dict(zip(task.columns, task.decide(exact).T, strict=True))
    columns |= dict(zip(task.outputs, exact.T, strict=True))
    columns = {"source": source} | columns
    return pd.DataFrame(dict(table.items()) | columns, index=table.index)


def _hint(missing: Sequence[str], present: Sequence[str]) -> str:
    """Return a hint to columns whose names differ only by capitals or blanks from missing ones."""
    plain = {name.strip().lower(): name for name in present}
    alike = [repr(plain[name]) for name in missing if name in plain]
    return f"; line 1 calls it {', '.join(alike)}" if alike else ""


def _explain_missing(path: Path, missing: Sequence[str], present: Sequence[str]) -> str:
    """Return which columns a table lacks, or the command that wrote it if it is of another kind."""
    made_by = read_provenance(path).get("command")
    if {"source", "face_score"} & {*missing} and made_by not in (None, *TABLE_COMMANDS):
        return f"{path} was written by `abaw {made_by}`; it is no prediction table"
    return f"{path} has no column {', '.join(missing)}{_hint(missing, present)}"


def _parse_labels(path: Path, column: pa.ChunkedArray) -> pa.Array:
    """Return the class numbers of labels that are numbers or class names.

    Raises:
        InputError: labels are unknown; the message lists them.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    coded = pa.compute.dictionary_encode(column.combine_chunks())
    values: list[int | None] = []
    unknown = []
    for k, text in enumerate(map(str, coded.dictionary.to_pylist())):
        try:
            values.append(parse_label(text) if text.strip() else None)
        except InputError:
            values.append(None)
            unknown.append((k, text))
    if unknown:
        row = pa.compute.index(coded.indices, pa.scalar(unknown[0][0], coded.indices.type)).as_py()
        names = ", ".join(repr(text) for _, text in unknown[:10])
        raise InputError(
            f"{name_row(path, row)}: unknown label {names}; known are "
            f"{IGNORE} to {N_CLASSES - 1}, {', '.join(CLASSES)} and {', '.join(sorted(SYNONYMS))}"
        )
    return pa.array(values, pa.int64()).take(coded.indices)


def load_columns(
    path: str | Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Read the named columns with their types; the `optional` ones may be missing.

    Labels may be class names.

    Raises:
        InputError: the file cannot be read, a column is missing or the table is another task's, or
            a value that must be present is empty.
    """
    return _load(path, lambda present: (columns, optional))


def _check_task(path: Path, present: Sequence[str], columns: Sequence[str], missing: bool) -> None:
    """Check that a table is not of another task than the one whose columns are asked for."""
    found, asked = find_table_task(present), find_table_task(columns)
    if found and found != (asked or EXPR) and (missing or asked):
        raise InputError(
            f"{path} is a table of {TITLES[found]} (--task {found}), not of {TITLES[asked or EXPR]}"
        )


def _load(
    path: str | Path, choose: Callable[[list[str]], tuple[Sequence[str], Sequence[str]]]
) -> pd.DataFrame:
    """Do what `load_columns` does; `choose` gives its arguments by the columns of the file."""
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None or os.path.isdir(path):
        check_exists(path)
        raise InputError(f"{path} is not a table file ({' or '.join(sorted(READERS))})")
    try:
        raw = reader(path)
        present = raw.column_names
        columns, optional = choose(present)
        needed = [name for name in columns if name not in optional or _hint([name], present)]
        missing = [name for name in needed if name not in present]
        _check_task(path, present, columns, bool(missing))
        if missing:
            raise InputError(_explain_missing(path, missing, present))
        if twice := [name for name in columns if present.count(name) > 1]:
            raise InputError(f"{path} has the column {twice[0]} {present.count(twice[0])} times")
        kept = [name for name in columns if name not in optional or name in present]
        raw = raw.select(kept)
        if "label" in kept:
            raw = raw.set_column(kept.index("label"), "label", _parse_labels(path, raw["label"]))
        rows = raw.cast(pa.schema([(name, TYPES[name]) for name in kept]))
        frame: pd.DataFrame = rows.to_pandas()
    except (FileNotFoundError, PermissionError) as error:
        raise InputError(explain_os_error(path, error)) from error
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise InputError(explain_csv_error(path, error)) from error
    if len(rows) == 0:
        raise InputError(f"{path} holds no rows")
    for name in set(kept) & set(ALWAYS_PRESENT):
        if rows[name].null_count:
            row = pa.compute.index(pa.compute.is_null(rows[name]), True).as_py()
            raise InputError(f"{name_row(path, row)}: {name} is empty")
    return frame


def read_table(path: str | Path, task: str | None = EXPR) -> pd.DataFrame:
    """Read and check a prediction table: the columns of this module, rows in the file's order.

    Args:
        path: the file.
        task: that the table must be of, of `config.TASK_NAMES`; None: any.

    Raises:
        InputError: the file is missing, no table or another task's, a column or value is missing,
            or a value is invalid; the message names the line (csv) or row (parquet, from 1).
    """
    path = Path(path)

    def choose(present: list[str]) -> tuple[list[str], list[str]]:
        names = SCHEMAS[task or find_table_task(present) or EXPR].names
        logits = LOGITS if names == COLUMNS else []
        return [*names, *logits], [*QUALITY, *logits]

    table = _complete(_load(path, choose))
    found = find_table_task(table) or EXPR
    names = [*SCHEMAS[found].names, *(name for name in LOGITS if name in table)]
    if list(table) != names:  # it lacked columns
        table = table[names]
    check_table(path, table)
    return table


def read_each_table(
    paths: Iterable[str | Path], failed: dict[str, str]
) -> dict[Path, pd.DataFrame]:
    """Read prediction tables; tables that cannot be read are added to `failed`.

    So are tables with a subject of a video that an earlier table has.

    Raises:
        InputError: no table could be read.
    """
    tables: dict[Path, pd.DataFrame] = {}
    owners: dict[tuple[str, str], Path] = {}
    for path in map(Path, paths):
        try:
            check_input(path)
            table = read_table(path)
            people = table[["video", "subject"]].drop_duplicates()
            for video, subject in people.to_numpy(str).tolist():
                other = owners.setdefault((video, subject), path)
                if other != path:
                    raise InputError(
                        f"{path}: {other} has {video}, subject {subject}, too; "
                        "leave one of them out"
                    )
            tables[path] = table
        except InputError as error:
            failed[str(path)] = str(error)
    if not tables:
        raise InputError("; ".join(failed.values()) or "no prediction table is given")
    return tables


def read_tables(paths: Iterable[str | Path], failed: dict[str, str]) -> pd.DataFrame:
    """Read prediction tables by `read_each_table` and concatenate them.

    Raises:
        InputError: no table could be read.
    """
    return pd.concat(read_each_table(paths, failed).values(), ignore_index=True)
