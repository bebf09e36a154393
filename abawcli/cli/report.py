"""`abaw report`: pages that show what tables say, beside the videos."""

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

PATH = click.Path(path_type=Path)


@click.command(name="report")
@inputs_argument
@output_option
@click.option(
    "--videos", type=PATH, metavar="DIR",
    help="Where the videos are, named as in the tables; otherwise where the tables were made from.",
)  # fmt: skip
@click.option("--embed", is_flag=True, help="Put the videos into the pages, instead of links.")
@click.option(
    "--labels", metavar="DIR|FILE", help="Annotations, named like the videos: bands and scores."
)
@click.option(
    "--participants", type=PATH, metavar="FILE.csv",
    help="Columns to sort, filter and compare by; the first one names the videos.",
)  # fmt: skip
@click.option(
    "--by", metavar="COLUMN,...", show_default="all",
    help="Which columns of the participants file.",
)  # fmt: skip
@overwrite_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    videos: Path | None,
    embed: bool,
    labels: str | None,
    participants: Path | None,
    by: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Make a report of prediction tables: HTML that opens from disk, without a network.

    -o report.html is one file with everything, -o report a folder of index.html and a page for
    each video. A page has the video beside its timeline (a click moves the video), pictures where
    labels change, shares, segments, quality, the score if annotations are given, and a paragraph
    for a methods section. For several videos a table sorts, filters and compares groups.

    Example: abaw report out/ --videos interviews/ --participants people.csv -o report
    """
    from abawcli.datasets.pairing import LABEL_SUFFIXES
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_apart, check_writable, is_folder_name
    from abawcli.formats.participants import Groups
    from abawcli.formats.tables import TABLE_SUFFIXES
    from abawcli.views.report.pages import PAGE_SUFFIXES, ReportSettings, report_files

    if by is not None and participants is None:
        raise UsageError(f"--by {by} needs --participants, the file that has these columns")
    columns = tuple(by.split(",")) if by else ()
    if by is not None and not all(columns):
        raise UsageError(f"--by {by!r} must be COLUMN, or COLUMN,COLUMN")
    is_folder_name(output, PAGE_SUFFIXES, 1)
    tables = list(expand_inputs(inputs, TABLE_SUFFIXES))
    annotations = list(expand_inputs([labels], LABEL_SUFFIXES)) if labels else []
    check_apart([output], [*tables, *annotations, *([participants] if participants else [])])
    check_writable([output])
    summary = report_files(
        tables, output, annotations,
        videos=videos, groups=Groups(participants, columns) if participants else None,
        settings=ReportSettings(embed, bool(columns)), overwrite=overwrite,
    )["summary"]  # fmt: skip
    if not quiet:
        count = summary["videos"]
        say(f"abaw: {output}: {count} video{'' if count == 1 else 's'}")
    report_failures(summary["failed"], summary["videos"])
