"""ELAN documents (.eaf): tiers of intervals, read and written by pympi."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from abawcli.errors import InputError, explain_os_error

TimedText = tuple[float, float, str]  # start and end in seconds, text
MIME_TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg", ".wav": "audio/x-wav", ".mkv": "video/x-matroska", ".webm": "video/webm",
}  # fmt: skip
DATE = "1970-01-01T00:00:00+00:00"  # constant, so that a table always gives the same file


def format_elan(tiers: Mapping[str, Sequence[TimedText]], media: str) -> str:
    """Return a document with one tier per entry, linked to the relative path of a media file."""
    from pympi import Elan

    document = Elan.Eaf(author="abawcli")
    document.adocument["DATE"] = DATE
    mime = MIME_TYPES.get(PurePosixPath(media).suffix.lower(), "unknown")
    relative = media if media.startswith((".", "/")) else f"./{media}"
    document.add_linked_file(media, relpath=relative, mimetype=mime)
    for name, intervals in tiers.items():
        document.add_tier(name)
        for start, end, text in intervals:
            first, last = round(start * 1000), round(end * 1000)  # ELAN counts milliseconds
            document.add_annotation(name, first, max(last, first + 1), text)
    if "default" not in tiers:
        document.remove_tier("default")
    body: str = Elan.to_string(document)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def read_elan(path: str | Path) -> dict[str, list[TimedText]]:
    """Return the intervals of each tier of a document, ordered by start.

    A time slot may have no time, if a transcript was divided without aligning it. Such slots are
    spread evenly between those before and after them that have one.

    Raises:
        InputError: the file cannot be read, is no ELAN document, or an interval has no time.
    """
    path = Path(path)
    from pympi import Elan

    check_readable(path)
    try:
        document = Elan.Eaf(str(path))
        document.timeslots = _spread_slots(document.timeslots)
        tiers = {name: document.get_annotation_data_for_tier(name) for name in document.tiers}
    except Exception as error:  # pympi raises any error of its XML reader
        raise InputError(f"{path} is no ELAN document: {error}") from error
    for name, rows in tiers.items():
        if any(None in row[:2] for row in rows):
            raise InputError(
                f"{path}: an interval of the tier {name} has no time; align it in ELAN"
            )
    return {
        name: sorted((row[0] / 1000, row[1] / 1000, str(row[2])) for row in rows)
        for name, rows in tiers.items()
    }


def check_readable(path: str | Path) -> None:
    """Check that a file can be opened: pympi reports its name as that of a damaged document.

    Raises:
        InputError: it cannot.
    """
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise InputError(explain_os_error(path, error)) from error


def _spread_slots(slots: Mapping[str, int | None]) -> dict[str, float | None]:
    """Give times to the slots between others with one; the mapping is in the order of time."""
    known = [index for index, time in enumerate(slots.values()) if time is not None]
    if not known:
        return dict(slots)
    times = np.interp(np.arange(len(slots)), known, [t for t in slots.values() if t is not None])
    return {
        name: float(times[index]) if known[0] <= index <= known[-1] else None
        for index, name in enumerate(slots)
    }
