"""`abaw export`: labels in the formats of other programs."""

from pathlib import Path

import click

from abawcli.cli.batch import run_each
from abawcli.cli.console import say
from abawcli.cli.options import (
    RenamedOption,
    inputs_argument,
    output_option,
    overwrite_option,
    verbosity_options,
)
from abawcli.cli.segment import segment_options
from abawcli.config import EXPORT_FORMATS, Segmentation


@click.command(name="export")
@inputs_argument
@output_option("Output file; for several tables a folder.")
@click.option(
    "--format", "kind", type=click.Choice(EXPORT_FORMATS), required=True, cls=RenamedOption,
    old="--to", help="Format of the output.",
)  # fmt: skip
@segment_options
@overwrite_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    kind: str,
    min_duration: float,
    max_gap: float,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Export the labels of prediction tables to another program.

    One table is written to a file, any number to a folder with one file per video. Formats of
    segments: elan (.eaf), textgrid (Praat), vtt and srt (subtitles), audacity, boris, bids
    (_events.tsv and .json), labelstudio. Formats of frames: openface, abaw, wide (csv, one row per
    frame) and long (csv, one row per frame and class).

    Example: abaw export labels.csv --format elan -o labels.eaf
    """
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_apart
    from abawcli.formats.tables import TABLE_SUFFIXES
    from abawcli.stages.export import check_exports, export_table

    tables = expand_inputs(inputs, TABLE_SUFFIXES)
    check_apart([output], tables)
    if len(tables) > 1:
        check_exports(tables, output, kind)

    def work(path: Path) -> None:
        config = Segmentation(min_duration, max_gap)
        for file in export_table(
            path, output, kind, config, overwrite=overwrite, tables=len(tables)
        ):
            if not quiet:
                say(f"abaw: {file}")

    run_each(tables, work)
