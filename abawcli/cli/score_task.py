"""The tables of `abaw score --task`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from abawcli.cli.console import print_table, write_line
from abawcli.cli.options import is_verbose
from abawcli.config import Scores

if TYPE_CHECKING:
    from abawcli.stages.score_task import TaskScoring


def print_values(scoring: TaskScoring) -> None:
    """Print the score of each column, their mean, shifts, and the worst videos."""
    measure = scoring.measure
    rows = [
        [name, f"{score:.4f}", f"{scoring.frames[name]:,}"]
        for name, score in scoring.columns.items()
    ]
    rows.append(["mean", f"{scoring.mean:.4f}", ""])
    if scoring.interval:
        low, high = scoring.interval
        rows.append(["95 % bootstrap CI", f"{low:.3f} to {high:.3f}", ""])
    title = f"score, annotations: {len(scoring.videos)}"
    print_table(title, [scoring.task, measure, "frames"], rows)
    columns = [f"{shift:+d}" if shift else "0" for shift in scoring.shifts]
    cells = [f"{score:.4f}" for score in scoring.shifts.values()]
    print_table(f"mean {measure} when predictions are shifted by k frames", columns, [cells])
    _print_videos(scoring)
    if scoring.unpredicted:
        write_line(f"{describe_lacking(scoring.unpredicted, 'values')}; they count as predicted 0")


def describe_lacking(counts: Mapping[str, int], what: str) -> str:
    """Return how many annotated frames or values have no prediction, and where most of them are."""
    most = max(counts, key=lambda name: counts[name])
    where = most if len(counts) == 1 else f"most of them in {most}"
    return f"{sum(counts.values()):,} annotated {what} have no prediction ({where})"


def _print_videos(scoring: TaskScoring) -> None:
    """Print the annotated videos with the lowest mean, with -v all; the JSON has all videos."""
    worst = sorted((mean, name) for name, mean in scoring.videos.items() if mean is not None)
    if len(worst) < 2:
        return
    shown = worst if is_verbose() else worst[: Scores().shown_videos]
    some = (
        "all" if len(shown) == len(worst) else f"the {len(shown)} worst of {len(worst)} (-v: all)"
    )
    rows = [[name, f"{score:.4f}"] for score, name in shown]
    print_table(f"videos, {some}, by mean {scoring.measure}", ["video", "mean"], rows)
