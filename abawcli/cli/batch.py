"""Several inputs one after the other: a failure is reported and the others go on."""

from collections.abc import Callable, Iterable
from pathlib import Path

import click

from abawcli.errors import AbawError


def run_each(inputs: Iterable[Path], work: Callable[[Path], None]) -> None:
    """Call `work` on every input; report each failure on stderr; exit 1 if there was one."""
    paths = list(inputs)
    failed = []
    for path in paths:
        try:
            work(path)
        except AbawError as error:
            if len(paths) == 1:
                raise
            failed.append(path)
            click.echo(f"abaw: error: {error}", err=True)
    if failed:
        names = ", ".join(str(p) for p in failed)
        click.echo(f"abaw: {len(failed)} of {len(paths)} inputs failed: {names}", err=True)
        click.get_current_context().exit(1)
