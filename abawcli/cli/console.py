"""Terminal output: tables, log messages, progress bars. Only this module uses rich and tqdm."""

import logging
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, NoReturn

import click

from abawcli.config import SHOWN_WARNINGS
from abawcli.errors import OutputError
from abawcli.progress import Progress

LOG = logging.getLogger("abawcli")
# Characters that a terminal interprets instead of showing (control characters, changes of text
# direction, line separators), and bytes of names that are not UTF-8.
_UNSHOWN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _escape(unshown: re.Match[str]) -> str:
    code = ord(unshown[0])
    if 0xDC80 <= code <= 0xDCFF:  # Python's surrogate escape of a byte 80..ff
        return f"\\x{code - 0xDC00:02x}"
    return unshown[0].encode("unicode_escape").decode()


def show(text: str) -> str:
    """Return text in one line with invisible characters escaped; file names may contain any."""
    return _UNSHOWN.sub(_escape, text)


def say(text: str, *, multiline: bool = False) -> None:
    """Print a log message to stderr, above the progress bar if one is shown."""
    lines = text.split("\n") if multiline else [text]
    message = "\n".join(map(show, lines))
    tqdm = sys.modules.get("tqdm")
    if tqdm:
        tqdm.tqdm.write(message, file=sys.stderr)
    else:
        click.echo(message, err=True)


@contextmanager
def writing() -> Iterator[None]:
    """Name stdout in errors of writing to it; the operating system's error has no file name.

    Raises:
        OutputError: stdout is full, or cannot be written for another reason.
        BrokenPipeError: the reader has closed the pipe.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write to stdout: {error.strerror}") from error


def write_line(text: str) -> None:
    """Print a line of data to stdout.

    Raises:
        OutputError, BrokenPipeError: as `writing`.
    """
    with writing():
        click.echo(show(text))


class _StderrHandler(logging.Handler):
    """Prints the library's log messages, one line each, the first `most` of one kind."""

    def __init__(self, level: int, most: float) -> None:
        super().__init__(level)
        self._most = most
        self._counts: Counter[str] = Counter()  # by the message without its values

    def emit(self, record: logging.LogRecord) -> None:
        self._counts[record.msg] += 1
        if self._counts[record.msg] <= self._most:
            say(f"abaw: {record.levelname.lower()}: {record.getMessage()}")
        elif self._counts[record.msg] == self._most + 1:
            say("abaw: more warnings of this kind are not shown; -v shows them")


def set_verbosity(verbose: bool, quiet: bool) -> None:
    """Send the library's messages to stderr: warnings, with -v all, with -q errors only."""
    most = math.inf if verbose else SHOWN_WARNINGS
    handler = _StderrHandler(logging.ERROR if quiet else logging.NOTSET, most)
    LOG.handlers, LOG.propagate = [handler], False
    LOG.setLevel(logging.DEBUG if verbose else logging.WARNING)  # recorded in provenance


_FILES: ContextVar[str] = ContextVar("file number of total", default="")


@contextmanager
def count_files(number: int, total: int) -> Iterator[None]:
    """Prefix progress bars in the block with "file 3 of 30", if there are several files."""
    token = _FILES.set(f"file {number} of {total}, " if total > 1 else "")
    try:
        yield
    finally:
        _FILES.reset(token)


_BAR = "{l_bar}{bar}| {n_fmt}/~{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


def shows_bars(quiet: bool = False) -> bool:
    """Tell whether progress bars are shown: on a terminal, unless `quiet`."""
    return not quiet and sys.stderr.isatty()


