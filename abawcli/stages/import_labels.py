"""Stage import: labels of other programs as annotations of frames, or in a prediction table."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import EXPR
from abawcli.errors import InputError, UsageError
from abawcli.formats.abaw import format_annotation
from abawcli.formats.exports import name_tiers
from abawcli.formats.imports import (
    IMPORTERS,
    choose_tier,
    find_tier,
    lay_on_frames,
    read_classes,
)
from abawcli.formats.provenance import (
    Provenance,
    describe_work,
    find_finished,
    read_provenance,
    write_result,
)
from abawcli.formats.table_schemas import OUTPUTS
from abawcli.formats.tables import (
    TABLE_SUFFIXES,
    check_table_name,
    read_table,
    set_probabilities,
    write_table,
)
from abawcli.labels import IGNORE, N_CLASSES
from abawcli.media.video import read_frames
from abawcli.segments import explain_untimed, split_people
from abawcli.sources import FILLED, NONE

LABEL_SUFFIXES = (".txt", ".csv")
PROBABILITIES = OUTPUTS[EXPR]
Frames = tuple[NDArray[np.int64], NDArray[np.float64]]  # numbers and times in seconds, each (T,)


def read_frame_times(video: str | Path) -> Frames:
    """Return the frames of a video, or of its prediction table, with their times.

    Raises:
        InputError: it cannot be read, or is a table of several videos.
    """
    video = Path(video)
    if video.suffix.lower() in TABLE_SUFFIXES:
        table = read_table(video)
        if len(names := table["video"].unique()) > 1:
            raise InputError(f"{video} has {len(names)} videos; labels are of the frames of one")
        table = table.drop_duplicates("frame").sort_values("frame")
        return table["frame"].to_numpy(np.int64), table["time_s"].to_numpy(np.float64)
    times = [frame.time_s for frame in read_frames(video)]
    return np.arange(1, len(times) + 1), np.array(times)


def _check_kind(kind: str) -> None:
    if kind not in IMPORTERS:
        raise UsageError(f"unknown format {kind!r}; known are {', '.join(IMPORTERS)}")


def import_file(
    path: str | Path,
    output: str | Path,
    kind: str,
    video: str | Path | None = None,
    *,
    frames: int | None = None,
    tier: str | None = None,
    names: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Provenance:
    """Write the labels of a file as an annotation (.txt), or as a csv: video, frame, label.

    Args:
        path: file of a program of `formats.imports.IMPORTERS`.
        output: file that ends in .txt or .csv.
        kind: name of the program.
        video: the video, or its prediction table, for the times of its frames.
        frames: their number instead, for labels that count frames.
        tier: tier of the file, if it has several.
        names: classes by other names of labels.
        overwrite: replace existing outputs.

    Raises:
        InputError: a file cannot be read, or its labels have unknown names or overlap.
        OutputError: the output exists and may not be replaced, or cannot be written.
        UsageError: the format or suffix is unknown, or neither video nor frames are given.
    """
    path = Path(path)
    output = Path(output)
    video = None if video is None else Path(video)
    _check_kind(kind)
    if output.suffix.lower() not in LABEL_SUFFIXES:
        raise UsageError(f"{output} must end in {' or '.join(LABEL_SUFFIXES)}")
    if (video is None) == (frames is None):
        raise UsageError("give either the video (or its prediction table), or its frames")
    settings = {"format": kind, "frames": frames, "tier": tier, "names": dict(names or {})}
    inputs = [path, video] if video else [path]
    work = describe_work("import", inputs, settings)
    if finished := find_finished(output, work, overwrite):
        return finished
    number, labels = _label_frames(path, kind, video, frames, tier=tier, names=names or {})
    known = int((labels != IGNORE).sum())
    work["summary"] = {"frames": len(labels), "labelled": known}
    with write_result(output, work) as temporary:
        if output.suffix.lower() == ".txt":
            temporary.write_bytes(format_annotation(labels, number).encode())
        else:
            name = output.stem if video is None else video.stem
            rows = pd.DataFrame({"video": name, "frame": number, "label": labels})
            rows.to_csv(temporary, index=False)
    return work


def _label_frames(
    path: Path,
    kind: str,
    video: Path | None,
    frames: int | None,
    *,
    tier: str | None,
    names: Mapping[str, str],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers and labels (T,) of the frames, by the arguments of `import_file`."""
    found = IMPORTERS[kind](path)
    labelled = read_classes(choose_tier(found, tier, path), names, path)
    if video is None:
        if not found.in_frames:
            raise UsageError(f"{path} has seconds; give the video, whose frames have times")
        number: NDArray[np.int64] = np.arange(1, (frames or 0) + 1)
        return number, lay_on_frames(labelled, number, None, path)
    number, time_s = read_frame_times(video)
    if not found.in_frames and (untimed := explain_untimed(number, time_s, str(video))):
        raise InputError(f"{untimed}, or give the video itself as --video")
    return number, lay_on_frames(labelled, number, None if found.in_frames else time_s, path)


