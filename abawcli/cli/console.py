"""What a person sees: tables, messages, progress. The only user of rich and tqdm."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

LOG = logging.getLogger("abawcli")


class Update(Protocol):
    """Called by a stage as it goes on."""

    def __call__(self, done: int, total: int | None, what: str) -> None:
        """Say that `done` of `total` (None: unknown) are finished, and what is being done."""


class _StderrHandler(logging.Handler):
    """Messages of the library, a line each, above a progress bar that may be there."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(f"abaw: {record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)


def set_verbosity(verbose: bool, quiet: bool) -> None:
    """Send the library's messages to stderr: warnings, with -v all, with -q errors only."""
    LOG.handlers = [_StderrHandler()]
    LOG.propagate = False
    LOG.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING)


@contextmanager
def progress_bar(label: str, unit: str, quiet: bool = False) -> Iterator[Update]:
    """Show a bar with a rate on a terminal; nothing in a pipe or with `quiet`."""
    from tqdm import tqdm

    with tqdm(desc=label, unit=unit, disable=True if quiet else None, leave=False) as bar:

        def update(done: int, total: int | None, what: str) -> None:
            bar.total = total
            if what:
                bar.set_postfix_str(what, refresh=False)
            bar.update(done - bar.n)

        yield update


PIPE_WIDTH = 140  # characters of a table that goes to no terminal


def _is_number(text: str) -> bool:
    return text == "" or text.lstrip("-")[:1].isdigit()


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    stderr: bool = False,
) -> None:
    """Print a table; columns of numbers stand to the right.

    Data goes to stdout; a summary of work done goes to stderr.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for k, name in enumerate(columns):
        numbers = all(_is_number(row[k]) for row in rows)
        justify: Literal["right", "left"] = "right" if numbers else "left"
        table.add_column(name, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    if title:  # not the table's own, which wraps at the table's width
        console.print(title, highlight=False, markup=False, soft_wrap=True)
    console.print(table)


def print_json(value: object) -> None:
    """Print plain JSON to stdout."""
    import json

    print(json.dumps(value, indent=2))
