"""Readers of labels that people made or corrected in other programs: `IMPORTERS`.

Each reader returns the intervals of each tier: a tier of ELAN, a subject of BORIS and so on.
"""

import csv
import io
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.errors import InputError
from abawcli.formats.elan import read_elan
from abawcli.formats.label_tables import INTERVAL_ROUNDING_S
from abawcli.formats.lines import read_text
from abawcli.formats.text_form import check_commas
from abawcli.formats.textgrid import read_textgrid
from abawcli.label_maps import NO_CLASS
from abawcli.labels import CLASSES, IGNORE, index_of

LOG = logging.getLogger(__name__)
# What unexpected JSON raises; OverflowError is of integers beyond any float.
_UNEXPECTED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Interval:
    """A label with start and end, in seconds, or as first frame and the one after the last."""

    start: float
    end: float
    name: str  # of the label, as in the file


@dataclass(frozen=True)
class Imported:
    """The content of a file."""

    tiers: dict[str, list[Interval]]
    in_frames: bool = False  # frame numbers from 1, not seconds


def _in_seconds(tiers: Mapping[str, list[tuple[float, float, str]]]) -> Imported:
    return Imported({name: [Interval(*row) for row in rows] for name, rows in tiers.items()})


def import_elan(path: str | Path) -> Imported:
    """Read an ELAN document.

    Raises:
        InputError: the file cannot be read or is of another format.
    """
    path = Path(path)
    return _in_seconds(read_elan(path))


def import_textgrid(path: str | Path) -> Imported:
    """Read a Praat TextGrid.

    Raises:
        InputError: the file cannot be read or is of another format.
    """
    path = Path(path)
    return _in_seconds(read_textgrid(path))


def _read_number(text: str, path: Path, line: int) -> float:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        raise InputError(f"{path}, line {line}: {text!r} is no time in seconds") from None
    if not np.isfinite(value):
        raise InputError(f"{path}, line {line}: {text!r} is no time in seconds")
    return value


def import_audacity(path: str | Path) -> Imported:
    """Read an Audacity label track; `subject: label` is a label of the tier `subject`.

    Raises:
        InputError: the file cannot be read or is of another format.
    """
    path = Path(path)
    text, _ = read_text(path, "label track")
    tiers: dict[str, list[Interval]] = {}
    for line, row in enumerate(text.split("\n"), 1):
        if not row.strip() or row.startswith("\\"):  # a second line with frequencies
            continue
        cells = row.split("\t")
        if len(cells) < 3:
            raise InputError(f"{path}, line {line}: expected start, end and label, tab-separated")
        start, end = (_read_number(cell, path, line) for cell in cells[:2])
        tier, colon, name = cells[2].rpartition(": ")
        tiers.setdefault(tier if colon else "", []).append(Interval(start, end, name))
    return Imported(tiers)


def import_boris(path: str | Path) -> Imported:
    """Read aggregated events exported by BORIS, separated by tabs or commas.

    Raises:
        InputError: the file cannot be read or is of another format.
    """
    path = Path(path)
    text, _ = read_text(path, "events file")
    delimiter = "\t" if "\t" in text.split("\n", 1)[0] else ","
    reader = csv.DictReader(io.StringIO(text, newline=None), delimiter=delimiter)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.reader.line_num}: {error}") from error
    needed = ("Behavior", "Start (s)", "Stop (s)")
    missing = [name for name in needed if name not in (reader.fieldnames or ())]
    if missing:
        if delimiter == ",":
            check_commas(path)
        raise InputError(
            f"{path} has no column {', '.join(missing)}; export the aggregated events of BORIS"
        )
    tiers: dict[str, list[Interval]] = {}
    for line, row in rows:
        start, end = (_read_number(row[name] or "", path, line) for name in needed[1:])
        tiers.setdefault(row.get("Subject") or "", []).append(
            Interval(start, end, row["Behavior"] or "")
        )
    return Imported(tiers)


def import_labelstudio(path: str | Path) -> Imported:
    """Read a Label Studio task: its annotations, or else predictions, as TimelineLabels.

    Raises:
        InputError: the file cannot be read or is of another format.
    """
    path = Path(path)
    text, _ = read_text(path, "Label Studio file")
    try:
        tasks = json.loads(text)
        tasks = tasks if isinstance(tasks, list) else [tasks]
        if len(tasks) != 1:
            raise InputError(f"{path} has {len(tasks)} tasks; export one video at a time")
        made = tasks[0].get("annotations") or tasks[0].get("predictions") or []
        if len(made) > 1:
            LOG.warning("%s has %d annotations of the video; the last one is read", path, len(made))
        results: list[dict[str, Any]] = made[-1]["result"] if made else []
        tiers: dict[str, list[Interval]] = {}
        for result in results:
            if result.get("type") != "timelinelabels":
                continue
            tier = "".join(result.get("meta", {}).get("text", []))
            for span in result["value"]["ranges"]:
                for name in result["value"]["timelinelabels"]:
                    interval = Interval(float(span["start"]), float(span["end"]) + 1, str(name))
                    tiers.setdefault(tier, []).append(interval)
    except _UNEXPECTED as error:
        raise InputError(f"{path} is no Label Studio export of TimelineLabels: {error}") from error
    return Imported(tiers, in_frames=True)


