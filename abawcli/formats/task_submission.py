"""Submission and sample files of valence and arousal, and of action units.

As for expressions (`submission`), but the header names each value and a line has all of them:
`<name>/00001.jpg,0.1,-0.2`. The values of a sample are zeros or missing.
"""

import re
from pathlib import Path

import pandas as pd

from abawcli.errors import InputError
from abawcli.formats.lines import note_quirks, read_body, strip_ends
from abawcli.formats.provenance import Provenance, write_result
from abawcli.formats.submission import LOCATION
from abawcli.formats.task_annotations import parse_rows
from abawcli.tasks import IMAGE_COLUMN, Task

_LOCATION = re.compile(LOCATION)
_WITHOUT_VALUES = re.compile(r"(?P<location>[^,]*),[, \t]*")
DIGITS = 6  # as in tables


def compose_header(task: Task) -> str:
    """Return the first line of a submission."""
    return f"{IMAGE_COLUMN},{task.header}"


def read_task_submission(path: str | Path, task: Task) -> pd.DataFrame:
    """Read a submission or sample: columns video, frame and those of the task, in the file's order.

    Values are NaN where a sample has none, or the file has `ignore`.

    Raises:
        InputError: the file is missing, has another header (of which task, is named) or no rows, a
            row has another form, a value is none of the task, or an image has two rows; the message
            names the line.
    """
    path = Path(path)
    _, body, quirks = read_body(path, "submission", [compose_header(task)])
    # A row without values may end in commas: organisers' samples have one, or one for each value.
    found = [_WITHOUT_VALUES.fullmatch(line) or line for line in body.split("\n")]
    bare = [line if isinstance(line, str) else line["location"] for line in found]
    lines, trailing = strip_ends(bare, 2)
    locations = _split_locations(path, lines)
    without = [str(task.ignore)] * len(task.columns)
    cells = [line.split(",")[1:] or without for line in lines]
    rows = locations.assign(**dict(zip(task.columns, parse_rows(path, cells, task).T, strict=True)))
    note_quirks(path, quirks + trailing)
    return rows


def write_task_submission(
    rows: pd.DataFrame, path: str | Path, task: Task, provenance: Provenance
) -> None:
    """Write rows (video, frame and the columns of the task) as a submission, in their order.

    Values have six digits, or none if they are whole.

    Raises:
        OutputError: the file cannot be written.
    """
    form = "%d" if task.whole else f"%.{DIGITS}f"
    locations = [f"{v}/{f:05d}.jpg" for v, f in zip(rows["video"], rows["frame"], strict=True)]
    table = rows[list(task.columns)].copy()
    table.insert(0, IMAGE_COLUMN, locations)
    with write_result(path, provenance) as temporary:
        table.to_csv(temporary, index=False, float_format=form, lineterminator="\n")


def _split_locations(path: Path, lines: list[str]) -> pd.DataFrame:
    """Return the video and frame of each row, which begin in line 2.

    Raises:
        InputError: a row does not begin with an image, or an image has two rows.
    """
    found = [_LOCATION.fullmatch(line.partition(",")[0]) for line in lines]
    pairs = [(match["video"], int(match["frame"])) if match else ("", 0) for match in found]
    rows = pd.DataFrame(pairs, columns=["video", "frame"])
    wrong = (rows["frame"] == 0).to_numpy()
    if wrong.any():
        k = int(wrong.argmax())
        raise InputError(
            f"{path}, line {k + 2}: a row must begin with <name>/00001.jpg, with frames counted "
            f"from 1, not {lines[k][:80]!r}"
        )
    twice = rows.duplicated().to_numpy()
    if twice.any():
        k = int(twice.argmax())
        raise InputError(f"{path}, line {k + 2}: an earlier row has {lines[k].partition(',')[0]}")
    return rows
