"""`strategy.csv`: the subjects of the crops of each video; a proposal that the user edits.

    video      name of the folder of crops: that of the video, with `_left` or `_right` at the end
               for a second folder of the same video
    strategy   one of `config.STRATEGIES`; empty: by the name (`choose_by_name`)
    from, to   first and last frame of the row, counted from 1; empty: the first and the last frame
               of the video. Several rows of one video have different frames; frames without a row
               have no subject
    note       a list of the tracks, for information

Rows and columns may be in any order, and other columns are kept.
"""

import csv
import io
import os
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path

from abawcli.config import FOLLOW_LARGEST, STRATEGIES, Following, is_strategy, parse_track
from abawcli.errors import InputError, explain_os_error
from abawcli.formats.abaw import split_side
from abawcli.formats.atomic import write_whole
from abawcli.formats.json_values import JsonObject
from abawcli.formats.locks import lock_replaced
from abawcli.formats.names import compose_name, decode_name
from abawcli.formats.tables import is_table
from abawcli.formats.text_form import check_commas, check_encoding, explain_bytes

COLUMNS = ("video", "strategy", "from", "to", "note")


@dataclass(frozen=True)
class SubjectSegment:
    """A range of frames of a video with its strategy."""

    strategy: str
    first: int = 1  # frame, counted from 1
    last: int | None = None  # frame, included; None: the last of the video
    source: str = field(default="", compare=False)  # file and line, for messages

    @property
    def is_whole(self) -> bool:
        """Tell whether the segment is the whole video."""
        return self.first == 1 and self.last is None


SubjectSegments = tuple[SubjectSegment, ...]  # of one folder of crops, by frame


def describe_choice(segments: SubjectSegments) -> JsonObject:
    """Return the subject of crops as JSON, for their provenance; `CropsMetadata` reads it."""
    how: JsonObject = {"following": asdict(Following())} if find_starts([segments]) else {}
    if len(segments) == 1 and segments[0].is_whole:
        return {"subject": segments[0].strategy} | how
    rows = [(segment.strategy, segment.first, segment.last) for segment in segments]
    return {"subject": "strategy", "segments": rows} | how


def find_starts(choices: Iterable[SubjectSegments]) -> tuple[int, ...]:
    """Return the frames from which a subject is followed, ascending."""
    segments = (segment for choice in choices for segment in choice)
    return tuple(sorted({each.first for each in segments if each.strategy == FOLLOW_LARGEST}))


def choose_by_name(name: str) -> str:
    """Return the strategy of a name: `left` for x_left, `right` for x_right, or else `main`."""
    return split_side(name)[1] or "main"


def read_strategy(path: str | Path, videos: Collection[str] = ()) -> dict[str, SubjectSegments]:
    """Return the segments of each name in a file.

    Names that match one of `videos` are spelled like it; others have no blanks around them. A
    video in a folder, such as `batch1/x`, is also matched by its name alone, unless another row
    names it in full or other videos have the same name.

    Raises:
        InputError: the file cannot be read or has no column `video` or `strategy`; or a row has no
            name, an unknown strategy, an invalid frame, or frames of another row; the message names
            the line.
    """
    path = Path(path)
    segments: dict[str, list[SubjectSegment]] = {}
    for name, row in _name_rows(_read_rows(path).rows, videos):
        segments.setdefault(name, []).append(_parse_row(row, name))
    return {name: _order(name, found) for name, found in segments.items()}


