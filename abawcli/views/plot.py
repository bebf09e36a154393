"""Pictures of scores, as files: png, pdf or svg. No window is opened, no global state changed."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from abawcli.errors import UsageError
from abawcli.formats.provenance import Provenance, write_result
from abawcli.labels import CLASSES
from abawcli.metrics import Score
from abawcli.stages.sweep import AS_PREDICTED, Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOT_SUFFIXES = frozenset({".png", ".pdf", ".svg"})
DPI = 150  # of png
UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}  # metadata of savefig
# Colours of Okabe and Ito, told apart by the colour-blind; markers tell them apart in grey.
STYLES = {
    "median": ("#0072b2", "o"),
    "mean": ("#d55e00", "s"),
    "gaussian": ("#009e73", "^"),
    "vote": ("#cc79a7", "D"),
}


def check_plot_name(path: str | Path) -> None:
    """Make sure, before any work is done, that `path` can name a picture.

    Raises:
        UsageError: the suffix belongs to no format.
    """
    path = Path(path)
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise UsageError(f"{path} is no picture name; end it in {', '.join(sorted(PLOT_SUFFIXES))}")


def write_figure(figure: "Figure", path: str | Path, provenance: Provenance) -> None:
    """Write a picture, completely or not at all; the same figure gives the same bytes.

    Raises:
        UsageError: the suffix belongs to no format.
        OutputError: the output cannot be written.
    """
    import matplotlib

    path = Path(path)
    check_plot_name(path)
    suffix = path.suffix.lower()
    with (
        write_result(path, provenance) as temporary,
        ignore_missing_glyphs(),
        matplotlib.rc_context({"svg.hashsalt": "abaw"}),  # ids would be random
    ):
        figure.savefig(temporary, dpi=DPI, format=suffix[1:], metadata=UNDATED.get(suffix))


@contextmanager
def ignore_missing_glyphs() -> Iterator[None]:
    """Draw names whose letters the font lacks, such as Chinese ones, without matplotlib's warning.

    Boxes are drawn in place of these letters.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


def _share_rows(score: Score) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str]]:
    """Return counts, their shares of each row's annotated frames, and the columns' names.

    Frames without a prediction are a last column, if there are any.
    """
    none = score.support - score.confusion.sum(axis=1)
    counts, names = score.confusion, list(CLASSES)
    if none.any():
        counts, names = np.column_stack([counts, none]), [*names, "none"]
    return counts, counts / np.maximum(score.support, 1)[:, None], names


def draw_confusion(score: Score) -> "Figure":
    """Draw the confusion matrix: colours are shares of a row's frames, with counts in the cells."""
    from matplotlib.figure import Figure

    counts, shares, names = _share_rows(score)
    figure = Figure(figsize=(8, 7), layout="constrained")  # inches
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(CLASSES)), CLASSES)
    axes.set(xlabel="predicted", ylabel="annotated")
    axes.set_title(
        f"macro-F1 {score.macro_f1:.4f}, accuracy {score.accuracy:.4f}, {score.frames:,} frames"
    )
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        colour = "white" if share > 0.6 else "black"
        text = f"{share:.0%}\n{count:,}" if score.support[row] else "0"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, label="share of the annotated class", shrink=0.8)
    return figure


def list_lines(sweep: Sweep) -> dict[tuple[str, str], dict[int, float]]:
    """Return the macro-F1 by window in frames, for every method and space of a sweep."""
    lines: dict[tuple[str, str], dict[int, float]] = {}
    scored = zip(sweep.candidates, sweep.macro_f1.tolist(), strict=True)
    for smoothing, macro_f1 in list(scored)[AS_PREDICTED + 1 :]:
        line = lines.setdefault((smoothing.method, smoothing.space), {})
        assert smoothing.window_frames is not None  # a sweep is of windows in frames
        line[smoothing.window_frames] = macro_f1
    return lines


def draw_sweep(sweep: Sweep) -> "Figure":
    """Draw the macro-F1 against the window, one line per method, dashed for logits."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")  # inches
    axes = figure.add_subplot()
    for (method, space), line in list_lines(sweep).items():
        colour, marker = STYLES[method]
        axes.plot(
            list(line), list(line.values()), color=colour, marker=marker, markersize=4,
            linestyle="--" if space == "logits" else "-",
            label=f"{method} of logits" if space == "logits" else method,
        )  # fmt: skip
    raw = sweep.macro_f1[AS_PREDICTED]
    axes.axhline(raw, color="black", linewidth=1, label=f"as predicted, {raw:.4f}")
    axes.axhline(
        sweep.cross_validated, color="black", linewidth=1, linestyle=":",
        label=f"cross-validated, {sweep.cross_validated:.4f}",
    )  # fmt: skip
    windows = sweep.windows
    axes.set_xscale("log")
    axes.set_xticks(windows, map(str, windows))
    axes.minorticks_off()
    axes.set(xlabel="window, frames", ylabel="macro-F1")
    axes.set_title(f"smoothing, {len(sweep.videos)} annotations, {sweep.frames:,} frames")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure
