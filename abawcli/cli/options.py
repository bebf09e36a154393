"""Options that several commands share, once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from abawcli.cli.console import set_verbosity
from abawcli.config import SUBJECTS

Command = Callable[..., Any]


def _verbosity(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    chosen: dict[str, bool] = ctx.meta.setdefault("abaw.verbosity", {})
    chosen[str(parameter.name)] = value
    set_verbosity(chosen.get("verbose", False), chosen.get("quiet", False))
    return value


def verbosity_options(command: Command) -> Command:
    """Add -v and -q; the command receives `quiet`."""
    command = click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=_verbosity,
        help="Say more, and show tracebacks.",
    )(command)  # fmt: skip
    return click.option(
        "-q", "--quiet", is_flag=True, callback=_verbosity, help="Errors only, no progress bar."
    )(command)


inputs_argument = click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Where to write."
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace outputs that are there; without it they are kept."
)
subject_option = click.option(
    "--subject", type=click.Choice(SUBJECTS), default="main", show_default=True,
    help="Whose face: the person on screen longest and largest; in each frame the largest or "
    "the outermost; or everybody's.",
)  # fmt: skip
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cuda|mps|cpu",
    help="Where networks run.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout.")
