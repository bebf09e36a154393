"""The summary of a run, with its warnings, which is stored in its provenance and shown again."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

from abawcli.errors import OutputError
from abawcli.formats.provenance import Provenance

S = TypeVar("S", bound="Summary")
LOG = logging.getLogger("abawcli")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The result of some work; stages add fields of types that JSON has."""

    made: bool = True  # False: it was finished before
    warnings: tuple[str, ...] = ()  # of the run


@dataclass(frozen=True)
class VideoSummary(Summary):
    """The result of work on a video."""

    frames: int

    def count_faces(self) -> int:
        """Return the number of faces, or of frames with a face that was asked for."""
        raise NotImplementedError

    def share_labelled(self) -> float | None:
        """Return the share of labelled rows; None if there are no labels."""
        return None


@dataclass(frozen=True)
class Result:
    """One output of the work on a video."""

    name: str  # in the summary of a run
    output: Path
    summary: VideoSummary


class _Collector(logging.Handler):
    """Adds each warning once to a list."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.found = found

    def emit(self, record: logging.LogRecord) -> None:
        if (text := record.getMessage()) not in self.found:
            self.found.append(text)


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Yield a list of the warnings that are logged in the block."""
    found: list[str] = []
    collector = _Collector(found)
    LOG.addHandler(collector)
    try:
        yield found
    finally:
        LOG.removeHandler(collector)


class _Keeper(logging.Handler):
    """Adds each warning once to provenance, with the names of inputs that are used there."""

    def __init__(self, work: Provenance) -> None:
        super().__init__(logging.WARNING)
        self.work = work
        names = [each["name"] for each in work["inputs"] + work["companions"]]
        self.names = {os.path.abspath(name): name for name in names}

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        for full, name in self.names.items():
            text = text.replace(full, name)
        if text not in self.work["warnings"]:
            self.work["warnings"].append(text)


@contextmanager
def keep_warnings(*works: Provenance) -> Iterator[None]:
    """Add the warnings that are logged in the block to the provenance of its work."""
    keepers = [_Keeper(work) for work in works]
    for keeper in keepers:
        LOG.addHandler(keeper)
    try:
        yield
    finally:
        for keeper in keepers:
            LOG.removeHandler(keeper)


def note_summary(work: Provenance, summary: Summary) -> None:
    """Add a summary to the provenance of its work, without the fields of all summaries."""
    common = {field.name for field in fields(Summary)}
    work["summary"] = {k: v for k, v in asdict(summary).items() if k not in common}


def read_summary(work: Provenance, kind: type[S], made: bool) -> S:
    """Return the summary in the provenance of work; `made`: just now, not in an earlier run.

    Raises:
        OutputError: the provenance has no valid summary.
    """
    try:
        return kind(**work["summary"], made=made, warnings=tuple(work["warnings"]))
    except (KeyError, TypeError) as error:
        raise OutputError(
            f"the provenance of the finished {work['command']} has no valid summary; "
            "repeat it with --overwrite"
        ) from error
