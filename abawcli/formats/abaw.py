"""Annotation files of the ABAW EXPR challenge: a header, then one class number a frame.

Line k after the header is frame k. -1 means: not annotated. Older editions have seven classes,
in the same order and without `Other`. A file is named after its video; `_left` or `_right` at
the end says which of two people it is about.
"""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawcli.errors import InputError
from abawcli.formats.files import write_whole
from abawcli.labels import CLASSES, IGNORE

LOG = logging.getLogger(__name__)
Labels = NDArray[np.int64]

HEADERS = {",".join(CLASSES): len(CLASSES), ",".join(CLASSES[:-1]): len(CLASSES) - 1}
ROW_TOLERANCE = 2  # the official files are up to this many rows off the decoded frames
_SIDE = re.compile(r"_(left|right)$")


def split_side(name: str) -> tuple[str, str | None]:
    """Split an annotation's name into the video's name and `left`, `right` or None."""
    side = _SIDE.search(name)
    return (name[: side.start()], side[1]) if side else (name, None)


def read_annotation(path: Path) -> Labels:
    """Read an annotation: one class or -1 per frame, (T,).

    Windows line ends, a byte order mark and trailing blanks are accepted.

    Raises:
        InputError: no such file, an unknown header, no rows, or a row that is no class of
            the header's; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the annotation {path}: {error}") from error
    header = lines[0].rstrip() if lines else ""
    if header not in HEADERS:
        expected = ",".join(CLASSES)
        raise InputError(f"{path}, line 1: the header must be {expected}, not {header[:80]!r}")
    classes = {str(k): k for k in range(IGNORE, HEADERS[header])}
    if len(lines) == 1:
        raise InputError(f"{path} holds no rows")
    try:
        return np.array([classes[line.rstrip()] for line in lines[1:]], np.int64)
    except KeyError as error:
        row = next(k for k, line in enumerate(lines[1:], 2) if line.rstrip() not in classes)
        raise InputError(
            f"{path}, line {row}: a row must be a class from {IGNORE} to {len(classes) - 2}, "
            f"not {error.args[0]!r}"
        ) from None


def write_annotation(labels: Labels, path: Path) -> None:
    """Write labels (T,) as an annotation with the header of eight classes.

    Raises:
        OutputError: the place cannot be written.
    """
    with write_whole(path) as temporary:
        lines = [",".join(CLASSES), *map(str, labels.tolist())]
        temporary.write_bytes(("\n".join(lines) + "\n").encode())


def find_track(name: str, tracks: Iterable[tuple[str, str]], what: str) -> tuple[str, str]:
    """Return the track, one of (video, subject), that the annotation `name` is about.

    That is the only subject of `name`; or, where `name` ends in a side, that subject of the
    video, or the only one. `what` the tracks are goes into messages.

    Raises:
        InputError: there is none, or there are several.
    """
    video, side = split_side(name)
    tracks = list(tracks)
    exact = [track for track in tracks if track[0] == name]
    found = exact or [track for track in tracks if track[0] == video]
    if not found:
        raise InputError(f"{name}: no {what} of this video")
    if side and (video, side) in found:
        return video, side
    if len(found) > 1:
        subjects = ", ".join(sorted(subject for _, subject in found))
        raise InputError(
            f"{name}: {what} of {len(found)} subjects ({subjects}); "
            f"make those of one of them with --subject {side or 'main'}"
        )
    if side and not exact:
        subject = found[0][1]
        LOG.warning("%s is taken with subject %r of %s, whoever that is", name, subject, video)
    return found[0]


def align_rows(annotation: Labels, frames: int, name: str) -> NDArray[np.intp]:
    """Return the index (from 0) of the frame that each row of an annotation (T,) is about, (T,).

    Official annotations are often a row or two longer than the video: the surplus rows take
    the last frame, which is what the organisers' sample submission leads to as well. Frames
    beyond a shorter annotation are not annotated.

    Raises:
        InputError: the two differ by more than 2.
    """
    rows = len(annotation)
    if abs(rows - frames) > ROW_TOLERANCE:
        raise InputError(f"{name}: the annotation has {rows} rows and the video {frames} frames")
    if rows != frames:
        LOG.info("%s: the annotation has %d rows and the video %d frames", name, rows, frames)
    return np.minimum(np.arange(rows), frames - 1)
