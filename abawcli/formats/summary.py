"""What a run says of its work: numbers and warnings, kept in its provenance and said again."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import TypeVar

from abawcli.errors import OutputError
from abawcli.formats.provenance import Provenance

S = TypeVar("S", bound="Summary")
LOG = logging.getLogger("abawcli")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What came of some work; each stage adds its numbers, of types that JSON has."""

    made: bool = True  # False: it was finished before
    warnings: tuple[str, ...] = ()  # that were given while it was made


class _Keeper(logging.Handler):
    """Adds warnings to provenance, each once, with inputs by the names that they have there."""

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
    """Note the warnings that are given in the block in the provenance of its work."""
    keepers = [_Keeper(work) for work in works]
    for keeper in keepers:
        LOG.addHandler(keeper)
    try:
        yield
    finally:
        for keeper in keepers:
            LOG.removeHandler(keeper)


def note_summary(work: Provenance, summary: Summary) -> None:
    """Note a summary in the provenance of its work; what it has in common with others is there."""
    common = {field.name for field in fields(Summary)}
    work["summary"] = {k: v for k, v in asdict(summary).items() if k not in common}


def read_summary(work: Provenance, kind: type[S], made: bool) -> S:
    """Return the summary in the provenance of work, that was made just now or was finished.

    Raises:
        OutputError: there is none.
    """
    try:
        return kind(**work["summary"], made=made, warnings=tuple(work["warnings"]))
    except (KeyError, TypeError) as error:
        raise OutputError(
            f"the provenance of the {work['command']} that is done has no summary; "
            "do it again with --overwrite"
        ) from error
