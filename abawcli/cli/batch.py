"""Runs over several inputs: an input that fails does not stop the others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import click

from abawcli.cli.boundary import CLICKS_OWN, report_error
from abawcli.cli.console import count_files, say
from abawcli.cli.signals import find_signal, note_kept
from abawcli.config import SHOWN_FAILURES
from abawcli.formats.inputs import check_input


def exit_if_failed(failed: Sequence[str], total: int) -> None:
    """Name the failed inputs on stderr and exit with 1, if there are any."""
    if failed:
        more = len(failed) - SHOWN_FAILURES
        rest = f" and {more} others" if more > 0 else ""
        names = ", ".join(failed[:SHOWN_FAILURES])
        say(f"abaw: {len(failed)} of {total} inputs failed: {names}{rest}")
        click.get_current_context().exit(1)


def run_each(
    inputs: Iterable[Path], work: Callable[[Path], None], missing: Sequence[str] = ()
) -> None:
    """Call `work` on every input; report each failure on stderr; exit with 1 if there was one.

    `missing` are names without an input; they are already reported and count as failed.
    """
    paths = list(inputs)
    failed = list(missing)
    for k, path in enumerate(paths):
        note_kept(k + len(missing) - len(failed), len(paths))
        try:
            with count_files(k + 1, len(paths)):
                check_input(path)
                work(path)
        except (*CLICKS_OWN, BrokenPipeError):
            raise
        except Exception as error:
            if find_signal() or (len(paths) == 1 and not missing):
                raise
            failed.append(str(path))
            report_error(error)
    exit_if_failed(failed, len(paths) + len(missing))


def count_done(inputs: Iterable[Path], failed: Mapping[str, str]) -> int:
    """Return how many inputs did not fail; annotations and the like may have failed beside them."""
    return sum(str(path) not in failed for path in inputs)


def report_failures(failed: Mapping[str, str], done: int) -> None:
    """Report the inputs that failed where several make one output; exit with 1 if any did."""
    for reason in failed.values():
        say(f"abaw: error: {reason}")
    exit_if_failed(list(failed), done + len(failed))
