"""`abaw report`: HTML reports of prediction tables."""

from pathlib import Path

import click

from abawcli.cli.batch import count_done, report_failures
from abawcli.cli.console import say
from abawcli.cli.options import (
    inputs_argument,
    labels_option,
    output_option,
    overwrite_option,
    verbosity_options,
)
from abawcli.cli.participants import by_option, choose_groups, participants_option

PATH = click.Path(path_type=Path)


@click.command(name="report")
@inputs_argument
@output_option("Output file (.html), or output folder.")
@click.option(
    "--videos", type=PATH, metavar="DIR",
    help="Folder of the videos, named as in the tables.  [default: recorded in the tables' "
    "provenance]",
)  # fmt: skip
@click.option(
    "--embed", is_flag=True, help="Embed the videos in the pages instead of linking them."
)
@labels_option()
@participants_option
@by_option
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
    """Make an HTML report of prediction tables; it opens from disk, without a network.

    -o report.html writes one file, -o report writes a folder with index.html and a page per video.

    A page has the video and its timeline (a click on it moves the video to that time), an image of
    each segment, shares, segments, face quality, and a paragraph for a methods section. If --labels
    gives annotations, it has the score, the confusion of the classes, and the wrong segments with
    their faces, the worst (by confidence times seconds) first. With several videos, index.html has
    a table to sort and filter, and compares groups: all columns of the participants file, or those
    of --by.

    Example: abaw report out/ --videos interviews/ --participants people.csv -o report
    """
    from abawcli.datasets.pairing import ANNOTATION_SUFFIXES
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_apart, check_writable, is_folder_name
    from abawcli.formats.tables import TABLE_SUFFIXES
    from abawcli.views.report.pages import (
        INDEX_NAME,
        PAGE_SUFFIXES,
        ReportSettings,
        report_files,
    )

    groups = choose_groups(participants, by)
    is_folder = is_folder_name(output, PAGE_SUFFIXES, 1)
    tables = list(expand_inputs(inputs, TABLE_SUFFIXES))
    annotations = expand_inputs([labels], ANNOTATION_SUFFIXES) if labels else {}
    check_apart([output], [*tables, *annotations, *([groups.file] if groups else [])])
    check_writable([output / INDEX_NAME if is_folder else output])
    summary = report_files(
        tables, output, annotations,
        videos=videos, groups=groups,
        settings=ReportSettings(embed, bool(groups and groups.columns)), overwrite=overwrite,
    )["summary"]  # fmt: skip
    if not quiet:
        count = summary["videos"]
        say(f"abaw: {output}: {count} video{'' if count == 1 else 's'}")
    report_failures(summary["failed"], count_done(tables, summary["failed"]))
