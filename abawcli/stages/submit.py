"""Stage submit: write a submission from predictions, or check one, with the organisers' sample.

The sample has the required rows. Some are of frames that the video does not have, or that have no
prediction. The fallback for such a row is the prediction of the nearest frame that has one, the
earlier one of two equally near frames.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import EXPR, Submission
from abawcli.datasets.pairing import summarise_failures
from abawcli.datasets.submission_forms import SUBMISSION_FORMS, PredictedValues
from abawcli.errors import InputError
from abawcli.formats.abaw import ROW_TOLERANCE, match_tracks
from abawcli.formats.inputs import locate_inputs, warn_left_out
from abawcli.formats.json_values import JsonObject
from abawcli.formats.lines import read_text, strip_header
from abawcli.formats.provenance import describe_work, find_finished
from abawcli.formats.summary import Summary, keep_warnings, note_summary, read_summary

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Filled:
    """A sample's rows with predictions."""

    rows: pd.DataFrame  # video, frame and the task's columns: the sample's rows in its order
    videos: int
    borrowed: int  # rows that took the prediction of another frame


@dataclass(frozen=True)
class SubmitSummary(Summary):
    """The summary of a submission."""

    rows: int
    videos: int
    borrowed: int  # rows that took the prediction of another frame


def submit_files(
    predictions: Sequence[str | Path],
    sample: str | Path,
    output: str | Path,
    task: str = EXPR,
    *,
    overwrite: bool = False,
) -> SubmitSummary:
    """Write a submission of a task's predictions; finished work is kept.

    Raises:
        InputError: as `fill_sample`.
        OutputError: the output exists and may not be replaced, or cannot be written.
    """
    places = locate_inputs(predictions)
    sample = Path(sample)
    output = Path(output)
    settings: JsonObject = {} if task == EXPR else {"task": task}
    work = describe_work("submit", [*places, sample], settings)
    if finished := find_finished(output, work, overwrite):
        return read_summary(finished, SubmitSummary, made=False)
    with keep_warnings(work):
        filled = fill_sample(places, sample, task)
        note_summary(work, SubmitSummary(len(filled.rows), filled.videos, filled.borrowed))
        SUBMISSION_FORMS[task].write(filled.rows, output, work)
    return read_summary(work, SubmitSummary, made=True)


def fill_sample(
    predictions: Iterable[str | Path],
    sample: str | Path,
    task: str = EXPR,
    config: Submission | None = None,
) -> Filled:
    """Fill every row of a sample with the prediction of its frame, or of the nearest frame.

    Predictions are tables, ABAW text or submissions of the task; a sample's video `x_left` takes
    those of that name, or of `x` with that subject, as in scoring. Warns of videos with many rows
    without a prediction of their own, with another length than in the sample, or that are not in
    the sample.

    Raises:
        InputError: a file cannot be read, or videos of the sample have no prediction; the message
            names all of them.
    """
    sample = Path(sample)
    form = SUBMISSION_FORMS[task]
    rows = form.read(sample)
    failed: dict[str, str] = {}
    tracks = form.gather(predictions, failed)
    if failed:
        raise InputError(summarise_failures(failed))
    chosen = _choose_tracks(rows["video"], tracks, sample)
    values, borrowed = np.empty((len(rows), len(form.columns)), form.type), 0
    for video, group in rows.groupby("video", sort=False):
        name, frame = str(video), group["frame"].to_numpy()
        track = tracks[chosen[name]]
        nearest = find_nearest(frame, _find_known(track))
        values[group.index] = track[nearest - 1]
        own = int((nearest == frame).sum())
        _warn_of_gaps(name, frame, own, len(track), config=config or Submission())
        borrowed += len(frame) - own
    used = {video for video, _ in chosen.values()}
    spare = sorted({video for video, _ in tracks} - used)
    warn_left_out("predicted videos are not in the sample", spare)
    columns = dict(zip(form.columns, values.T, strict=True))
    return Filled(rows.assign(**columns), len(chosen), borrowed)


