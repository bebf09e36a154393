"""`abaw summarize`: summary statistics for a paper."""

from pathlib import Path

import click

from abawcli.cli.batch import count_done, report_failures
from abawcli.cli.console import say
from abawcli.cli.options import (
    inputs_argument,
    output_option,
    overwrite_option,
    verbosity_options,
)
from abawcli.cli.participants import by_option, choose_groups, participants_option
from abawcli.errors import UsageError


@click.command(name="summarize")
@inputs_argument
@output_option("Output file: .csv.")
@participants_option
@by_option
@click.option(
    "--all-frames", is_flag=True,
    help="Compute shares over all labelled frames, also those labelled from audio or neighbours.",
)  # fmt: skip
@click.option(
    "--transitions", is_flag=True, help="Also count transitions from one label to the next."
)
@click.option(
    "--long",
    is_flag=True,
    help="Long format, for R: one row per measure instead of one row per subject.",
)
@overwrite_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    participants: Path | None,
    by: str | None,
    all_frames: bool,
    transitions: bool,
    long: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Summarize prediction tables: one row for each subject of each video.

    A row has the duration, the share of time with a face, and for each class the share of the
    labelled time, the number of segments, their mean and longest duration, and the mean
    probability. Shares are over frames with a face. summary.json, beside summary.csv, explains the
    columns. --by adds summary.groups.csv with n, mean and standard deviation of each group;
    --transitions adds summary.transitions.csv.

    Example: abaw summarize out/ -o summary.csv --participants people.csv --by condition
    """
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_apart, check_writable
    from abawcli.formats.tables import TABLE_SUFFIXES
    from abawcli.stages.summarize import name_companions, summarize_files
    from abawcli.summary import SummarySettings

    if output.suffix.lower() != ".csv":
        raise UsageError(f"{output} must end in .csv")
    tables = list(expand_inputs(inputs, TABLE_SUFFIXES))
    if participants and by is None:
        raise UsageError("--participants needs --by, the columns to compare groups by")
    groups = choose_groups(participants, by)
    outputs = [output, *name_companions(output).values()]
    check_apart(outputs, [*tables, *([groups.file] if groups else [])])
    check_writable(outputs)
    summary = summarize_files(
        tables, output, SummarySettings(all_frames, long),
        groups=groups, transitions=transitions, overwrite=overwrite,
    )["summary"]  # fmt: skip
    if not quiet:
        rows = summary["subjects"]
        say(f"abaw: {output}: {rows} row{'' if rows == 1 else 's'}")
    report_failures(summary["failed"], count_done(tables, summary["failed"]))