SUFFIX_FORMATS = {".eaf": "elan", ".textgrid": "textgrid", ".tsv": "boris", ".json": "labelstudio"}


def detect_format(path: str | Path) -> str | None:
    """Return the name in `IMPORTERS` of a file of another program, by its suffix or first line.

    Text files may be Audacity label tracks, csv files may be events of BORIS. None: neither, or
    the file cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".txt", ".csv"):
        return SUFFIX_FORMATS.get(suffix)
    try:
        with path.open("rb") as file:
            first = file.readline(4096).decode("utf-8-sig", "replace")
    except (OSError, ValueError):  # reported by its reader
        return None
    if suffix == ".txt":
        return "audacity" if re.match(r"-?[\d.,]+\t-?[\d.,]+\t", first) else None
    return (
        "boris"
        if {"Behavior", "Start (s)"} <= set(first.strip().replace('"', "").split(","))
        else None
    )


IMPORTERS: dict[str, Callable[[Path], Imported]] = {
    "elan": import_elan,
    "textgrid": import_textgrid,
    "audacity": import_audacity,
    "boris": import_boris,
    "labelstudio": import_labelstudio,
}


def choose_tier(found: Imported, tier: str | None, path: str | Path) -> list[Interval]:
    """Return the intervals of a tier that have a text; None: of the only tier that has such ones.

    Raises:
        InputError: the tier does not exist, or there are several.
    """
    path = Path(path)
    texts = {name: [row for row in rows if row.name.strip()] for name, rows in found.tiers.items()}
    filled = {name: rows for name, rows in texts.items() if rows}
    if tier is not None:
        if tier not in found.tiers:
            raise InputError(f"{path} has no tier {tier!r}; it has {_list_names(found.tiers)}")
        return texts[tier]
    if len(filled) > 1:
        raise InputError(f"{path} has several tiers; choose one by --tier: {_list_names(filled)}")
    return next(iter(filled.values()), [])


def find_tier(found: Imported, names: Sequence[str], path: str | Path) -> str:
    """Return the first of the names that is a tier.

    Raises:
        InputError: there is none.
    """
    for name in names:
        if name in found.tiers:
            return name
    wanted = " or ".join(map(repr, names))
    raise InputError(f"{path} has no tier {wanted}; it has {_list_names(found.tiers)}")


def _list_names(tiers: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) for name in tiers) or "none"


def read_classes(
    intervals: list[Interval], names: Mapping[str, str], path: str | Path
) -> list[tuple[Interval, int]]:
    """Return intervals with their class numbers; `names` maps other names to class names.

    Intervals whose name is mapped to `none` are left out, as by the maps of labels elsewhere.

    Raises:
        InputError: a name is unknown; the message lists these and suggests --map.
    """
    path = Path(path)
    mapped = {
        key.strip().lower(): IGNORE if value.strip().lower() == NO_CLASS else index_of(value)
        for key, value in names.items()
    }
    numbers: dict[str, int] = {}
    unknown: list[str] = []
    for name in dict.fromkeys(each.name for each in intervals):
        try:
            plain = name.strip().lower()
            numbers[name] = mapped[plain] if plain in mapped else _read_class(name)
        except InputError:
            unknown.append(name)
    if unknown:
        shown = ", ".join(repr(name) for name in unknown)
        raise InputError(
            f"{path}: unknown labels {shown}; give --map '{unknown[0]}=CLASS' with one of "
            f"{', '.join(CLASSES)}, or {NO_CLASS}"
        )
    return [(each, numbers[each.name]) for each in intervals if numbers[each.name] != IGNORE]


def _read_class(name: str) -> int:
    """Return the class of a name or a number."""
    number = name.strip()
    if number in map(str, range(len(CLASSES))):
        return int(number)
    return index_of(name)


def lay_on_frames(
    labelled: list[tuple[Interval, int]],
    frame: NDArray[np.int64],
    time_s: NDArray[np.float64] | None,
    path: str | Path,
) -> NDArray[np.int64]:
    """Return the label of each frame (T,), -1 outside of intervals.

    Args:
        labelled: intervals with their class numbers.
        frame: (T,) frame numbers.
        time_s: (T,) times of the frames in seconds; None: intervals are in frames.
        path: of the file, for messages.

    Raises:
        InputError: an interval ends before it begins, or two with different labels overlap.
    """
    path = Path(path)
    at = frame.astype(np.float64) if time_s is None else time_s + INTERVAL_ROUNDING_S
    labels = np.full(len(frame), IGNORE, np.int64)
    for interval, number in sorted(labelled, key=lambda pair: pair[0].start):
        if not interval.start <= interval.end:
            raise InputError(f"{path}: {interval.name} ends at {interval.end:g}, before it begins")
        inside = (at >= interval.start) & (at < interval.end)
        if (clash := inside & (labels != IGNORE) & (labels != number)).any():
            k = int(clash.argmax())
            raise InputError(
                f"{path}: frame {frame[k]} is {CLASSES[labels[k]]} and {CLASSES[number]}; "
                "labels must not overlap"
            )
        labels[inside] = number
    return labels
