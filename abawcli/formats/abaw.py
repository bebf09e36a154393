"""Annotation files of the ABAW EXPR challenge: a header, then one class number per frame.

Line k after the header is frame k; -1 is a frame without annotation. Older editions have seven
classes, in the same order and without `Other`. A file has the name of its video, with `_left` or
`_right` at the end if it annotates one of two people.
"""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.errors import InputError
from abawcli.formats.atomic import write_whole
from abawcli.formats.lines import note_quirks, read_body, strip_ends
from abawcli.formats.names import find_names
from abawcli.labels import CLASSES, IGNORE

LOG = logging.getLogger(__name__)
Labels = NDArray[np.int64]

HEADERS = {",".join(CLASSES): len(CLASSES), ",".join(CLASSES[:-1]): len(CLASSES) - 1}
ROW_TOLERANCE = 2  # the official files are up to this many rows off the decoded frames
SIDES = "left", "right"
_SIDE = re.compile(rf"_({'|'.join(SIDES)})$")


def split_side(name: str) -> tuple[str, str | None]:
    """Split an annotation's name into the video's name and `left`, `right` or None."""
    side = _SIDE.search(name)
    return (name[: side.start()], side[1]) if side else (name, None)


def read_annotation(path: str | Path) -> Labels:
    """Read an annotation: one class or -1 per frame, (T,).

    Deviations that `lines` tolerates give a warning.

    Raises:
        InputError: the file is missing, its header is unknown, it has no rows, or a row is no
            class of the header; the message names the line.
    """
    path = Path(path)
    header, body, quirks = read_body(path, "annotation", list(HEADERS))
    classes = {str(k): k for k in range(IGNORE, HEADERS[header])}
    classes |= {name.lower(): k for k, name in enumerate(CLASSES[: HEADERS[header]])}
    lines = body.split("\n")
    rows, trailing = strip_ends(lines, 2)
    try:
        labels = np.array([classes[row.lower()] for row in rows], np.int64)
    except KeyError:
        k = next(k for k, row in enumerate(rows) if row.lower() not in classes)
        raise InputError(
            f"{path}, line {k + 2}: a row must be a class from {IGNORE} to {HEADERS[header] - 1}, "
            f"not {lines[k][:80]!r}"
        ) from None
    note_quirks(path, quirks + trailing)
    return labels


def write_annotation(labels: Labels, path: str | Path) -> None:
    """Write labels (T,) as an annotation with the header of eight classes.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    with write_whole(path) as temporary:
        temporary.write_bytes(format_annotation(labels).encode())


def format_annotation(labels: Labels, frame: Labels | None = None) -> str:
    """Return the text of an annotation of labels (T,) with the header of eight classes.

    `frame` (T,) are their frame numbers from 1, and frames between them get -1; None: 1 to T.
    """
    if frame is not None:
        lines = np.full(int(frame.max(initial=0)), IGNORE, np.int64)
        lines[frame - 1] = labels
        labels = lines
    return "\n".join([",".join(CLASSES), *map(str, labels.tolist())]) + "\n"


def explain_missing(name: str, what: str) -> str:
    """Return the message for an annotation that matches no track; `what` names the tracks."""
    return f"{name}: no {what} of this video"


def find_track(name: str, tracks: Iterable[tuple[str, str]], what: str) -> tuple[str, str]:
    """Return the track that the annotation `name` belongs to.

    It is the only subject of `name`; or, if `name` ends in a side, that subject of the video, or
    its only one if that is not the other side. Names are compared by `names.find_names`.

    Args:
        name: name of the annotation.
        tracks: (video, subject) of all tracks.
        what: what the tracks are, for messages.

    Raises:
        InputError: there is none, or there are several.
    """
    video, side = split_side(name)
    tracks = list(tracks)
    videos = dict.fromkeys(track[0] for track in tracks)
    exact = find_names(name, videos)
    called = exact or find_names(video, videos)
    if not called:
        raise InputError(explain_missing(name, what))
    if len(called) > 1:
        several = ", ".join(sorted(called))
        raise InputError(f"{name}: the name matches {what} of several videos: {several}")
    found = [track for track in tracks if track[0] == called[0]]
    if side and (called[0], side) in found:
        return called[0], side
    if len(found) > 1 and "" in {subject for _, subject in found}:
        raise InputError(f"{name}: {what} in a table and in a text file; give one of them")
    if len(found) > 1:
        subjects = ", ".join(sorted(subject for _, subject in found))
        raise InputError(
            f"{name}: {what} of {len(found)} subjects ({subjects}); "
            f"create them for one subject with --subject {side or 'main'}"
        )
    if side and not exact and found[0][1] in SIDES:
        raise InputError(
            f"{name}: {what} of {called[0]} are of its subject {found[0][1]} only; create "
            f"them with --subject {side}"
        )
    return found[0]


def match_tracks(
    names: Iterable[str], tracks: Iterable[tuple[str, str]], what: str
) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Return the track of each annotation, by `find_track`, and the reasons why others have none.

    If several annotations match one track, only the one that names it best has it; none has it if
    they name it equally well, as `x_left` and `x_right` do the only subject `main` of `x`, or
    `a/P01` and `b/P01` the video `P01`.
    """
    tracks, found, failed = list(tracks), dict[str, tuple[str, str]](), dict[str, str]()
    takers: dict[tuple[str, str], list[str]] = {}  # names that match each track
    for name in names:
        try:
            found[name] = find_track(name, tracks, what)
        except InputError as error:
            failed[name] = str(error)
        else:
            takers.setdefault(found[name], []).append(name)
    for track, several in takers.items():
        for name in several if len(several) > 1 else ():
            if [name] != _choose_nearest(several, track):
                more = ", ".join(sorted(several))
                failed[name] = f"{name}: {what} of {track[0]} match several: {more}"
                del found[name]
    for name, (video, subject) in found.items():
        if split_side(name)[1] not in (None, subject) and not find_names(name, [video]):
            LOG.warning("%s is matched with subject %r of %s, the only one", name, subject, video)
    return found, failed


def _choose_nearest(names: Iterable[str], track: tuple[str, str]) -> list[str]:
    """Return which of the names name a track best: by video and side, by video, or in part."""
    unlike = {
        name: (split_side(name) != track, name != track[0], not find_names(name, [track[0]]))
        for name in names
    }
    return [name for name in unlike if unlike[name] == min(unlike.values())]


def align_rows(annotation: NDArray[Any], frames: int, name: str) -> NDArray[np.intp]:
    """Return the frame index, from 0, of each row of an annotation (R,), (R,).

    Official annotations are often one or two rows longer than the video. These rows get the last
    frame, as in the organisers' sample submission. If an annotation is shorter, the last frames are
    not annotated.

    Args:
        annotation: (R, ...) labels, or values of another task.
        frames: number of frames of the video.
        name: name of the annotation, for messages.

    Raises:
        InputError: the lengths differ by more than 2.
    """
    rows = len(annotation)
    if abs(rows - frames) > ROW_TOLERANCE:
        hint = "; official crops without their video end at the last crop: give --audio-from"
        raise InputError(
            f"{name}: the annotation has {rows} rows and the video {frames} frames"
            f"{hint if rows > frames else ''}"
        )
    if rows != frames:
        LOG.info("%s: the annotation has %d rows and the video %d frames", name, rows, frames)
    return np.minimum(np.arange(rows), frames - 1)
