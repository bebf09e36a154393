"""`faces.parquet`: the faces in every decoded frame of one video.

    frame, time_s         number from 1; presentation time in seconds
    subject               track number from 0; -1 in rows without a subject
    found                 whether there is a face; all later columns are null without one
    detected              true: detected in this frame; false: interpolated between two detections
    score                 the detector's score, 0..1
    x, y, w, h            the face's box in pixels of the displayed frame
    x0, y0 .. x4, y4      landmarks: left eye, right eye, nose, left and right corner of the
                          mouth, as seen in the picture
    sharpness .. face_quality  quality of the face (`faces.quality`)

`tracks.parquet` has the same columns and a row for each face of every track, whichever subject was
requested: the tracks among which a user can choose.

The provenance is in the schema metadata under `abaw`.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from abawcli.config import QUALITY
from abawcli.errors import InputError, explain_os_error
from abawcli.formats.atomic import write_whole
from abawcli.formats.json_values import parse_object
from abawcli.formats.provenance import Provenance

FACES_NAME = "faces.parquet"
TRACKS_NAME = "tracks.parquet"
BOX = ("x", "y", "w", "h")
ALWAYS_PRESENT = ("frame", "subject", "found")
LANDMARKS = tuple(f"{axis}{k}" for k in range(5) for axis in "xy")
SCHEMA = pa.schema(
    [
        ("frame", pa.int64()),
        ("time_s", pa.float64()),
        ("subject", pa.int64()),
        ("found", pa.bool_()),
        ("detected", pa.bool_()),
        *((name, pa.float32()) for name in ("score", *BOX, *LANDMARKS, *QUALITY)),
    ]
)


def write_faces(table: pd.DataFrame, path: str | Path, provenance: Mapping[str, Any]) -> None:
    """Write a table with the columns of this module, completely or not at all.

    Raises:
        OutputError: the output cannot be written.
    """
    path = Path(path)
    schema = SCHEMA.with_metadata({b"abaw": json.dumps(dict(provenance)).encode()})
    rows = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    # Files that Python opens: pyarrow takes no names that are no Unicode.
    with write_whole(path) as temporary, temporary.open("wb") as file:
        pa.parquet.write_table(rows, file, compression="zstd")


def read_faces(path: str | Path) -> tuple[pd.DataFrame, Provenance]:
    """Return the table, NaN in rows without a face, and its provenance.

    Raises:
        InputError: the file is missing or not parquet, a column is missing or has another type,
            or a value is invalid.
    """
    path = Path(path)
    with _open(path) as file:
        rows = file.read()
        provenance = _read_provenance(path, rows.schema)
        there = set(rows.column_names)
        for name in QUALITY:  # older files have none
            if name not in there:
                rows = rows.append_column(name, pa.nulls(len(rows), pa.float32()))
        rows.validate(full=True)
        missing = [name for name in SCHEMA.names if name not in there | set(QUALITY)]
        if missing:
            raise InputError(f"{path} has no column {', '.join(missing)}")
        rows = rows.select(SCHEMA.names).cast(SCHEMA)
        empty = [name for name in ALWAYS_PRESENT if rows[name].null_count]
        table: pd.DataFrame = rows.to_pandas()
    if empty:
        raise InputError(f"{path}: {empty[0]} is empty in a row")
    _check_values(path, table)
    return table, provenance


def read_faces_provenance(path: str | Path) -> Provenance:
    """Return the provenance of a table alone, without reading its rows.

    Raises:
        InputError: the file is missing or not parquet, or has no such provenance.
    """
    path = Path(path)
    with _open(path) as file:
        return _read_provenance(path, file.schema_arrow)


@contextmanager
def _open(path: Path) -> Iterator[pa.parquet.ParquetFile]:
    """Open a table; say in one line what is wrong with it."""
    try:
        with path.open("rb") as file:
            yield pa.parquet.ParquetFile(file)
    except (FileNotFoundError, PermissionError) as error:
        raise InputError(explain_os_error(path, error)) from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"cannot read the faces {path}: {error}") from error


def _read_provenance(path: Path, schema: pa.Schema) -> Provenance:
    provenance = parse_object((schema.metadata or {}).get(b"abaw", b"{}"))
    if not isinstance(provenance.get("settings", {}), dict):
        raise InputError(f"{path}: its provenance has no settings; crop again")
    return provenance


def _check_values(path: Path, table: pd.DataFrame) -> None:
    """Refuse invalid frame numbers, and faces without a box.

    A table of tracks may be empty, if no face was tracked.
    """
    if (table["frame"].to_numpy() < 1).any():
        raise InputError(f"{path}: frames must be numbers from 1")
    values = np.stack([table[name].to_numpy() for name in ("score", *BOX)])  # (5, N)
    known = np.isfinite(values).all(axis=0) | ~table["found"].to_numpy()
    if not (known & np.isfinite(table["time_s"].to_numpy())).all():
        raise InputError(f"{path}: a time, or the score or box of a face, is no finite number")
