"""`abaw segment`: segments in seconds."""

from pathlib import Path

import click

from abawcli.cli.batch import count_done, report_failures
from abawcli.cli.bundles import Command
from abawcli.cli.console import say
from abawcli.cli.options import FiniteRange, inputs_argument, overwrite_option, verbosity_options
from abawcli.cli.outputs import show_name, text_output_option
from abawcli.config import Segmentation
from abawcli.errors import UsageError

DEFAULT = Segmentation()
DURATION = FiniteRange(min=0)


def segment_options(command: Command) -> Command:
    """Add --min-duration and --max-gap, both in seconds."""
    command = click.option(
        "--max-gap", type=DURATION, default=DEFAULT.max_gap_s, show_default=True,
        metavar="SECONDS", help="Join segments of one label over a gap of at most this length.",
    )(command)  # fmt: skip
    return click.option(
        "--min-duration", type=DURATION, default=DEFAULT.min_duration_s, show_default=True,
        metavar="SECONDS", help="Remove segments shorter than this; their time is unlabelled.",
    )(command)  # fmt: skip


@click.command(name="segment")
@inputs_argument
@text_output_option("segments.csv", True, "Output file: .csv")
@segment_options
@overwrite_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    min_duration: float,
    max_gap: float,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Turn prediction tables into segments with one label, a start and an end in seconds.

    All tables are written to one csv with the columns video, subject, label, start_s, end_s,
    duration_s, mean_confidence and share_with_face. Frames without a label belong to no segment.

    Example: abaw segment labels.csv -o segments.csv
    """
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_apart, check_writable
    from abawcli.formats.tables import TABLE_SUFFIXES
    from abawcli.stages.segment import segment_files

    if output.suffix.lower() != ".csv":
        raise UsageError(f"{output} must end in .csv")
    tables = list(expand_inputs(inputs, TABLE_SUFFIXES))
    check_apart([output], tables)
    check_writable([output])
    config = Segmentation(min_duration, max_gap)
    summary = segment_files(tables, output, config, overwrite=overwrite)["summary"]
    if not quiet:
        segments, videos = (
            f"{summary[f'{what}s']} {what}{'' if summary[f'{what}s'] == 1 else 's'}"
            for what in ("segment", "video")
        )
        say(f"abaw: {show_name(output)}: {segments} of {videos}")
    report_failures(summary["failed"], count_done(tables, summary["failed"]))
