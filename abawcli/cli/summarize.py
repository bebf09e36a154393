"""`abaw summarize`: the table that goes into a paper."""

from pathlib import Path

import click

from abawcli.cli.batch import report_failures
from abawcli.cli.console import say
from abawcli.cli.options import (
    inputs_argument,
    output_option,
    overwrite_option,
    verbosity_options,
)
from abawcli.errors import UsageError


@click.command(name="summarize")
@inputs_argument
@output_option
@click.option(
    "--by", metavar="FILE.csv:COLUMN,...",
    help="Compare groups: columns of a participants file, whose first column names the videos.",
)  # fmt: skip
@click.option(
    "--all-frames", is_flag=True,
    help="Shares of all labelled frames, also of those labelled from audio or neighbours.",
)  # fmt: skip
@click.option("--transitions", is_flag=True, help="Also count which label follows which.")
@click.option("--long", is_flag=True, help="A row a measure, for R, instead of a row a subject.")
@overwrite_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    by: str | None,
    all_frames: bool,
    transitions: bool,
    long: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Summarize prediction tables: a row for each subject of each video.

    It has the duration, the share of time with a face, and for each class the share of the labelled
    time, the number of segments, their mean and longest duration, and the mean probability. Shares
    are of frames with a face. Beside summary.csv stands summary.json, which explains the columns;
    with --by also summary.groups.csv, with n, mean and standard deviation of each group; with
    --transitions also summary.transitions.csv.

    Example: abaw summarize out/ -o summary.csv --by participants.csv:condition
    """
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_apart, check_writable
    from abawcli.formats.participants import Groups
    from abawcli.formats.tables import TABLE_SUFFIXES
    from abawcli.stages.summarize import name_companions, summarize_files
    from abawcli.summary import SummarySettings

    if output.suffix.lower() != ".csv":
        raise UsageError(f"{output} must end in .csv")
    tables = list(expand_inputs(inputs, TABLE_SUFFIXES))
    groups = None
    if by is not None:
        file, colon, columns = by.rpartition(":")
        if not colon or not all(columns.split(",")):
            raise UsageError(f"--by {by} must be FILE.csv:COLUMN, or FILE.csv:COLUMN,COLUMN")
        groups = Groups(Path(file), tuple(columns.split(",")))
    outputs = [output, *name_companions(output).values()]
    check_apart(outputs, [*tables, *([groups.file] if groups else [])])
    check_writable(outputs)
    summary = summarize_files(
        tables, output, SummarySettings(all_frames, long),
        groups=groups, transitions=transitions, overwrite=overwrite,
    )["summary"]  # fmt: skip
    if not quiet:
        say(f"abaw: {output}: {summary['subjects']} rows")
    report_failures(summary["failed"], summary["subjects"])
