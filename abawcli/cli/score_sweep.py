"""`abaw score --sweep`: the printed tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from abawcli.cli.console import print_table, write_line
from abawcli.config import SMOOTHING_SPACES, Smoothing

if TYPE_CHECKING:
    from abawcli.stages.sweep import Sweep


def _print_candidates(sweep: Sweep) -> None:
    """Print one table per space: windows in rows, methods in columns, the best with a star."""
    scores = dict(zip(sweep.candidates, sweep.macro_f1.tolist(), strict=True))
    best = sweep.candidates[sweep.best]
    for space in SMOOTHING_SPACES:
        methods = list(dict.fromkeys(s.method for s in sweep.candidates[1:] if s.space == space))
        rows = []
        for window in sweep.windows:
            row = [Smoothing(method, window, None, space) for method in methods]
            rows.append([str(window), *(f"{scores[s]:.4f}{' *' * (s == best)}" for s in row)])
        print_table(f"macro-F1 with smoothed {space}", ["window, frames", *methods], rows)


def _name(smoothing: Smoothing) -> str:
    if smoothing.window_frames == 1:
        return "as predicted"
    return f"{smoothing.method}, {smoothing.window_frames}, {smoothing.space}"


def _print_folds(sweep: Sweep) -> None:
    rows = [
        [str(choice.fold), str(len(choice.videos)), _name(sweep.candidates[choice.chosen]),
         f"{choice.as_predicted:.4f}", f"{choice.macro_f1:.4f}"]
        for choice in sweep.folds
    ]  # fmt: skip
    columns = ["fold", "videos", "best on the other folds", "as predicted", "smoothed"]
    print_table("macro-F1 of each fold", columns, rows)


def print_sweep(sweep: Sweep, command: str | None) -> None:
    """Print candidates, folds, the gain of smoothing, and last the `abaw smooth` command."""
    _print_candidates(sweep)
    _print_folds(sweep)
    raw, best = sweep.macro_f1[0], sweep.macro_f1[sweep.best]
    honest, biased = sweep.biased_cross_validated, sweep.biased_macro_f1
    rows = [
        ["as predicted", f"{raw:.4f}", ""],
        ["cross-validated", f"{sweep.cross_validated:.4f}", f"{sweep.cross_validated - raw:+.4f}"],
        ["best on these videos", f"{best:.4f}", f"{best - raw:+.4f}"],
        ["and class biases, cross-validated", f"{honest:.4f}", f"{honest - raw:+.4f}"],
        ["and class biases, on these videos", f"{biased:.4f}", f"{biased - raw:+.4f}"],
    ]
    title = f"sweep, annotations: {len(sweep.videos)}, annotated frames: {sweep.frames:,}"
    print_table(title, ["", "macro-F1", "gain"], rows)
    if honest > max(raw, sweep.cross_validated):
        values = ",".join(f"{value:g}" for value in sweep.bias)
        write_line(f"class biases have a cross-validated gain: add --bias {values}")
    if command is None:
        write_line("no smoothing scores better than the predictions as they are")
        return
    if sweep.cross_validated <= raw:
        write_line("smoothing has no cross-validated gain: expect none on other videos")
    write_line(command)