def read_names(path: str | Path, videos: Collection[str] = ()) -> dict[str, SubjectSegments]:
    """Return the segments of a list of names, one a line: each with the strategy of its name.

    Names are matched with `videos` as in `read_strategy`.

    Raises:
        InputError: the file cannot be read, has no name or is a table.
    """
    path = Path(path)
    if is_table(path):
        raise InputError(f"{path} is a table; a list has a name in each line and no header")
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(explain_os_error(path, error)) from error
    except UnicodeDecodeError as error:
        check_encoding(path)
        reason = explain_bytes(path.read_bytes())
        raise InputError(f"cannot read the names {path}: {reason}") from error
    rows = [
        _Row(f"{path}, line {number}", {"video": line})
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not rows:
        raise InputError(f"{path} has no names")
    return {name: (_parse_row(row, name),) for name, row in _name_rows(rows, videos)}


@dataclass(frozen=True)
class _Row:
    source: str  # file and line
    cells: dict[str, str]


@dataclass(frozen=True)
class _Sheet:
    columns: list[str]
    rows: list[_Row]


def _read_rows(path: Path) -> _Sheet:
    """Return the rows of a csv that are not empty, with the number of their last line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [(reader.line_num, line) for line in reader]
    except OSError as error:
        raise InputError(explain_os_error(path, error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        check_commas(path)
        unread = isinstance(error, UnicodeDecodeError)
        reason = explain_bytes(path.read_bytes()) if unread else str(error)
        raise InputError(f"cannot read the strategies {path}: {reason}") from error
    columns = [name.strip() for name in lines[0][1]] if lines else []
    missing = [name for name in COLUMNS[:2] if name not in columns]
    if missing:
        check_commas(path)
        raise InputError(
            f"{path}, line 1: no column {', '.join(missing)}; the first line must be "
            f"{','.join(COLUMNS)} or part of it, with commas"
        )
    rows = []
    for line, cells in lines[1:]:
        source = f"{path}, line {line}"
        if len(cells) > len(columns):
            raise InputError(
                f"{source}: {len(cells)} cells in {len(columns)} columns; "
                'put text with a comma in "quotes"'
            )
        if any(map(str.strip, cells)):
            rows.append(_Row(source, dict(zip_longest(columns, cells, fillvalue=""))))
    return _Sheet(columns, rows)


class _Videos:
    """The videos of a run, found by what people write for them."""

    def __init__(self, videos: Iterable[str]) -> None:
        self._whole = {compose_name(decode_name(video)): video for video in videos}
        self._ends: dict[str, list[str]] = {}  # names without some or all of their folders
        for name, video in self._whole.items():
            while "/" in name:
                name = name.partition("/")[2]
                self._ends.setdefault(name, []).append(video)

    def spell(self, cell: str) -> str | None:
        """Return the name of a cell if it is that of a video, with or without a side, or None."""
        return self._spell(cell, self._whole.get)

    def spell_end(self, cell: str) -> str | None:
        """Return the full name for a cell with the end of the name of one video only, or None."""
        return self._spell(cell, self._find_only)

    def _find_only(self, end: str) -> str | None:
        found = self._ends.get(end, [])
        return found[0] if len(found) == 1 else None

    def _spell(self, cell: str, find: Callable[[str], str | None]) -> str | None:
        for text in (cell, cell.strip()):  # blanks may be part of a name, or typing errors
            name = compose_name(text)
            if video := find(name):
                return video
            stem, side = split_side(name)
            if side and (video := find(stem)):
                return f"{video}_{side}"
        return None


def _name_rows(rows: Iterable[_Row], videos: Iterable[str]) -> list[tuple[str, _Row]]:
    """Return rows with their names, spelled as those of the videos that they match."""
    known = _Videos(videos)
    spelled = [(known.spell(row.cells["video"]), row) for row in rows]
    taken = {name for name, _ in spelled}
    named = []
    for name, row in spelled:
        if name is None:
            cell = row.cells["video"]
            end = known.spell_end(cell)
            name = cell.strip() if end in taken or end is None else end
        named.append((name, row))
    return named


def _parse_row(row: _Row, name: str) -> SubjectSegment:
    if not name:
        raise InputError(f"{row.source}: no video is named")
    strategy = " ".join(row.cells.get("strategy", "").lower().split()) or choose_by_name(name)
    if not is_strategy(strategy):
        choices = ", ".join(STRATEGIES)
        raise InputError(f"{row.source}: unknown strategy {strategy!r}; choose one of {choices}")
    if (number := parse_track(strategy)) is not None:
        strategy = f"track {number}"  # without leading zeros
    first, last = (_parse_frame(row, column) for column in ("from", "to"))
    segment = SubjectSegment(strategy, first or 1, last, row.source)
    if last is not None and last < segment.first:
        raise InputError(f"{row.source}: from frame {segment.first} to {last}; swap the two")
    if strategy == "all" and not segment.is_whole:
        raise InputError(f"{row.source}: 'all' is for a whole video; leave out from and to")
    return segment


def _parse_frame(row: _Row, column: str) -> int | None:
    text = row.cells.get(column, "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > 15 or int(text) == 0:
        raise InputError(f"{row.source}: {column} must be a frame, counted from 1, not {text!r}")
    return int(text)


def _order(name: str, segments: list[SubjectSegment]) -> SubjectSegments:
    """Return the segments of a name ordered by frame; they must not overlap."""
    segments = sorted(segments, key=lambda segment: segment.first)
    for before, after in zip(segments, segments[1:], strict=False):
        if before.last is None or after.first <= before.last:
            raise InputError(
                f"{after.source}: {name} has a row for frame {after.first} already "
                f"({before.source}); change from or to"
            )
    return tuple(segments)


def find_video_of(name: str, videos: Container[str]) -> str | None:
    """Return the video of the rows of `name`: of that name, or without its side; or None."""
    return next((video for video in (name, split_side(name)[0]) if video in videos), None)


def plan_folders(
    videos: Iterable[str], rows: Mapping[str, SubjectSegments], default: str | None = None
) -> dict[str, dict[str, SubjectSegments]]:
    """Return the folders of crops of each video, with their segments.

    A video without a row has one folder, with the strategy `default` or that of its name.
    """
    plan: dict[str, dict[str, SubjectSegments]] = {video: {} for video in videos}
    for name, segments in rows.items():
        if video := find_video_of(name, plan):
            plan[video][name] = segments
    return {
        video: folders or {video: (SubjectSegment(default or choose_by_name(video)),)}
        for video, folders in plan.items()
    }


def suggest_names(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the similar ones, if any.

    Those are names in several folders, or else names that differ in few letters, whatever their
    folders and capitals.
    """
    known = list(known)
    ends = tuple(f"/{end}" for end in {name, split_side(name)[0]})
    alike = [one for one in known if one.endswith(ends)][:3]
    if not alike:
        spelled = {text.lower(): one for one in known for text in (one.rpartition("/")[2], one)}
        close = get_close_matches(name.lower(), spelled, n=3)
        alike = list(dict.fromkeys(spelled[text] for text in close))
    return f"; is it {' or '.join(alike)}?" if alike else ""


def propose(path: str | Path, used: Mapping[str, tuple[SubjectSegments, str]]) -> None:
    """Add rows to `path` for names without a row; other rows are not changed.

    Runs that end together add their rows one after the other.

    Args:
        path: the file, which may not exist yet.
        used: segments and note of each name.

    Raises:
        InputError: as `read_strategy`.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if not _find_new(path, used)[1]:
        return
    with lock_replaced(path):
        _write_rows(path, *_find_new(path, used))


def _find_new(
    path: Path, used: Mapping[str, tuple[SubjectSegments, str]]
) -> tuple[_Sheet, list[dict[str, str]]]:
    """Return what a file holds, and the rows of names that have none."""
    there = _read_rows(path) if os.path.exists(path) else _Sheet([], [])
    known = {name for name, _ in _name_rows(there.rows, used)}
    new = [row for name in used if name not in known for row in _lay_rows(name, *used[name])]
    return there, new


def _write_rows(path: Path, there: _Sheet, new: list[dict[str, str]]) -> None:
    columns = there.columns + [name for name in COLUMNS if name not in there.columns]
    lines = [*(row.cells for row in there.rows), *new]
    # Python 3.11 quotes cells with `\n`, but not those with `\r`, which ends a line as well.
    odd = any("\r" in cell for line in lines for cell in line.values())
    with write_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, columns, lineterminator="\n", quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL
        )
        writer.writeheader()
        writer.writerows(lines)


def _lay_rows(name: str, segments: SubjectSegments, note: str) -> list[dict[str, str]]:
    return [
        {
            "video": name,
            "strategy": segment.strategy,
            "from": "" if segment.first == 1 else str(segment.first),
            "to": "" if segment.last is None else str(segment.last),
            "note": note,
        }
        for segment in segments
    ]
