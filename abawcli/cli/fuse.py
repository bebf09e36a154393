"""`abaw fuse`: ensembles of prediction tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abawcli.cli.batch import run_each
from abawcli.cli.boundary import report_error
from abawcli.cli.console import print_table, say
from abawcli.cli.options import (
    FiniteRange,
    inputs_argument,
    json_option,
    labels_option,
    overwrite_option,
    table_output_option,
    verbosity_options,
)
from abawcli.cli.outputs import show_name
from abawcli.cli.summaries import LineSummaries, count_rows
from abawcli.errors import InputError, UsageError

if TYPE_CHECKING:
    from abawcli.datasets.fused_tracks import ChosenWeights
    from abawcli.formats.inputs import RelativePaths


AUTO = "auto"


def _read_weights(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> list[float] | str | None:
    try:
        return text if text in (None, AUTO) else [float(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a list of numbers, such as 2,1, or auto"
        ) from None


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
    "--weights", callback=_read_weights, metavar="W,W,...|auto",
    help="A positive number for each input, such as 2,1. auto: those with the best macro-F1 on the "
    "videos with annotations in --labels; equal ones if there is no cross-validated gain.  "
    "[default: equal]",
)  # fmt: skip
@labels_option()
@click.option(
    "--confident", type=FiniteRange(0, 1, max_open=True), metavar="P",
    help="Keep the first input's prediction in rows where its confidence exceeds P, and take the "
    "mean of the others elsewhere: a classifier of still faces first, then heads that were trained "
    "on videos (HSEmotion, arXiv 2603.12693). Excludes --weights.",
)  # fmt: skip
@overwrite_option
@json_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    weights: list[float] | str | None,
    labels: str | None,
    confident: float | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fuse prediction tables of the same frames: the weighted mean of their probabilities.

    Two or more tables are written to the table -o. Two or more folders of tables, matched by file
    name, are written to the folder -o. Rows are matched by video, subject and frame. A table
    without a label in a row does not count in that row.

    With --weights auto, the printed gain over equal weights is cross-validated: the videos of each
    fold are scored with the weights of the others. The figures are also in the provenance.

    Example: abaw fuse gated.csv dual-branch.csv -o fused.csv --weights 2,1
    """
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_outside
    from abawcli.formats.tables import TABLE_SUFFIXES
    from abawcli.stages.fuse import fuse_files, resolve_weights

    members = expand_inputs(inputs, TABLE_SUFFIXES, os.path.isdir)
    if (weights == AUTO) != bool(labels):
        raise click.UsageError("--weights auto and --labels need each other")
    if confident is not None and weights is not None:
        raise click.UsageError("--confident and --weights exclude each other")
    given = None if isinstance(weights, str) else weights
    resolve_weights(given, len(members))
    used: Sequence[float] | ChosenWeights | None = given
    check_outside(output, map(str, members))
    folder, inputs_of, partial = _plan(members, output)
    if labels:
        used = _find_weights(list(members), list(inputs_of.values()), labels, quiet)

    summaries = LineSummaries(count_rows)

    def work(name: Path) -> None:
        done = fuse_files(
            inputs_of[name], folder / name, used, confident=confident, overwrite=overwrite
        )
        summaries.add(str(name), folder / name, done)

    with summaries.show_at_end(show_name(output), as_json, quiet):
        run_each(inputs_of, work, partial)


def _find_weights(
    members: list[Path], tables: list[list[Path]], labels: str, quiet: bool
) -> ChosenWeights:
    """Find weights on the annotated ones of the tables, which are those of each output."""
    from abawcli.datasets.fused_tracks import choose_weights, read_fused_tracks
    from abawcli.datasets.pairing import ANNOTATION_SUFFIXES
    from abawcli.formats.inputs import expand_inputs

    annotations = expand_inputs([labels], ANNOTATION_SUFFIXES)
    found = choose_weights(read_fused_tracks(list(zip(*tables, strict=True)), annotations))
    if not quiet:
        _print_weights(found, members)
    return found


def _print_weights(found: ChosenWeights, members: list[Path]) -> None:
    """Print macro-F1 of each table, of equal weights, and of those that were found."""
    scores = {str(path): score for path, score in zip(members, found.singles, strict=True)}
    scores |= {
        "equal weights": found.equal,
        "weights found, cross-validated": found.cross_validated,
        "weights found, on these videos": found.best,
    }
    best = max(found.singles)
    rows = [
        [name, f"{score:.4f}", f"{score - found.equal:+.4f}", f"{score - best:+.4f}"]
        for name, score in scores.items()
    ]
    title = f"{found.videos} annotated videos, {found.frames:,} frames, {found.folds} folds"
    columns = ["", "macro-F1", "to equal weights", "to the best table"]
    print_table(title, columns, rows, stderr=True)
    tuned, used = (",".join(f"{w:g}" for w in ws) for ws in (found.tuned, found.weights))
    if found.gain > 0:
        say(f"weights: {used}")
    else:
        say(f"weights: {used}; those found, {tuned}, have no cross-validated gain")
