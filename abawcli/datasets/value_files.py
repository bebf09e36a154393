"""Annotation files of tasks with values, for training: matched by name, with one row per frame."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawcli.errors import InputError
from abawcli.formats.abaw import align_rows
from abawcli.formats.inputs import check_exists, locate_inputs
from abawcli.formats.names import compose_name, name_input
from abawcli.formats.task_annotations import read_values
from abawcli.tasks import Task, Values


def name_value_files(paths: Iterable[str | Path]) -> dict[str, Path]:
    """Return annotation files by the names of their annotations.

    Raises:
        InputError: two have the same name.
    """
    named: dict[str, Path] = {}
    for path, relative in locate_inputs(paths).items():
        check_exists(path)
        name = compose_name(name_input(relative))
        if name in named:
            raise InputError(f"{named[name]} and {path} are annotations of the same name")
        named[name] = path
    return named


def read_frame_values(name: str, path: str | Path, task: Task, frame: NDArray[np.int64]) -> Values:
    """Return the values (T, K) of frames (T,), counted from 1; NaN if not annotated.

    Raises:
        InputError: as `read_values`, or the annotation has another number of frames.
    """
    annotated = read_values(path, task)
    align_rows(annotated, int(frame[-1]), name)
    values = np.full((len(frame), annotated.shape[1]), np.nan)
    inside = frame <= len(annotated)
    values[inside] = annotated[frame[inside] - 1]
    return values