def _find_known(track: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the mask of the frames (T,) of a track (T, C) that have a prediction."""
    return np.asarray(~np.isnan(track).any(axis=1))


def _choose_tracks(
    videos: pd.Series, tracks: PredictedValues, sample: Path
) -> dict[str, tuple[str, str]]:
    """Return the track of every video in the sample's rows (N,), or name all without one."""
    names = videos.drop_duplicates()
    chosen, failed = match_tracks(names, tracks, "predictions")
    for name, track in chosen.items():
        if not _find_known(tracks[track]).any():
            failed[name] = f"{name}: no frame with a prediction"
    without: dict[str, list[str]] = {}  # reason -> videos
    for row, name in names.items():
        if name in failed:
            reason = failed[name].removeprefix(f"{name}: ")
            without.setdefault(reason, []).append(f"{name} (line {int(str(row)) + 2})")
    if without:
        count = sum(map(len, without.values()))
        reasons = "; ".join(f"{reason}: {', '.join(who)}" for reason, who in without.items())
        raise InputError(
            f"{sample}: {count} of its {len(names)} videos cannot be submitted; {reasons}"
        )
    return chosen


def find_nearest(frame: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the nearest frame with a prediction for each frame (N,), all counted from 1, (N,).

    `known` (T,) are the frames that have one, at least one frame. Of two equally near frames, the
    earlier one is returned.
    """
    there = np.flatnonzero(known) + 1
    after = np.searchsorted(there, frame)
    later = there[np.minimum(after, len(there) - 1)]
    earlier = there[np.maximum(after - 1, 0)]
    return np.where(abs(frame - earlier) <= abs(later - frame), earlier, later)


def _warn_of_gaps(
    name: str, frame: NDArray[np.int64], own: int, frames: int, *, config: Submission
) -> None:
    if abs(frame.max() - frames) > ROW_TOLERANCE:
        LOG.warning(
            "%s: the sample ends with frame %d, its predictions with %d; are they of this video?",
            name, frame.max(), frames,
        )  # fmt: skip
    elif len(frame) - own > config.many_borrowed * len(frame):
        LOG.warning(
            "%s: %d of %d rows have no prediction of their own and take the nearest",
            name, len(frame) - own, len(frame),
        )  # fmt: skip


def find_differences(submission: str | Path, sample: str | Path, task: str = EXPR) -> Iterator[str]:
    """Yield the differences of a submission from the required form, with the line.

    It must have the exact header and form, the rows of the sample in the same order, and a class
    or the values of the task in each row.

    Raises:
        InputError: one of the files cannot be read, or is not a submission.
    """
    submission = Path(submission)
    sample = Path(sample)
    form = SUBMISSION_FORMS[task]
    wanted = form.read(sample)
    text, quirks = read_text(submission, "submission")
    first, _, body = text.partition("\n")
    header, unlike = strip_header(first, [form.header])
    yield from quirks + unlike
    if header is None:
        yield f"line 1: the header must be {form.header}, not {first[:80]!r}"
    lines = body.split("\n") if body else []
    yield from form.find_malformed(lines)
    names = zip(wanted["video"].tolist(), wanted["frame"].tolist(), strict=True)
    expected = [f"{video}/{frame:05d}.jpg" for video, frame in names]
    yield from _compare_rows([line.partition(",")[0] for line in lines], expected)


def _compare_rows(locations: list[str], expected: list[str]) -> Iterator[str]:
    """Yield rows that are repeated, surplus, missing, or in another order than in the sample."""
    if locations == expected:
        return
    places: dict[str, int] = {}  # line of each row, the first where there are several
    wanted = set(expected)
    for line, location in enumerate(locations, 2):
        if places.setdefault(location, line) != line:
            yield f"line {line}: {location} has a row in line {places[location]} already"
        elif location not in wanted:
            yield f"line {line}: the sample has no {location}"
    for line, location in enumerate(expected, 2):
        if location not in places:
            yield f"no row of {location}, line {line} of the sample"
    shared = [location for location in places if location in wanted]
    ordered = [location for location in expected if location in places]
    for found, due in zip(shared, ordered, strict=True):
        if found != due:
            yield f"line {places[found]}: {found} stands where {due} must be"
