"""Tables of annotations: labels of frames, or of intervals in seconds."""

from pathlib import Path

import numpy as np
import pandas as pd

from abawcli.errors import InputError
from abawcli.formats.table_checks import check_classes, check_numbers, refuse_rows
from abawcli.formats.table_schemas import INTERVAL
from abawcli.formats.tables import load_columns

# Tolerance for times of intervals, which programs round to milliseconds: of an overlap, and of a
# start after the time of its frame.
INTERVAL_ROUNDING_S = 1e-3


def read_labels(path: str | Path, video: str = "") -> pd.DataFrame:
    """Read labels of frames or of intervals from a table with these columns.

    Labels of frames have `video`, `frame` and `label`. Labels of intervals have `video`, `onset`,
    `offset` or `duration`, and `label`; times are in seconds. Without a column `video`, all rows
    are of the video `video`. Labels are numbers or class names.

    Raises:
        InputError: as `read_table`, for these columns; or an interval ends before it begins, or
            overlaps another one of the same video.
    """
    path = Path(path)
    table = load_columns(
        path, ["video", "frame", *INTERVAL, "label"], ["video", "frame", *INTERVAL]
    )
    if "video" not in table:
        table = table.assign(video=video)
    if "frame" in table:
        table = table[["video", "frame", "label"]]
        if table.duplicated(["video", "frame"]).any():
            _refuse_subjects(path)
        check_numbers(path, table)
        return table
    if "onset" not in table or not {"offset", "duration"} & set(table):
        raise InputError(
            f"{path} has neither a column frame nor the columns onset and offset (or duration)"
        )
    if "offset" not in table:
        table["offset"] = table["onset"] + table["duration"]
    _check_intervals(path, table)
    return table[["video", "onset", "offset", "label"]]


def _refuse_subjects(path: Path) -> None:
    """Refuse labels of several subjects of one video."""
    table = load_columns(path, ["video", "frame", "subject"], ["video", "frame", "subject"])
    if not {"video", "subject"} <= set(table):
        return
    for video, subjects in table.groupby("video")["subject"].unique().items():
        if len(subjects) > 1:
            raise InputError(
                f"{path}: {video} has labels of {len(subjects)} subjects "
                f"({', '.join(sorted(map(str, subjects)))}), and they must be of one; predict with "
                "--subject main, left or right, or keep the rows of one subject"
            )


def _check_intervals(path: Path, table: pd.DataFrame) -> None:
    onset, offset = (table[name].to_numpy() for name in ("onset", "offset"))
    refuse_rows(path, ~np.isfinite(onset + offset), "onset and offset must be seconds", None)
    refuse_rows(path, offset < onset, "an interval must not end before its onset", table["onset"])
    check_classes(path, table)
    ordered = table.sort_values(["video", "onset"])
    same = (ordered["video"] == ordered["video"].shift()).to_numpy()
    ends = ordered.groupby("video")["offset"].cummax().shift().to_numpy()
    clash = same & (ends > ordered["onset"].to_numpy() + INTERVAL_ROUNDING_S)
    bad = np.zeros(len(table), bool)
    bad[np.flatnonzero(np.isin(table.index, ordered.index[clash]))] = True
    refuse_rows(
        path, bad, "onset must not be before the end of the interval before", table["onset"]
    )
