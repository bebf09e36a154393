"""`abaw score`: scores of predictions against annotations."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from abawcli.cli.batch import exit_if_failed
from abawcli.cli.console import print_json, print_table, progress_bar, say, write_line
from abawcli.cli.options import (
    complete_files,
    is_verbose,
    json_option,
    overwrite_option,
    task_option,
    verbosity_options,
)
from abawcli.cli.outputs import is_to_stdout, text_output_option
from abawcli.cli.score_task import describe_lacking
from abawcli.config import EXPR, Scores
from abawcli.errors import UsageError
from abawcli.labels import CLASSES

if TYPE_CHECKING:
    from abawcli.formats.json_values import JsonObject
    from abawcli.formats.provenance import Provenance
    from abawcli.stages.score import Scoring
    from abawcli.stages.sweep import Sweep

Writer = TypeVar("Writer")


def _print_scoring(scoring: Scoring) -> None:
    score, face = scoring.overall, scoring.with_face
    figures = zip(CLASSES, score.precision, score.recall, score.f1, score.support, strict=True)
    rows = [[name, f"{p:.3f}", f"{r:.3f}", f"{f:.3f}", f"{n:,}"] for name, p, r, f, n in figures]
    rows.append(["macro-F1", "", "", f"{score.macro_f1:.4f}", f"{score.frames:,}"])
    if score.absent:
        row = ["F1 of occurring classes", "", "", f"{score.occurring_f1:.4f}", ""]
        rows.append(row)
    if scoring.interval:
        low, high = scoring.interval
        rows.append(["95 % bootstrap CI", "", "", f"{low:.3f}-{high:.3f}", ""])
    if face:
        rows.append(["macro-F1, face found", "", "", f"{face.macro_f1:.4f}", f"{face.frames:,}"])
    rows.append(["accuracy", "", "", f"{score.accuracy:.4f}", f"{score.frames:,}"])
    if scoring.calibration_error is not None:
        rows.append(["calibration error", "", "", f"{scoring.calibration_error:.4f}", ""])
    title = f"score, annotations: {len(scoring.videos)}"
    print_table(title, ["class", "precision", "recall", "F1", "frames"], rows)
    if score.absent:
        write_line(f"absent classes, F1 = 0: {', '.join(score.absent)}")
    matrix = [
        [name, *map(str, counts)] for name, counts in zip(CLASSES, score.confusion, strict=True)
    ]
    short = [name[:3] for name in CLASSES]
    print_table(
        "confusion matrix in frames: annotated (rows), predicted (columns)", ["", *short], matrix
    )
    _print_shifts(scoring)
    _print_videos(scoring)
    if scoring.unlabelled:
        write_line(f"{describe_lacking(scoring.unlabelled, 'frames')}; they count as wrong")


def _print_shifts(scoring: Scoring) -> None:
    columns = [f"{shift:+d}" if shift else "0" for shift in scoring.shifts]
    cells = [f"{macro_f1:.4f}" for macro_f1 in scoring.shifts.values()]
    print_table("macro-F1 when predictions are shifted by k frames", columns, [cells])


def _print_videos(scoring: Scoring) -> None:
    """Print the videos with the lowest accuracy, with -v all videos; the JSON has all of them."""
    annotated = [video for video in scoring.videos if video.frames]
    if len(annotated) < 2:
        return
    worst = sorted(annotated, key=lambda video: (video.accuracy, video.name))
    some = "all"
    if len(worst) > Scores().shown_videos and not is_verbose():
        worst = worst[: Scores().shown_videos]
        some = f"the {len(worst)} worst of {len(annotated)} (-v: all)"
    rows = [[v.name, f"{v.frames:,}", f"{v.macro_f1:.4f}", f"{v.accuracy:.4f}"] for v in worst]
    print_table(
        f"videos, {some}, by accuracy",
        ["video", "frames", "mean F1 of its classes", "accuracy"],
        rows,
    )


@dataclass(frozen=True)
class _Result:
    """The result of a score or a sweep."""

    described: JsonObject  # as JSON
    show: Callable[[], None]
    videos: list[str]
    failed: dict[str, str]


def _score(
    predictions: str, annotations: str, output: Path | None, plot: Path | None, *, overwrite: bool
) -> _Result:
    from abawcli.stages.score import describe_scoring, score_paths, write_score

    def draw(scoring: Scoring, path: Path, work: Provenance) -> None:
        from abawcli.views.plot import draw_confusion, write_figure

        write_figure(draw_confusion(scoring.overall), path, work)

    outputs = _pair_outputs((output, write_score), (plot, draw))
    scoring = score_paths(predictions, annotations, outputs, overwrite=overwrite)
    names = [video.name for video in scoring.videos]
    return _Result(
        describe_scoring(scoring), lambda: _print_scoring(scoring), names, scoring.failed
    )


def _sweep(
    predictions: str,
    annotations: str,
    output: Path | None,
    plot: Path | None,
    *,
    overwrite: bool,
    quiet: bool,
) -> _Result:
    from abawcli.cli.score_sweep import print_sweep
    from abawcli.stages.sweep import describe_sweep, sweep_paths, write_sweep

    def write(sweep: Sweep, path: Path, work: Provenance) -> None:
        write_sweep(sweep, predictions, path, work)

    def draw(sweep: Sweep, path: Path, work: Provenance) -> None:
        from abawcli.views.plot import draw_sweep, write_figure

        write_figure(draw_sweep(sweep), path, work)

    outputs = _pair_outputs((output, write), (plot, draw))
    with progress_bar("sweep", "videos", quiet) as update:
        sweep = sweep_paths(predictions, annotations, outputs, overwrite=overwrite, progress=update)
    described = describe_sweep(sweep, predictions)
    return _Result(
        described, lambda: print_sweep(sweep, described["command"]), sweep.videos, sweep.failed
    )


def _score_task(
    predictions: str, annotations: str, task: str, output: Path | None, *, overwrite: bool
) -> _Result:
    from abawcli.cli.score_task import print_values
    from abawcli.stages.score_task import describe_values, score_value_paths
    from abawcli.tasks import TASKS

    scoring = score_value_paths(predictions, annotations, TASKS[task], output, overwrite=overwrite)
    return _Result(
        describe_values(scoring),
        lambda: print_values(scoring),
        list(scoring.videos),
        scoring.failed,
    )


def _pair_outputs(*pairs: tuple[Path | None, Writer]) -> dict[Path, Writer]:
    """Return the function that writes each path that was given."""
    return {path: write for path, write in pairs if path}


def _check_names(output: Path | None, plot: Path | None) -> None:
    """Refuse JSON in a file of another format, a plot that is no picture, and one path for both.

    A file that exists is left to the checks of all outputs.
    """
    from abawcli.formats.outputs import FILE_SUFFIXES

    if plot:
        from abawcli.views.plot import check_plot_name

        check_plot_name(plot)
    if output and plot and os.path.realpath(output) == os.path.realpath(plot):
        raise UsageError(f"-o and --plot are both {output}; give them different names")
    if output and output.suffix.lower() in FILE_SUFFIXES - {".json"} and not output.exists():
        raise UsageError(f"the score is written as JSON: {output} must end in .json")


@click.command(name="score")
@click.argument("predictions", metavar="PREDICTIONS", shell_complete=complete_files)
@click.argument("annotations", metavar="ANNOTATIONS", shell_complete=complete_files)
@text_output_option("score.json", False, "JSON file with the score")
@task_option
@click.option(
    "--sweep", is_flag=True,
    help="Score every smoothing method with several windows, and print the best one.",
)  # fmt: skip
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE.png|pdf|svg",
    help="Plot of the confusion matrix, or with --sweep of macro-F1 by window.",
)  # fmt: skip
@json_option
@overwrite_option
@verbosity_options
def command(
    predictions: str,
    annotations: str,
    output: Path | None,
    task: str,
    sweep: bool,
    plot: Path | None,
    as_json: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Score predictions against annotations with the challenge's measure: macro-F1 over all frames.

    PREDICTIONS are tables (csv, parquet), ABAW text files or a submission. ANNOTATIONS are ABAW
    text files; tables with the columns video, frame and label, or video, onset, offset and label;
    or files of ELAN, Praat, Audacity, BORIS or Label Studio with one tier. Each is a file, a folder
    or a glob (.json files must be named). Videos are matched by name. Frames annotated with -1 are
    left out.

    The 95 % interval is a bootstrap over source videos. Macro-F1 is also computed with predictions
    shifted by one and two frames; a warning says if a shift is clearly better. The table of videos
    shows the worst ones; -v and the JSON show all.

    With --task va or au, PREDICTIONS are tables, text files of the challenge or a submission, and
    ANNOTATIONS are text files. The score is the mean concordance correlation coefficient (CCC) of
    valence and arousal, or the mean F1 of twelve action units. Values that are not annotated (-5,
    or -1 for action units) are left out; an annotated value without a prediction counts as
    predicted 0.

    --sweep scores every smoothing method with several windows. The gain is cross-validated: each
    fold is scored with the smoothing that is best on the other folds. The last line is the
    `abaw smooth` command that is best on all videos.

    Example: abaw score labels/ annotations/ --plot confusion.png
    """
    if task != EXPR and (sweep or plot):
        raise click.UsageError(f"--sweep and --plot are only for --task {EXPR}")
    _check_names(output, plot)
    if task != EXPR:
        result = _score_task(predictions, annotations, task, output, overwrite=overwrite)
    elif sweep:
        result = _sweep(predictions, annotations, output, plot, overwrite=overwrite, quiet=quiet)
    else:
        result = _score(predictions, annotations, output, plot, overwrite=overwrite)
    if as_json:
        print_json(result.described)
    elif not is_to_stdout():
        result.show()
    for reason in result.failed.values():
        say(f"abaw: error: {reason}")
    exit_if_failed(list(result.failed), len(result.videos) + len(result.failed))
