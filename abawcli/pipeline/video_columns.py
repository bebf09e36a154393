"""The values of a whole video in named columns, and the rows that a strategy selects.

The subject who is on screen longest is known only at the end of a video. Until then the values of
all subjects are in memory: about 100 bytes per face, plus the columns of a stage.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from abawcli.config import FOLLOW_LARGEST, QUALITY
from abawcli.errors import InputError
from abawcli.faces.subjects import explain_no_track, lay_rows
from abawcli.faces.track import TrackedFace
from abawcli.formats.strategy import SubjectSegments
from abawcli.progress import Progress, ignore_progress

RowArray = NDArray[np.void]  # a structured array: a row an entry, columns by name
Ints = NDArray[np.int64]
Column = tuple[str, str] | tuple[str, str, tuple[int, ...]]  # name, type, and shape of an entry
FRAME: tuple[Column, ...] = (("frame", "i8"), ("time_s", "f8"))
FACE: tuple[Column, ...] = (
    ("frame", "i8"),
    ("subject", "i8"),
    ("detected", "?"),
    ("score", "f8"),
    ("box", "f8", (4,)),
    ("quality", "f8", (len(QUALITY),)),
)


class FrameRecord(Protocol):
    """A record that is appended: `FrameFaces`, `FrameFeatures` or `FramePrediction`."""

    @property
    def frame(self) -> int:
        """Number of the frame, from 1."""

    @property
    def faces(self) -> Sequence[TrackedFace]:
        """The faces in the frame."""


RecordT = TypeVar("RecordT", bound=FrameRecord)


class GrowingTable:
    """A table in memory to which rows are appended."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.dtype = np.dtype(list(columns))
        self._data = bytearray()

    @classmethod
    def of(cls, rows: RowArray) -> Self:
        """Return a table that begins with these rows (R,)."""
        table = cls(())
        table.dtype, table._data = rows.dtype, bytearray(rows.tobytes())
        return table

    def append(self, *values: Any) -> None:
        """Append a row: a value for each column."""
        self._data += np.array(values, self.dtype).tobytes()

    @property
    def rows(self) -> RowArray:
        """Return all rows (R,), without a copy; none can be appended while they are in use."""
        return np.frombuffer(self._data, self.dtype)


class VideoColumns(Generic[RecordT]):
    """A row for each frame and a row for each face of a video."""

    def __init__(
        self,
        frame_columns: Sequence[Column] = (),
        face_columns: Sequence[Column] = (),
        starts: Sequence[int] = (),
    ) -> None:
        """Begin with the columns FRAME and FACE and more, each named like an attribute of records.

        `starts` are the frames from which a person is followed, as in `faces.follow`.
        """
        self.starts = tuple(starts)
        followed: Column = ("followed", "?", (len(starts),))
        self._frames = GrowingTable((*FRAME, *frame_columns))
        self._faces = GrowingTable((*FACE, *face_columns, *([followed] if starts else ())))

    @classmethod
    def of(cls, frames: RowArray, faces: RowArray) -> Self:
        """Return the columns of these tables: a row per frame (F,), and a row per face (N,)."""
        columns = cls()
        columns._frames, columns._faces = GrowingTable.of(frames), GrowingTable.of(faces)
        return columns

    def append(self, record: RecordT) -> None:
        """Keep the numbers of the next frame."""
        self._frames.append(*(getattr(record, name) for name in self._frames.dtype.names or ()))
        _, *names = self._faces.dtype.names or ()
        for face in record.faces:
            self._faces.append(record.frame, *(getattr(face, name) for name in names))

    def collect(
        self, records: Iterable[RecordT], progress: Progress = ignore_progress, what: str = ""
    ) -> Self:
        """Append all records; `progress` is called with each frame's number."""
        for record in records:
            self.append(record)
            progress(record.frame, None, what)
        return self

    @property
    def frames(self) -> RowArray:
        """Return the rows of frames (F,)."""
        return self._frames.rows

    @property
    def faces(self) -> RowArray:
        """Return the rows of faces (N,), by frame."""
        return self._faces.rows

    def select(self, segments: SubjectSegments, path: str | Path) -> "Selection":
        """Return the rows of the selected subjects: one for each of them in every frame.

        Each segment has its strategy: `main` is the main subject within the segment, and
        `follow-largest` begins with its first face. Frames outside of all segments have no face.

        Raises:
            InputError: the video at `path` lacks the requested track or frames.
            UsageError: the strategy is unknown, or nobody was followed from that frame on.
        """
        frames, faces = self.frames, self.faces
        _check_segments(segments, faces["subject"], int(frames["frame"][-1]), Path(path))
        laid = _lay_segments(frames["frame"], faces, segments, self.starts)
        return Selection(frames, faces, *laid)


