"""Training curves of runs: loss, score and learning rate by epoch, as png, pdf or svg."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from abawcli.errors import InputError, UsageError, explain_os_error
from abawcli.formats.json_values import JsonObject, parse_object
from abawcli.formats.provenance import describe_work, find_finished
from abawcli.views.plot import check_plot_name, write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS_NAME = "metrics.jsonl"
# Panels: title, and the keys of metrics with their line styles.
PANELS = (
    ("loss", {"loss": "-", "valid_loss": "--"}),
    (
        "score on validation data",
        {"macro_f1": "-", "moe_macro_f1": "--", "mean_ccc": "-", "mean_f1": "-"},
    ),
    ("learning rate", {"lr": "-"}),
)


def find_training_runs(inputs: Sequence[str | Path]) -> list[Path]:
    """Return the metrics of the run folders that `inputs` are, or have below them, in order.

    None: no input is or has one.

    Raises:
        UsageError: some inputs have training runs and others have none.
    """
    found = {each: sorted(Path(each).rglob(METRICS_NAME)) for each in inputs if os.path.isdir(each)}
    runs = [path for paths in found.values() for path in paths]
    others = [str(each) for each in inputs if not found.get(each)]
    if runs and others:
        more = f" (and {len(others) - 1} others)" if len(others) > 1 else ""
        raise UsageError(
            f"{others[0]}{more} has no training run, and {runs[0].parent} is one; plot tables and "
            "training runs apart"
        )
    return runs


def read_metrics(path: str | Path) -> list[JsonObject]:
    """Return the metrics of each epoch of a run.

    Raises:
        InputError: the file cannot be read, or has a line that is not the metrics of an epoch.
    """
    path = Path(path)
    try:
        rows = [parse_object(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise InputError(explain_os_error(path, error)) from error
    except ValueError as error:
        raise InputError(f"{path} has no metrics of a training run: {error}") from error
    if not rows or not all(isinstance(row.get("epoch"), int) for row in rows):
        raise InputError(f"{path} has no metrics of a training run")
    return rows


def draw_curves(runs: Mapping[str, Sequence[JsonObject]]) -> "Figure":
    """Draw the metrics of runs, by name, one colour each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 9), layout="constrained")  # inches
    for axes, (title, styles) in zip(
        figure.subplots(len(PANELS), sharex=True), PANELS, strict=True
    ):
        for k, (name, rows) in enumerate(runs.items()):
            for key, style in styles.items():
                points = [(row["epoch"], row[key]) for row in rows if row.get(key) is not None]
                if points:
                    label = name if key == next(iter(styles)) else f"{name}, {key}"
                    axes.plot(
                        *zip(*points, strict=True), style, color=f"C{k % 10}", marker=".",
                        label=label,
                    )  # fmt: skip
        axes.set_title(title)
        if axes.lines:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set_xlabel("epoch")
    return figure


def plot_runs(paths: Sequence[str | Path], output: str | Path, *, overwrite: bool = False) -> None:
    """Draw training curves into a file; finished work is kept.

    Raises:
        InputError: as `read_metrics`.
        OutputError: the output exists and may not be replaced, or cannot be written.
        UsageError: the suffix of the output belongs to no format.
    """
    check_plot_name(output)
    files = list(map(Path, paths))
    if len(files) > 10:
        raise UsageError(f"{len(files)} runs are too many for one picture; give 10 or fewer")
    work = describe_work("plot", files, {"curves": True})
    if find_finished(output, work, overwrite):
        return
    folders = [os.path.abspath(path.parent) for path in files]
    common = os.path.commonpath(folders)
    names = [Path(f).name if f == common else os.path.relpath(f, common) for f in folders]
    runs = {name: read_metrics(path) for name, path in zip(names, files, strict=True)}
    write_figure(draw_curves(runs), output, work)
