"""Stage smooth: smooth a prediction table over time, and fill rows without a prediction.

Each row becomes a statistic of the rows of the same video and subject within half a window before
and after it. `smoothing.smooth_rows` chooses these rows, and the source of the result.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import Media, Smoothing
from abawcli.formats.provenance import describe_work, find_finished, read_provenance
from abawcli.formats.summary import Summary, keep_warnings, note_summary, read_summary
from abawcli.formats.table_checks import warn_edited
from abawcli.formats.table_forms import find_form
from abawcli.formats.table_schemas import LOGITS
from abawcli.formats.tables import has_logits, read_table, write_table
from abawcli.segments import split_people
from abawcli.smoothing import count_removed_segments, smooth_rows
from abawcli.sources import FILLED, NONE

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SmoothSummary(Summary):
    """The summary of a table."""

    rows: int
    labelled: int  # of the rows
    filled: int  # of these, those with the source `filled`
    runs: int  # segments before smoothing; the name is a key of --json
    removed_runs: int  # of these, those of which nothing is left


def name_window(config: Smoothing) -> str:
    """Return the width of a window in words."""
    if config.window_frames is not None:
        return f"{config.window_frames} frames"
    return f"{config.window_s:g} s"


def find_smoothing(made: Mapping[str, Any]) -> Smoothing:
    """Return the smoothing of the recipe in a table's provenance, or the default."""
    settings = made.get("settings")
    given = settings.get("to_smooth") if isinstance(settings, Mapping) else None
    return Smoothing(**given) if given else Smoothing()


def smooth_table(table: pd.DataFrame, config: Smoothing) -> pd.DataFrame:
    """Smooth a prediction table, each video and subject separately; rows keep their order.

    Probabilities, label, confidence and source are replaced. Logits are used if there are any, and
    removed. For tasks with values, the values are smoothed. Warns of rows without a label, and of
    frames without times.

    Raises:
        UsageError: the method is unknown, or the window is invalid.
    """
    form = find_form(table)
    p = table[form.outputs].to_numpy(np.float64)  # (N, 8), or (N, K) values
    logits = table[LOGITS].to_numpy(np.float64) if has_logits(table) else None
    source = table["source"].to_numpy().astype(str)
    frame, time_s = table["frame"].to_numpy(), table["time_s"].to_numpy(np.float64)
    out, named = np.empty_like(p), source.astype(object)  # texts of any length
    _warn_untimed(table, config)
    for who, rows in split_people(table):
        out[rows], named[rows] = smooth_rows(
            p[rows], source[rows], frame[rows], time_s[rows], config=config,
            logits=None if logits is None else logits[rows], smooth=form.smooth,
        )  # fmt: skip
        _warn_unlabelled(*who, out[rows], config)
    return form.set(table, out, named)


def _warn_untimed(table: pd.DataFrame, config: Smoothing) -> None:
    untimed = table["time_s"].isna().to_numpy()
    if not config.window_s or not untimed.any():
        return
    frames, counted = "frames have no times", ""
    if not untimed.all():
        video, subject, frame = table[["video", "subject", "frame"]].iloc[int(untimed.argmax())]
        frames = f"{video}, subject {subject}, frame {frame}: its time_s is empty"
        counted = f" of such a subject ({untimed.sum()} of {len(untimed)} rows are empty)"
    LOG.warning(
        "%s; a window of %s counts %d frames a second%s",
        frames, name_window(config), Media.fallback_fps, counted,
    )  # fmt: skip


def _warn_unlabelled(video: str, subject: str, p: NDArray[np.float64], config: Smoothing) -> None:
    bare = int(np.isnan(p[:, 0]).sum())
    if bare == len(p):
        LOG.warning(
            "%s, subject %s: no frame has a label: no face, and no reliable speech (`abaw predict "
            "--label-all` labels all speech)", video, subject,
        )  # fmt: skip
    elif bare:
        LOG.warning(
            "%s, subject %s: %d of %d frames have no label: no reliable speech, and no face "
            "within half a window of %s", video, subject, bare, len(p), name_window(config),
        )  # fmt: skip


def count_segments(raw: pd.DataFrame, smooth: pd.DataFrame) -> tuple[int, int]:
    """Return how many segments smoothing removed from a table, and how many there were.

    Only rows with a source of their own count, not filled or unlabelled rows.
    """
    if "label" not in raw:  # values have no segments
        return 0, 0
    before, after = raw["label"].to_numpy(), smooth["label"].to_numpy()
    known = ((raw["label"] >= 0) & (raw["source"] == smooth["source"])).to_numpy()
    counts = [
        count_removed_segments(before[rows], after[rows], known[rows])
        for _, rows in split_people(raw)
    ]
    return sum(removed for removed, _ in counts), sum(total for _, total in counts)


def smooth_file(
    path: str | Path,
    output: str | Path,
    config: Smoothing | None = None,
    *,
    overwrite: bool = False,
) -> SmoothSummary:
    """Write the smoothed table of a prediction table; finished work is kept.

    Args:
        path: the table.
        output: the smoothed table, .csv or .parquet.
        config: by default the smoothing of the recipe that made the table.
        overwrite: also replace outputs that were edited or come from elsewhere.

    Raises:
        InputError: the table cannot be read.
        OutputError: the output exists and may not be replaced, or cannot be written.
        UsageError: the method is unknown, or the window is invalid.
    """
    path = Path(path)
    output = Path(output)
    made_by = read_provenance(path)
    config = config or find_smoothing(made_by)
    work = describe_work("smooth", [path], config.to_json(), made_from=[made_by])
    if finished := find_finished(output, work, overwrite):
        return read_summary(finished, SmoothSummary, made=False)
    with keep_warnings(work):
        raw = read_table(path, task=None)
        warn_edited(path, raw, "those of the smoothed probabilities")
        table = smooth_table(raw, config)
        note_summary(work, _summarise(raw, table))
        write_table(table, output, work)
    return read_summary(work, SmoothSummary, made=True)


def _summarise(raw: pd.DataFrame, table: pd.DataFrame) -> SmoothSummary:
    removed, segments = count_segments(raw, table)
    filled = int((table["source"] == FILLED).sum())
    labelled = int((table["source"] != NONE).sum())
    return SmoothSummary(
        rows=len(table), labelled=labelled, filled=filled, runs=segments, removed_runs=removed
    )
