"""`abaw submit`: the challenge's submission file."""

from itertools import islice
from pathlib import Path

import click

from abawcli.cli.console import say, write_line
from abawcli.cli.options import (
    complete_files,
    overwrite_option,
    task_option,
    verbosity_options,
)
from abawcli.cli.outputs import show_name, text_output_option
from abawcli.config import Submission

FILE = click.Path(path_type=Path)


@click.command(name="submit")
@click.argument("predictions", nargs=-1, metavar="[PREDICTIONS...]", shell_complete=complete_files)
@click.option(
    "--template", type=FILE, required=True, metavar="SAMPLE",
    help="Sample submission of the organisers: the rows that a submission must have.",
)  # fmt: skip
@text_output_option("predictions.txt", False, "Output file")
@click.option(
    "--check", type=FILE, metavar="FILE", help="Check whether this submission would be accepted."
)
@task_option
@overwrite_option
@verbosity_options
def command(
    predictions: tuple[str, ...],
    template: Path,
    output: Path | None,
    check: Path | None,
    task: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Write the submission file of the ABAW challenge, or check one.

    PREDICTIONS are files, folders or globs: tables (csv, parquet) or ABAW text files of the task,
    for all test videos. Every row of the organisers' sample gets the prediction of its frame, or of
    the nearest frame that has one.

    With --check nothing is written. The exit status is 0 if FILE has the rows of the sample, in
    the same order, each with a class from 0 to 7 or the values of the task; otherwise it is 1.

    Example: abaw submit labels/ --template sample.txt -o predictions.txt
    """
    if check:
        if predictions or output:
            raise click.UsageError("--check takes neither PREDICTIONS nor -o")
        _check(check, template, task)
    elif not predictions or not output:
        raise click.UsageError("give PREDICTIONS and -o, or --check FILE")
    else:
        _write(predictions, template, output, task, overwrite=overwrite, quiet=quiet)


def _check(submission: Path, sample: Path, task: str) -> None:
    from abawcli.stages.submit import find_differences

    differences = find_differences(submission, sample, task)
    shown = list(islice(differences, Submission().shown_differences))
    for difference in shown:
        write_line(f"{submission}: {difference}")
    if more := sum(1 for _ in differences):
        write_line(f"{submission}: and {more:,} more differences")
    if shown:
        write_line(f"{submission} would not be accepted")
        click.get_current_context().exit(1)
    write_line(f"{submission} has every row of {sample} and would be accepted")


def _write(
    predictions: tuple[str, ...],
    sample: Path,
    output: Path,
    task: str,
    *,
    overwrite: bool,
    quiet: bool,
) -> None:
    from abawcli.datasets.submission_forms import SUBMISSION_FORMS
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_apart, check_writable
    from abawcli.stages.submit import submit_files

    paths = list(expand_inputs(predictions, SUBMISSION_FORMS[task].suffixes))
    check_apart([output], [*paths, sample])
    check_writable([output])
    done = submit_files(paths, sample, output, task, overwrite=overwrite)
    if quiet:
        return
    say(
        f"abaw: {show_name(output)}: {done.rows:,} rows of {done.videos} videos; "
        f"{done.borrowed:,} rows have the prediction of the nearest frame"
    )
    if not done.made:
        say(f"abaw: {output} is already made from these predictions; skipped")
