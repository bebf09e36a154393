"""`abaw plot`: timelines of prediction tables, and training curves."""

import math
from pathlib import Path

import click

from abawcli.cli.batch import count_done, report_failures
from abawcli.cli.console import say
from abawcli.cli.options import (
    from_option,
    inputs_argument,
    labels_option,
    output_option,
    overwrite_option,
    to_option,
    verbosity_options,
)


@click.command(name="plot")
@inputs_argument
@output_option("Output file: .png, .pdf or .svg.")
@labels_option()
@click.option("--lines", is_flag=True, help="Draw probabilities as lines instead of stacked areas.")
@from_option
@to_option
@overwrite_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    labels: str | None,
    lines: bool,
    from_s: float | None,
    to_s: float | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Draw timelines of prediction tables, or training curves, as png, pdf or svg.

    Each subject of each video has a panel with the eight probabilities, the label, the source of
    the label (face, audio, neighbouring frames), and the annotations if --labels gives them.
    Frames without a label are hatched.

    Run folders of `abaw train` or `abaw crossval` give curves of loss, macro-F1 and learning rate.

    Example: abaw plot labels.csv -o timeline.png --from 0:10 --to 0:30
    """
    from abawcli.datasets.pairing import ANNOTATION_SUFFIXES
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_apart, check_writable
    from abawcli.formats.tables import TABLE_SUFFIXES
    from abawcli.views.curves import find_training_runs
    from abawcli.views.timeline import PlotSettings, plot_files

    if runs := find_training_runs(inputs):
        _plot_curves(runs, output, overwrite=overwrite, quiet=quiet)
        return
    tables = list(expand_inputs(inputs, TABLE_SUFFIXES))
    annotations = expand_inputs([labels], ANNOTATION_SUFFIXES) if labels else {}
    check_apart([output], [*tables, *annotations])
    check_writable([output])
    start, end = (-math.inf if from_s is None else from_s), (math.inf if to_s is None else to_s)
    settings = PlotSettings(lines, start, end)
    summary = plot_files(tables, output, annotations, settings, overwrite=overwrite)["summary"]
    if not quiet:
        panels = summary["panels"]
        say(f"abaw: {output}: {panels} timeline{'s' if panels > 1 else ''}")
    report_failures(summary["failed"], count_done(tables, summary["failed"]))


def _plot_curves(runs: list[Path], output: Path, *, overwrite: bool, quiet: bool) -> None:
    from abawcli.formats.outputs import check_writable
    from abawcli.views.curves import plot_runs

    check_writable([output])
    plot_runs(runs, output, overwrite=overwrite)
    if not quiet:
        say(f"abaw: {output}: curves of {len(runs)} training run{'s' if len(runs) > 1 else ''}")
