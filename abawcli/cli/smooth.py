"""`abaw smooth`: smoothing over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abawcli.cli.batch import run_each
from abawcli.cli.options import (
    SmoothingChoice,
    inputs_argument,
    json_option,
    overwrite_option,
    smoothing_options,
    table_output_option,
    verbosity_options,
)
from abawcli.cli.outputs import show_name
from abawcli.cli.summaries import LineSummaries, count_rows

if TYPE_CHECKING:
    from abawcli.stages.smooth import SmoothSummary


@click.command(name="smooth")
@inputs_argument
@table_output_option
@smoothing_options("unless the table's recipe sets it")
@overwrite_option
@json_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    smoothing: SmoothingChoice,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Smooth prediction tables over time and fill frames without a face.

    One table is written to a file that ends in .csv or .parquet, any number to a folder. A row
    without a face gets the source `filled` if a row with a face is at most half a window away.
    Otherwise it keeps the prediction from audio, or stays `none`. `abaw predict --no-smooth`
    followed by `abaw smooth` gives the table of `abaw predict`, but for the last decimals if the
    first table is a csv, which is rounded. Values of valence and arousal, and probabilities of
    action units, are smoothed column by column.

    Example: abaw smooth raw.csv -o labels.csv --window 1s
    """
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_outside, name_outputs
    from abawcli.formats.provenance import read_provenance
    from abawcli.formats.tables import TABLE_SUFFIXES
    from abawcli.stages.smooth import find_smoothing, smooth_file

    check_outside(output, inputs)
    paths = expand_inputs(inputs, TABLE_SUFFIXES)
    outputs = name_outputs(paths, output, suffixes=TABLE_SUFFIXES)

    summaries = LineSummaries(_describe)

    def work(path: Path) -> None:
        base = find_smoothing(read_provenance(path))
        config = smoothing.change(base)
        done = smooth_file(path, outputs[path], config, overwrite=overwrite)
        summaries.add(str(path), outputs[path], done)

    with summaries.show_at_end(show_name(output), as_json, quiet):
        run_each(outputs, work)


def _describe(done: Sequence[SmoothSummary]) -> str:
    """Return the counts of one or more tables in words; values have no segments."""
    filled, removed, segments = (
        sum(getattr(each, name) for each in done) for name in ("filled", "removed_runs", "runs")
    )
    text = f"{count_rows(done)}, {filled:,} filled"
    return f"{text}; {removed:,} of {segments:,} segments smoothed away" if segments else text