def import_into_table(
    path: str | Path,
    output: str | Path,
    kind: str,
    table: str | Path,
    *,
    tier: str | None = None,
    names: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Provenance:
    """Write a prediction table with the labels of a file in place of its own.

    Args:
        path: file of a program of `formats.imports.IMPORTERS`. If the table has several subjects,
            each has a tier of its own, with the name that `abaw export` gives it.
        output: table that ends in .csv or .parquet.
        kind: name of the program.
        table: the prediction table, of one video.
        tier: tier of the file, if it has several; for a table of one subject.
        names: classes by other names of labels.
        overwrite: replace existing outputs.

    Raises:
        InputError: as `import_file`, or the table has no times, or a subject with labels no tier.
        OutputError: the output exists and may not be replaced, or cannot be written.
        UsageError: the format or suffix is unknown, or there is one tier for several subjects.
    """
    path, output, table = Path(path), Path(output), Path(table)
    _check_kind(kind)
    check_table_name(output)
    made_by = read_provenance(table)
    settings = {"format": kind, "tier": tier, "names": dict(names or {})}
    work = describe_work("import", [path, table], settings, made_from=[made_by])
    if finished := find_finished(output, work, overwrite):
        return finished
    before = read_table(table)
    labels = _label_rows(path, kind, table, before, tier=tier, names=names or {})
    work["summary"] = {
        "frames": len(labels),
        "labelled": int((labels != IGNORE).sum()),
        "changed": int((labels != before["label"].to_numpy()).sum()),
    }
    write_table(correct_labels(before, labels), output, work)
    return work


def _label_rows(
    path: Path,
    kind: str,
    table: Path,
    rows: pd.DataFrame,
    *,
    tier: str | None,
    names: Mapping[str, str],
) -> NDArray[np.int64]:
    """Return the labels (N,) of the rows of a table, by the arguments of `import_into_table`."""
    people = list(split_people(rows))
    if len(videos := rows["video"].unique()) > 1:
        raise InputError(f"{table} has {len(videos)} videos; labels are of the frames of one")
    if tier is not None and len(people) > 1:
        raise UsageError(f"--tier is for a table of one subject; {table} has {len(people)}")
    found = IMPORTERS[kind](path)
    tiers = name_tiers([subject for (_, subject), _ in people])
    frame, time_s = rows["frame"].to_numpy(np.int64), rows["time_s"].to_numpy(np.float64)
    if not found.in_frames and (untimed := explain_untimed(frame, time_s, str(table))):
        raise InputError(untimed)
    labels = np.full(len(rows), IGNORE, np.int64)
    for (_, subject), own in people:
        own_tiers = (tiers[subject], subject)
        if len(people) > 1 and _has_none(rows, own) and not set(own_tiers) & set(found.tiers):
            continue  # some formats have nothing of a subject without labels
        name = tier if len(people) == 1 else find_tier(found, own_tiers, path)
        labelled = read_classes(choose_tier(found, name, path), names, path)
        at = None if found.in_frames else time_s[own]
        labels[own] = lay_on_frames(labelled, frame[own], at, path)
    return labels


def _has_none(rows: pd.DataFrame, own: NDArray[np.intp]) -> bool:
    return bool((rows["label"].to_numpy()[own] == IGNORE).all())


def correct_labels(table: pd.DataFrame, labels: NDArray[np.int64]) -> pd.DataFrame:
    """Return a prediction table with other labels (N,), -1: none.

    Probabilities stay those of the model, and the confidence is that of the new label. A row that
    had no label gets the probability 1 and the source `filled`; one that has none any longer, no
    probabilities. Logits are removed, since they belong to the former labels.
    """
    p = table[PROBABILITIES].to_numpy(np.float64, copy=True)  # (N, 8)
    source = table["source"].to_numpy().astype(str)  # (N,)
    lost = labels == IGNORE
    added = ~lost & (source == NONE)
    p[added] = np.eye(N_CLASSES)[labels[added]]
    p[lost] = np.nan
    source = np.where(lost, NONE, np.where(added, FILLED, source))
    own = np.take_along_axis(p, np.maximum(labels, 0)[:, None], axis=1)[:, 0]  # (N,)
    return set_probabilities(table, p, source).assign(label=labels, confidence=own)
