"""Summaries of outputs: a table or a line on stderr, or JSON on stdout."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abawcli.cli.console import print_json, print_table, say
from abawcli.config import SHOWN_OUTPUTS

if TYPE_CHECKING:
    from abawcli.formats.summary import Summary

Columns = Mapping[str, Callable[[Any], object]]  # heading -> value of a summary


class Summaries:
    """Summaries of a command's outputs, in the order of processing."""

    def __init__(self, what: str, columns: Columns) -> None:
        """Prepare a table whose first column has the heading `what`."""
        self.what, self.columns = what, columns
        self.added: list[tuple[int, tuple[str, Path, Summary]]] = []

    def add(self, name: str, output: Path, summary: "Summary", position: int = 0) -> None:
        """Add the summary of one output; they are shown by position, such as that of the input."""
        self.added.append((position, (name, output, summary)))

    @property
    def rows(self) -> "list[tuple[str, Path, Summary]]":
        """All names, outputs and summaries, in order."""
        return [row for _, row in sorted(self.added, key=lambda each: each[0])]

    @contextmanager
    def show_at_end(self, title: str, as_json: bool, quiet: bool) -> Iterator[None]:
        """Show all summaries when the block ends, also if it ends with an error."""
        try:
            yield
        finally:
            if as_json:
                print_json([_describe(*row) for row in self.rows])
            elif self.rows and not quiet:
                self._print(title)

    def _print(self, title: str) -> None:
        cells = [
            [name, *(str(value(summary)) for value in self.columns.values())]
            for name, _, summary in self.rows
        ]
        if len(cells) <= SHOWN_OUTPUTS:
            headings = [self.what, *self.columns]
            # A column that no output has a value for is of another task.
            shown = [k for k in range(len(headings)) if k == 0 or any(row[k] for row in cells)]
            print_table(
                title, [headings[k] for k in shown], [[row[k] for k in shown] for row in cells],
                stderr=True,
            )  # fmt: skip
        self._report_kept()

    def _report_kept(self) -> None:
        kept = [output for _, output, summary in self.rows if not summary.made]
        which = str(kept[0]) if len(kept) == 1 else f"{len(kept)} of {len(self.rows)} outputs"
        if kept:
            verb = "is" if len(kept) == 1 else "are"
            say(f"abaw: {which} {verb} already made with these settings; skipped")


Describe = Callable[[Sequence[Any]], str]  # the summaries of one or more outputs


class LineSummaries(Summaries):
    """Summaries that are shown in one line, for tables that are made in no time."""

    def __init__(self, describe: Describe) -> None:
        """Prepare a line that `describe` makes of all summaries."""
        super().__init__("", {})
        self.describe = describe

    def _print(self, title: str) -> None:
        done = [summary for _, _, summary in self.rows]
        tables = f"{len(done)} tables, " if len(done) > 1 else ""
        say(f"abaw: {title}: {tables}{self.describe(done)}")
        self._report_kept()


def count_rows(done: Sequence[Any]) -> str:
    """Return the number of rows, and of those with a label, of one or more tables in words."""
    rows, labelled = (sum(getattr(each, name) for each in done) for name in ("rows", "labelled"))
    return f"{rows:,} rows, {labelled:,} labelled"


def _describe(name: str, output: Path, summary: "Summary") -> dict[str, object]:
    return {"input": name, "output": str(output)} | asdict(summary)
