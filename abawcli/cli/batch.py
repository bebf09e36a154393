"""Several inputs one after the other: a failure is reported and the others go on."""

import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click

from abawcli.cli.options import is_verbose
from abawcli.errors import AbawError
from abawcli.formats.inputs import check_input


def report_error(error: AbawError) -> None:
    """Say on stderr what went wrong, in one line; with -v after the traceback."""
    if is_verbose():
        traceback.print_exception(error)
    click.echo(f"abaw: error: {error}", err=True)


def exit_if_failed(failed: Sequence[str], total: int) -> None:
    """Name what failed on stderr and exit with 1, if anything did."""
    if failed:
        click.echo(f"abaw: {len(failed)} of {total} inputs failed: {', '.join(failed)}", err=True)
        click.get_current_context().exit(1)


def run_each(
    inputs: Iterable[Path], work: Callable[[Path], None], missing: Sequence[str] = ()
) -> None:
    """Call `work` on every input; report each failure on stderr; exit 1 if there was one.

    `missing` is what is no input at all, and was reported already: it has failed.
    """
    paths = list(inputs)
    failed = list(missing)
    for path in paths:
        try:
            check_input(path)
            work(path)
        except AbawError as error:
            if len(paths) == 1 and not missing:
                raise
            failed.append(str(path))
            report_error(error)
    exit_if_failed(failed, len(paths) + len(missing))
