"""Annotation files of valence and arousal, and of action units: a header, then values per frame.

Line k after the header is frame k, with one value for each name of the header: valence and arousal
from -1 to 1, -5 where they are not annotated; or 0 or 1 for each action unit, -1 where it is not
annotated. Files are named as those of expressions (`abaw`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from abawcli.errors import InputError
from abawcli.formats.lines import note_quirks, read_body, strip_ends
from abawcli.tasks import Task, Values


def read_values(path: str | Path, task: Task) -> Values:
    """Read an annotation or a prediction of one video: (T, K), NaN where the file has `ignore`.

    Deviations that `lines` tolerates give a warning.

    Raises:
        InputError: the file is missing, has another header (of which task, is named) or no rows, or
            a row has not K values of the task; the message names the line.
    """
    path = Path(path)
    _, body, quirks = read_body(path, "annotation", [task.header])
    lines, trailing = strip_ends(body.split("\n"), 2)
    values = parse_rows(path, [line.split(",") for line in lines], task)
    note_quirks(path, quirks + trailing)
    return values


def parse_rows(path: str | Path, rows: Sequence[Sequence[str]], task: Task) -> Values:
    """Return the values (T, K) of rows of text, which begin in line 2 of a file.

    Raises:
        InputError: a row has not K values of the task; the message names the line.
    """
    path = Path(path)
    values = np.empty((len(rows), len(task.columns)))
    for k, row in enumerate(rows):
        try:
            values[k] = [float(cell) for cell in row] if len(row) == values.shape[1] else np.nan
        except ValueError:
            values[k] = np.nan
    ignored = values == task.ignore
    wrong = (task.find_invalid(values) & ~ignored).any(axis=1)
    if wrong.any():
        k = int(wrong.argmax())
        raise InputError(
            f"{path}, line {k + 2}: a row must have {len(task.columns)} values, each "
            f"{task.domain} or {task.ignore}, not {','.join(rows[k])[:80]!r}"
        )
    return np.where(ignored, np.nan, values)