@dataclass(frozen=True)
class Selection:
    """The rows (R,) that a strategy selects, frame by frame."""

    frames: RowArray  # (F,) of the video
    faces: RowArray  # (N,)
    frame: Ints  # (R,)
    subject: Ints  # (R,) the track; NOBODY where there is none in particular
    index: Ints  # (R,) of the row's face, -1 where there is none

    @property
    def found(self) -> NDArray[np.bool_]:
        """Tell which rows have a face, (R,)."""
        return self.index >= 0

    def of_frames(self, name: str) -> NDArray[Any]:
        """Return a column of the frames for each row, (R, ...)."""
        column: NDArray[Any] = self.frames[name]
        return column[np.searchsorted(self.frames["frame"], self.frame)]

    def of_faces(self, name: str, missing: float = np.nan) -> NDArray[Any]:
        """Return a column of the faces for each row, (R, ...), `missing` without a face."""
        column = self.faces[name]
        values = np.full((len(self.index), *column.shape[1:]), missing, column.dtype)
        values[self.found] = column[self.index[self.found]]
        return values

    def describe_faces(self) -> dict[str, NDArray[np.float32]]:
        """Return `box` (R, 4), `face_score` (R,) and `quality` (R, 4), NaN without a face."""
        names = {"box": "box", "face_score": "score", "quality": "quality"}
        return {key: self.of_faces(name).astype(np.float32) for key, name in names.items()}

    def split_subjects(self) -> Iterator[tuple[int, "Selection"]]:
        """Yield each subject with its rows, ordered by number."""
        for subject in np.unique(self.subject).tolist():
            own = self.subject == subject
            rows = replace(
                self, frame=self.frame[own], subject=self.subject[own], index=self.index[own]
            )
            yield subject, rows


def _lay_segments(
    frames: Ints, faces: RowArray, segments: SubjectSegments, starts: Sequence[int]
) -> tuple[Ints, Ints, Ints]:
    """Return frame, subject and face of the rows, in each segment as `faces.subjects.lay_rows`."""
    laid = []
    for strategy, first, last in _fill_gaps(segments, int(frames[-1])):
        there = np.flatnonzero((faces["frame"] >= first) & (faces["frame"] <= last))
        own = faces[there]
        follows = strategy == FOLLOW_LARGEST and first in starts
        rows = lay_rows(
            frames[(frames >= first) & (frames <= last)],
            own["frame"], own["subject"], own["box"], strategy=strategy,
            followed=own["followed"][:, starts.index(first)] if follows else None,
        )  # fmt: skip
        rows[2][rows[2] >= 0] = there[rows[2][rows[2] >= 0]]
        laid.append(rows)
    frame, subject, index = (np.concatenate(column) for column in zip(*laid, strict=True))
    return frame, subject, index


def _fill_gaps(segments: SubjectSegments, frames: int) -> Iterator[tuple[str, int, int]]:
    """Yield strategy, first and last frame of each segment and of the gaps, for all frames."""
    after = 1
    for segment in segments:
        if segment.first > after:
            yield "skip", after, segment.first - 1
        last = min(segment.last or frames, frames)
        yield segment.strategy, segment.first, last
        after = last + 1
    if after <= frames:
        yield "skip", after, frames


def _check_segments(segments: SubjectSegments, subject: Ints, frames: int, path: Path) -> None:
    """Check that a video has the tracks and frames that are asked for."""
    for segment in segments:
        where = f"{segment.source}: {path}" if segment.source else str(path)
        if problem := explain_no_track(segment.strategy, subject):
            raise InputError(f"{where} {problem}")
        if segment.first > frames:
            raise InputError(f"{where} has no frame {segment.first}; the last is {frames}")
