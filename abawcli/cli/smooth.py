"""`abaw smooth`: prediction tables over time."""

from dataclasses import asdict
from pathlib import Path

import click

from abawcli.cli.batch import run_each
from abawcli.cli.options import (
    inputs_argument,
    output_option,
    overwrite_option,
    verbosity_options,
    window_option,
)
from abawcli.config import SMOOTHING_METHODS, SMOOTHING_SPACES, Smoothing

DEFAULT = Smoothing()


@click.command(name="smooth")
@inputs_argument
@output_option
@click.option(
    "--method", type=click.Choice(SMOOTHING_METHODS), default=DEFAULT.method, show_default=True,
    help="What a frame becomes of its window.",
)  # fmt: skip
@window_option(DEFAULT.window_frames)
@click.option(
    "--space", type=click.Choice(SMOOTHING_SPACES), default=DEFAULT.space, show_default=True,
    help="What the statistic is of; logits are what softmax made the probabilities of.",
)  # fmt: skip
@overwrite_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    method: str,
    window: tuple[int, float | None],
    space: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Smooth prediction tables over time and fill frames without a prediction.

    One table to a file that ends in .csv or .parquet, or any number to a folder. Rows that
    are filled have the source `filled`; those farther than half a window from any prediction
    stay `none`.
    """
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_outside, name_outputs
    from abawcli.formats.provenance import describe_work, find_finished, read_provenance
    from abawcli.formats.tables import TABLE_SUFFIXES, read_table, write_table
    from abawcli.stages.smooth import smooth_table

    config = Smoothing(method, *window, space)
    check_outside(output, inputs)
    paths = expand_inputs(inputs, TABLE_SUFFIXES)
    outputs = name_outputs(paths, output, suffixes=TABLE_SUFFIXES)

    def work(path: Path) -> None:
        made_from = [read_provenance(path)]
        provenance = describe_work("smooth", [path], asdict(config), made_from=made_from)
        if not find_finished(outputs[path], provenance, overwrite):
            write_table(smooth_table(read_table(path), config), outputs[path], provenance)

    run_each(outputs, work)
