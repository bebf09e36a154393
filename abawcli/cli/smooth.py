"""`abaw smooth`: prediction tables over time."""

import os
import re
from dataclasses import asdict
from pathlib import Path

import click

from abawcli.cli.batch import run_each
from abawcli.cli.options import (
    inputs_argument,
    output_option,
    overwrite_option,
    verbosity_options,
)
from abawcli.config import SMOOTHING_METHODS, Smoothing
from abawcli.errors import UsageError

DEFAULT = Smoothing()


def _read_window(
    ctx: click.Context, parameter: click.Parameter, text: str
) -> tuple[int, float | None]:
    """Turn `25` into frames and `1.0s` into seconds; 15 digits are more than any video has."""
    if re.fullmatch(r"\d{1,15}", text):
        if int(text) % 2 == 0:
            raise click.BadParameter(f"{text} is even; a window has a middle frame")
        return int(text), None
    if re.fullmatch(r"(\d{1,15}(\.\d*)?|\.\d+)s", text) and float(text[:-1]) > 0:
        return DEFAULT.window_frames, float(text[:-1])
    raise click.BadParameter(f"{text!r} is neither frames (25) nor seconds (1.0s)")


def _check_outside(output: Path, inputs: tuple[str, ...]) -> None:
    """Refuse an output in an input folder: done again, its own tables would be inputs."""
    place = Path(os.path.realpath(output))
    for folder in filter(os.path.isdir, inputs):
        if place.is_relative_to(os.path.realpath(folder)):
            raise UsageError(f"{output} is in the input {folder}; choose a folder beside it")


@click.command(name="smooth")
@inputs_argument
@output_option
@click.option(
    "--method", type=click.Choice(SMOOTHING_METHODS), default=DEFAULT.method, show_default=True,
    help="What a frame becomes of its window.",
)  # fmt: skip
@click.option(
    "--window", default=str(DEFAULT.window_frames), show_default=True, callback=_read_window,
    help="Width: an odd number of frames, or seconds, such as 1.0s.",
)  # fmt: skip
@overwrite_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    method: str,
    window: tuple[int, float | None],
    overwrite: bool,
    quiet: bool,
) -> None:
    """Smooth prediction tables over time and fill frames without a prediction.

    One table to a file that ends in .csv or .parquet, or any number to a folder. Rows that
    are filled have the source `filled`; those farther than half a window from any prediction
    stay `none`.
    """
    from abawcli.formats import files
    from abawcli.formats.tables import TABLE_SUFFIXES, check_table_name, read_table, write_table
    from abawcli.stages.smooth import smooth_table

    config = Smoothing(method, *window)
    _check_outside(output, inputs)
    outputs = files.name_outputs(files.expand_inputs(inputs, TABLE_SUFFIXES), output)
    if output.suffix and not os.path.isdir(output):
        check_table_name(output)

    def work(path: Path) -> None:
        settings = {**asdict(config), "predictions": files.read_provenance(path)}
        provenance = files.describe_work("smooth", [path], settings)
        if not files.is_finished(outputs[path], provenance, overwrite):
            write_table(smooth_table(read_table(path), config), outputs[path], provenance)

    run_each(outputs, work)