@contextmanager
def progress_bar(
    label: str, unit: str, quiet: bool = False, expected: int | None = None
) -> Iterator[Progress]:
    """Show a progress bar with a rate on a terminal; nothing in a pipe or with `quiet`.

    `expected` is an estimate of the total, shown with `~`, until the total is known.
    """
    from tqdm import tqdm

    with tqdm(
        desc=_FILES.get() + show(label), unit=f" {unit}", total=expected, leave=False,
        disable=not shows_bars(quiet), bar_format=_BAR if expected else None,
    ) as bar:  # fmt: skip

        def update(done: int, total: int | None, what: str) -> None:
            if total is not None or (expected and done > expected):
                bar.total, bar.bar_format = total, None
            if what:
                bar.set_postfix_str(show(what), refresh=False)
            bar.update(done - bar.n)

        yield update


class RunProgress:
    """A progress bar of the inputs of a run, and below it a line for each current input."""

    def __init__(self, total: int, quiet: bool) -> None:
        """Show the bar on a terminal; nothing in a pipe or with `quiet`."""
        from tqdm import tqdm

        self.start, self.items = time.monotonic(), 0
        self.done: dict[str, int] = {}  # of each current input
        self.lines: dict[str, tqdm[NoReturn]] = {}
        self.places: dict[str, int] = {}  # of the lines, from 1
        self.off = True if quiet else None
        self.bar = tqdm(desc="inputs", total=total, disable=self.off, leave=False, unit=" inputs")

    def update(self, name: str, done: int, total: int | None, what: str) -> None:
        """Show the progress of an input, as `Progress`."""
        from tqdm import tqdm

        self.items += max(0, done - self.done.get(name, 0))
        self.done[name] = done
        if name not in self.lines:
            free = min({*range(1, len(self.lines) + 2)} - {*self.places.values()})
            self.places[name] = free
            self.lines[name] = tqdm(
                bar_format="{desc}", position=free, disable=self.off, leave=False
            )
        of = f" of {total:,}" if total else ""
        self.lines[name].set_description_str(f"  {show(name)}: {done:,}{of} {show(what)}")
        self._show_rate()

    def finish(self, name: str) -> None:
        """Count an input as done."""
        if name in self.lines:
            self.lines.pop(name).close()
            del self.places[name]
        self.done.pop(name, None)
        self.bar.update()
        self._show_rate()

    def _show_rate(self) -> None:
        rate = self.items / max(time.monotonic() - self.start, 1e-3)
        self.bar.set_postfix_str(f"{rate:,.0f} frames/s", refresh=False)

    def close(self) -> None:
        """Remove the bar and the lines."""
        for bar in (*self.lines.values(), self.bar):
            bar.close()


PIPE_WIDTH = 140  # characters; width of a table that is not printed to a terminal
Cell = str | tuple[str, ...]  # one line, or several lines


def _show_cell(cell: Cell) -> str:
    return show(cell) if isinstance(cell, str) else "\n".join(map(show, cell))


def _is_number(text: str) -> bool:
    return text == "" or text.lstrip("-")[:1].isdigit()


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    stderr: bool = False,
) -> None:
    """Print a table with columns of numbers aligned to the right.

    Data goes to stdout; a summary of finished work goes to stderr.

    Raises:
        OutputError, BrokenPipeError: as `writing`.
    """
    from rich.console import Console
    from rich.table import Table

    table, shown = Table(), [[_show_cell(cell) for cell in row] for row in rows]
    for k, name in enumerate(columns):
        numbers = all(_is_number(row[k]) for row in shown)
        justify: Literal["right", "left"] = "right" if numbers else "left"
        table.add_column(show(name), justify=justify, overflow="fold")
    for row in shown:
        table.add_row(*row)
    # Brackets and colons in names are not markup or emoji.
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    with writing(), console.capture() as captured:
        if title:  # rich would wrap the table's own title at the table's width
            console.print(show(title), soft_wrap=True)
        console.print(table)
    with writing():  # rich would end the program when the pipe is closed
        click.echo(captured.get(), nl=False, err=stderr)


def print_json(value: object) -> None:
    """Print plain JSON to stdout.

    Raises:
        OutputError, BrokenPipeError: as `writing`.
    """
    import json

    with writing():
        click.echo(json.dumps(value, indent=2))
