"""`abaw fuse`: ensembles of prediction tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abawcli.cli.batch import run_each
from abawcli.cli.boundary import report_error
from abawcli.cli.options import (
    inputs_argument,
    json_option,
    overwrite_option,
    table_output_option,
    verbosity_options,
)
from abawcli.cli.summaries import Summaries
from abawcli.errors import InputError, UsageError

if TYPE_CHECKING:
    from abawcli.formats.inputs import RelativePaths


def _read_weights(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers, such as 2,1") from None


def _plan(members: RelativePaths, output: Path) -> tuple[Path, dict[Path, list[Path]], list[str]]:
    """Return the output folder, the tables of each output in it, and incomplete names.

    A name is incomplete, and reported, if only some of the input folders have it.
    """
    from abawcli.formats.outputs import check_apart, check_writable, is_folder_name, name_outputs
    from abawcli.formats.tables import TABLE_SUFFIXES, check_table_name
    from abawcli.stages.fuse import match_tables

    if not any(map(os.path.isdir, members)):
        first = dict(list(members.items())[:1])
        (target,) = name_outputs(first, output, suffixes=TABLE_SUFFIXES).values()
        check_table_name(target)
        check_apart([target], members)
        return target.parent, {Path(target.name): list(members)}, []
    if other := [path for path in members if not os.path.isdir(path)]:
        raise UsageError(f"{other[0]} is not a folder, but others are; fuse tables or folders")
    if not is_folder_name(output, TABLE_SUFFIXES, len(members)):
        raise UsageError(f"folders need a folder as -o, not the file {output}")
    whole, partial = match_tables(list(members))
    check_writable(output / name for name in whole)
    for reason in partial.values():
        report_error(InputError(reason))
    return output, whole, list(partial)


@click.command(name="fuse")
@inputs_argument
@table_output_option
@click.option(
    "--weights", callback=_read_weights, metavar="W,W,...",
    help="A positive number for each input, such as 2,1.  [default: equal]",
)  # fmt: skip
@overwrite_option
@json_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    weights: list[float] | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fuse prediction tables of the same frames: the weighted mean of their probabilities.

    Two or more tables are written to the table -o. Two or more folders of tables, matched by file
    name, are written to the folder -o. Rows are matched by video, subject and frame. A table
    without a label in a row does not count in that row.

    Example: abaw fuse gated.csv dual-branch.csv -o fused.csv --weights 2,1
    """
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_outside
    from abawcli.formats.tables import TABLE_SUFFIXES
    from abawcli.stages.fuse import fuse_files, resolve_weights

    members = expand_inputs(inputs, TABLE_SUFFIXES, os.path.isdir)
    weights = resolve_weights(weights, len(members))
    check_outside(output, map(str, members))
    folder, inputs_of, partial = _plan(members, output)

    summaries = Summaries("table", {})

    def work(name: Path) -> None:
        done = fuse_files(inputs_of[name], folder / name, weights, overwrite=overwrite)
        summaries.add(str(name), folder / name, done)

    with summaries.show_at_end("", as_json, quiet=True):
        run_each(inputs_of, work, partial)
