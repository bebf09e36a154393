"""Submission and sample files of the ABAW EXPR challenge, and the list of its test videos.

A submission is one text file for all test videos: a header of nine names, then lines with two
fields, such as `<name>/00001.jpg,3`: the image of a frame, counted from 1, and its class. The
organisers' sample has the required rows in their order; its rows end in `,0` or `,`. The test list
has one name per line and no header.
"""

from pathlib import Path
from typing import NoReturn

import pandas as pd
import pyarrow as pa
import pyarrow.compute

from abawcli.errors import InputError, explain_os_error
from abawcli.formats.lines import describe_ends, note_quirks, read_body, read_text, strip_ends
from abawcli.formats.provenance import Provenance, write_result
from abawcli.labels import CLASSES, IGNORE, N_CLASSES
from abawcli.tasks import IMAGE_COLUMN

HEADER = ",".join((IMAGE_COLUMN, *CLASSES))
ROW_FORM = "<name>/00001.jpg,<class>"
# At most 7 digits: 100 hours of video, and small enough for tables by frame number.
LOCATION = r"(?P<video>[^/,\r\x00]+)/(?P<frame>\d{5}|[1-9]\d{5,6})\.jpg"
_ROW = rf"^(?P<location>{LOCATION}),[ \t]*(?P<label>[^, \t]*)(?P<rest>[, \t]*)$"
_LABELS = {**{str(k): k for k in range(N_CLASSES)}, "": IGNORE}


def is_submission(path: str | Path) -> bool:
    """Tell by the first line whether a file is a submission or a sample.

    Raises:
        InputError: the file cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            line = file.readline(4 * len(HEADER))
    except OSError as error:
        raise InputError(explain_os_error(path, error)) from error
    except ValueError as error:  # a NUL in the path
        raise InputError(f"cannot read {path}: {error}") from error
    first = line.decode("utf-8-sig", "replace").split(",")[0]
    return first.strip().lower() == HEADER.split(",")[0]


def read_submission(path: str | Path) -> pd.DataFrame:
    """Read a submission or sample: columns video, frame and label, rows in the file's order.

    The label is -1 where a sample has none. Deviations that `lines` tolerates give a warning.

    Raises:
        InputError: the file is missing, has another header or no rows, a row has another form, a
            class is not 0 to 7, or an image has two rows; the message names the line.
    """
    path = Path(path)
    _, body, quirks = read_body(path, "submission", [HEADER])
    # Arrow splits and matches a million rows in half a second; Python's own `re` takes four.
    lines = pa.compute.split_pattern(pa.array([body]), "\n").flatten()
    fields = pa.compute.extract_regex(lines, _ROW)
    if fields.null_count:
        _refuse_form(path, lines, fields)
    rows = _convert(path, fields)
    rest = fields.field("rest")
    if (trailing := pa.compute.index(pa.compute.not_equal(rest, ""), True).as_py()) >= 0:
        quirks.append(describe_ends(trailing + 2))
    note_quirks(path, quirks)
    return rows


def _refuse_form(path: Path, lines: pa.Array, fields: pa.Array) -> NoReturn:
    row = pa.compute.index(pa.compute.is_null(fields), True).as_py()
    line = lines[row].as_py()
    raise InputError(f"{path}, line {row + 2}: a row must be {ROW_FORM}, not {line[:80]!r}")


def _convert(path: Path, fields: pa.StructArray) -> pd.DataFrame:
    """Return the fields of all rows as numbers.

    Raises:
        InputError: a value is invalid, or an image has two rows.
    """
    label = fields.field("label").to_pandas().map(_LABELS)
    if label.isna().any():
        row = int(label.isna().argmax())
        found = fields.field("label")[row].as_py()
        raise InputError(
            f"{path}, line {row + 2}: the class must be 0 to {N_CLASSES - 1}, not {found[:20]!r}"
        )
    rows = pd.DataFrame(
        {
            "video": fields.field("video").to_pandas(),
            "frame": fields.field("frame").cast(pa.int64()).to_numpy(),
            "label": label.to_numpy("int64"),
        }
    )
    if (zero := (rows["frame"] == 0).to_numpy()).any():
        raise InputError(f"{path}, line {zero.argmax() + 2}: frames are counted from 1, not 0")
    if (twice := rows.duplicated(["video", "frame"]).to_numpy()).any():
        row = int(twice.argmax())
        location = fields.field("location")[row]
        before = pa.compute.index(fields.field("location"), location).as_py()
        raise InputError(
            f"{path}, line {row + 2}: {location} has a row in line {before + 2} already"
        )
    return rows


def write_submission(rows: pd.DataFrame, path: str | Path, provenance: Provenance) -> None:
    """Write rows (video, frame, label) as a submission, in their order; -1 becomes empty.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    columns = (rows[name].tolist() for name in ("video", "frame", "label"))
    lines = (
        f"{video}/{frame:05d}.jpg,{'' if label == IGNORE else label}\n"
        for video, frame, label in zip(*columns, strict=True)
    )
    with (
        write_result(path, provenance) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        file.write(HEADER + "\n")
        file.writelines(lines)


def read_test_list(path: str | Path) -> list[str]:
    """Read a list of test videos with one name per line, in its order.

    Raises:
        InputError: the file is missing or empty, a line is no name, or a name occurs twice; the
            message names the line.
    """
    path = Path(path)
    text, quirks = read_text(path, "test list")
    if not text:
        raise InputError(f"{path} holds no names")
    lines = text.split("\n")
    stripped, trailing = strip_ends(lines, 1)
    names: dict[str, int] = {}  # and their lines
    for number, name in enumerate(stripped, 1):
        if not name or set(name) & set("/,\r\0"):
            line = lines[number - 1]
            raise InputError(f"{path}, line {number}: a line must be one name, not {line[:80]!r}")
        if name in names:
            raise InputError(f"{path}, line {number}: {name} is in line {names[name]} already")
        names[name] = number
    note_quirks(path, quirks + trailing)
    return list(names)
