"""Reliability diagrams: accuracy against confidence, as png, pdf or svg."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from abawcli.formats.json_values import JsonObject
from abawcli.formats.provenance import Provenance, find_finished
from abawcli.views.plot import write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of Okabe and Ito, told apart by the colour-blind; markers tell them apart in grey.
STYLES = (("#d55e00", "s"), ("#0072b2", "o"), ("#009e73", "^"))


def draw_reliability(qualities: Mapping[str, JsonObject], title: str) -> "Figure":
    """Draw accuracy against confidence, and the share of the examples in each bin of confidence.

    Args:
        qualities: by name, each a `reliability.Quality` as JSON; three at most.
        title: above the diagram.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 6.5), layout="constrained")  # inches
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle=":")
    for (name, quality), (colour, marker) in zip(qualities.items(), STYLES, strict=False):
        shares = np.array(quality["shares"])
        filled = shares > 0
        x, y = (np.array(quality[key])[filled] for key in ("confidences", "accuracies"))
        error = quality["calibration_error"]["value"]
        label = f"{name}: error {error:.3f}"
        upper.plot(x, y, color=colour, marker=marker, markersize=4, label=label)
        edges = np.linspace(0, 1, len(shares) + 1)
        lower.stairs(shares, edges, color=colour)
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=title)
    upper.legend(loc="upper left", frameon=False)
    lower.set(xlabel="confidence", ylabel="share of examples")
    return figure


def plot_calibration(
    calibration: Provenance, output: str | Path, *, overwrite: bool = False
) -> None:
    """Draw the diagram of a calibration, given by its provenance; finished work is kept.

    Raises:
        OutputError: the output exists and may not be replaced, or cannot be written.
        UsageError: the suffix of the output belongs to no format.
    """
    if find_finished(output, calibration, overwrite):
        return
    summary = calibration["summary"]
    qualities = {"before": summary["before"], "after": summary["after"]}
    title = f"{summary['examples']:,} examples, calibrated out of fold"
    write_figure(draw_reliability(qualities, title), output, calibration)
