"""Timelines: a prediction table over time, one panel for each subject of each video.

From top to bottom, a panel shows the eight probabilities, as stacked areas or as lines, the label,
its source, and the annotations if there are any. Frames without a label are hatched.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.datasets.intervals import find_times, label_frames
from abawcli.datasets.pairing import gather_truth
from abawcli.errors import InputError, UsageError
from abawcli.formats.inputs import locate_inputs, warn_left_out
from abawcli.formats.json_values import JsonObject
from abawcli.formats.names import compose_name, find_names
from abawcli.formats.provenance import Provenance, describe_work, find_finished
from abawcli.formats.summary import keep_warnings
from abawcli.formats.tables import read_tables
from abawcli.labels import CLASSES, IGNORE, PROBABILITY_COLUMNS
from abawcli.segments import explain_untimed, find_ends, split_people
from abawcli.sources import NONE
from abawcli.views.palette import CLASS_COLOURS, SOURCE_COLOURS, SOURCE_TEXTS
from abawcli.views.plot import check_plot_name, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG = logging.getLogger(__name__)
Floats = NDArray[np.float64]
WIDTH = 12.0  # inches of a figure
PANEL_HEIGHT = 2.6  # inches of a panel
BAND = 0.14  # height of a band; the probabilities have 1
GAP = 0.05  # between bands
HATCH = "////"
TICK_STEPS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)
MAX_PANELS = 60  # a picture of 160 inches; a page for each video is the report's


@dataclass(frozen=True)
class Timeline:
    """The rows of one subject of one video, in order."""

    video: str
    subject: str
    start_s: Floats  # (T,)
    end_s: Floats  # (T,)
    label: NDArray[np.int64]  # (T,)
    source: NDArray[np.str_]  # (T,)
    probabilities: Floats  # (T, 8)
    annotation: NDArray[np.int64] | None  # (T,)


def split_timelines(
    table: pd.DataFrame,
    annotations: Mapping[str, NDArray[np.int64]] | None = None,
    span_s: tuple[float, float] = (-np.inf, np.inf),
) -> list[Timeline]:
    """Return a timeline for each video and subject of a prediction table, within a span of seconds.

    `annotations` are the labels (T,) by frame, from frame 1, of each annotated video.

    Raises:
        InputError: a video's frames have no times, or no row is in the span.
    """
    timelines = []
    edges_s = []  # of all frames
    for (video, subject), rows in split_people(table):
        group = table.iloc[rows]
        frame = group["frame"].to_numpy(np.int64)
        start_s = group["time_s"].to_numpy(np.float64)
        if untimed := explain_untimed(frame, start_s, video, subject):
            raise InputError(untimed)
        end_s = find_ends(frame, start_s)
        edges_s += [start_s[0], end_s[-1]]
        inside = (start_s >= span_s[0]) & (start_s < span_s[1])
        if not inside.any():
            continue
        labels = (annotations or {}).get(str(video))
        timelines.append(
            Timeline(
                video=str(video),
                subject=str(subject),
                start_s=start_s[inside],
                end_s=end_s[inside],
                label=group["label"].to_numpy(np.int64)[inside],
                source=group["source"].to_numpy(np.str_)[inside],
                probabilities=group[list(PROBABILITY_COLUMNS)].to_numpy(np.float64)[inside],
                annotation=None if labels is None else _look_up(labels, frame[inside]),
            )
        )
    if not timelines:
        raise InputError(
            f"no frame is in the span of seconds; the frames go from {min(edges_s):.2f} s to "
            f"{max(edges_s):.2f} s"
        )
    return timelines


def _look_up(labels: NDArray[np.int64], frame: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the annotation of each frame (T,); -1 beyond the last one that is annotated."""
    there = frame <= len(labels)
    return np.where(there, labels[np.where(there, frame, 1) - 1], IGNORE)


def find_spans(values: NDArray[Any], start_s: Floats, end_s: Floats) -> list[tuple[Any, Any, Any]]:
    """Return (value, start, end) of each segment of equal values (T,) without missing frames."""
    touches = np.isclose(start_s[1:], end_s[:-1], rtol=0, atol=1e-6)
    starts = np.flatnonzero(np.append(True, (values[1:] != values[:-1]) | ~touches))
    ends = np.append(starts[1:], len(values)) - 1
    return [(values[a], start_s[a], end_s[b]) for a, b in zip(starts, ends, strict=True)]


def format_time(seconds: float, digits: int = 0) -> str:
    """Return a time as m:ss, with this many decimals."""
    sign = "-" if round(seconds, digits) < 0 else ""
    minutes, rest = divmod(round(abs(seconds), digits), 60)
    return f"{sign}{int(minutes)}:{rest:0{3 + digits if digits else 2}.{digits}f}"


def draw_timeline(timelines: Sequence[Timeline], lines: bool = False) -> "Figure":
    """Draw timelines below each other, with a common legend; `lines` instead of stacked areas."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    height = PANEL_HEIGHT * len(timelines) + 1.1
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(len(timelines), 1, squeeze=False)[:, 0]
    for axes, timeline in zip(panels, timelines, strict=True):
        _draw_panel(axes, timeline, lines)
    panels[-1].set_xlabel("time, m:ss")
    handles = [Patch(color=c, label=n) for n, c in zip(CLASSES, CLASS_COLOURS, strict=True)]
    handles.append(Patch(facecolor="white", edgecolor="black", hatch=HATCH, label="no label"))
    handles += [
        Patch(facecolor=SOURCE_COLOURS[name], edgecolor="black", label=text)
        for name, text in _list_sources(timelines)
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 9), frameon=False
    )
    return figure


def _list_sources(timelines: Sequence[Timeline]) -> Iterator[tuple[str, str]]:
    used = {source for timeline in timelines for source in timeline.source.tolist()}
    return ((name, text) for name, text in SOURCE_TEXTS.items() if name in used and name != NONE)


def _draw_panel(axes: "Axes", timeline: Timeline, lines: bool) -> None:
    (_draw_lines if lines else _draw_areas)(axes, timeline)
    bands = [("label", timeline.label), ("source", timeline.source)]
    if timeline.annotation is not None:
        bands.append(("annotation", timeline.annotation))
    ticks = [0.5]
    for k, (name, values) in enumerate(bands):
        bottom = -(k + 1) * (BAND + GAP)
        for value, start, end in find_spans(values, timeline.start_s, timeline.end_s):
            _draw_span(axes, name, value, (start, end), bottom=bottom)
        ticks.append(bottom + BAND / 2)
    axes.set_yticks(ticks, ["probability", *(name for name, _ in bands)])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-len(bands) * (BAND + GAP) - GAP / 2, 1.02)
    axes.set_xlim(timeline.start_s[0], max(timeline.end_s[-1], timeline.start_s[0] + 1e-3))
    _mark_times(axes)
    title = (
        timeline.video
        if timeline.subject == "main"
        else f"{timeline.video}, subject {timeline.subject}"
    )
    axes.set_title(title.replace("$", r"\$"), loc="left", fontsize=10)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _mark_times(axes: "Axes") -> None:
    """Set ticks at times that m:ss names exactly, or decimals of a second below one second."""
    from matplotlib.ticker import MultipleLocator

    start_s, end_s = axes.get_xlim()
    step_s = find_tick_step(end_s - start_s)
    digits = 0 if step_s >= 1 else 1 if step_s >= 0.1 else 2
    axes.xaxis.set_major_locator(MultipleLocator(step_s))
    axes.xaxis.set_major_formatter(lambda value, _: format_time(value, digits))


def find_tick_step(span_s: float) -> float:
    """Return the seconds between ticks, a time that people count in, for at most ten ticks."""
    hours = 3600.0 * math.ceil(span_s / (9 * 3600))
    return next((step for step in TICK_STEPS_S if span_s <= 9 * step), hours)


def _draw_span(
    axes: "Axes", band: str, value: Any, span: tuple[float, float], *, bottom: float
) -> None:
    """Draw a segment of one value in a band; unlabelled frames are hatched."""
    empty = value == (IGNORE if band != "source" else NONE)
    colours = SOURCE_COLOURS if band == "source" else dict(enumerate(CLASS_COLOURS))
    axes.broken_barh(
        [(span[0], span[1] - span[0])],
        (bottom, BAND),
        facecolors="white" if empty else colours[value],
        hatch=HATCH if empty else None,
        edgecolor="0.6" if empty else "none",
        linewidth=0,
    )


def _draw_areas(axes: "Axes", timeline: Timeline) -> None:
    """Stack the probabilities; each frame's last until its end."""
    known = ~np.isnan(timeline.probabilities[:, 0])
    for there, start, end in find_spans(known, timeline.start_s, timeline.end_s):
        if not there:
            axes.broken_barh(
                [(start, end - start)],
                (0, 1),
                facecolor="white",
                hatch=HATCH,
                edgecolor="0.8",
                lw=0,
            )
            continue
        rows = (timeline.start_s >= start) & (timeline.start_s < max(end, start + 1e-9))
        edges = np.append(timeline.start_s[rows], end)
        p = timeline.probabilities[rows]
        axes.stackplot(
            edges, np.vstack([p, p[-1:]]).T, colors=CLASS_COLOURS, step="post", linewidth=0
        )


def _draw_lines(axes: "Axes", timeline: Timeline) -> None:
    """Draw a line for each class, interrupted in frames without a label."""
    for k, colour in enumerate(CLASS_COLOURS):
        axes.plot(timeline.start_s, timeline.probabilities[:, k], color=colour, linewidth=1.3)


@dataclass(frozen=True)
class PlotSettings:
    """The settings of a timeline."""

    lines: bool = False  # of probabilities, instead of stacked areas
    from_s: float = -np.inf
    to_s: float = np.inf


def plot_files(
    tables: Sequence[str | Path],
    output: str | Path,
    labels: Iterable[str | Path] = (),
    settings: PlotSettings | None = None,
    *,
    overwrite: bool = False,
) -> Provenance:
    """Draw the timeline of prediction tables, with annotations beside them; return its provenance.

    `output` ends in .png, .pdf or .svg. The `summary` counts panels and names in `failed` what
    could not be read. Finished work is kept.

    Raises:
        InputError: no table can be read, a video's frames have no times, or none is in the span.
        OutputError: the output exists and may not be replaced, or cannot be written.
        UsageError: no picture's suffix, or a span that ends before it begins.
    """
    tables = list(map(Path, tables))
    output = Path(output)
    labels = locate_inputs(labels)
    settings = settings or PlotSettings()
    check_plot_name(output)
    if not settings.from_s < settings.to_s:
        raise UsageError(f"the span {settings.from_s:g} s to {settings.to_s:g} s is empty")
    work = describe_work("plot", [*tables, *labels], _describe(settings))
    if finished := find_finished(output, work, overwrite):
        return finished
    failed: dict[str, str] = {}
    with keep_warnings(work):
        table = read_tables(tables, failed)
        annotations = _read_annotations(table, labels, failed)
    timelines = split_timelines(table, annotations, (settings.from_s, settings.to_s))
    if len(timelines) > MAX_PANELS:
        raise UsageError(
            f"{len(timelines)} timelines are too many for one picture (at most {MAX_PANELS}); "
            "plot fewer tables at once"
        )
    work["summary"] = {"panels": len(timelines), "failed": failed}
    figure = draw_timeline(timelines, settings.lines)
    write_figure(figure, output, work)
    return work


def _read_annotations(
    table: pd.DataFrame, labels: Iterable[str | Path], failed: dict[str, str]
) -> dict[str, NDArray[np.int64]]:
    """Return the labels by frame of each annotated video of a table; name failures in `failed`.

    One annotation and one video are matched even if their names differ.
    """
    truth, times = gather_truth(labels, failed), find_times(table)
    videos = table["video"].unique().tolist()
    found = {video: find_names(video, truth)[:1] for video in videos}
    if len(truth) == len(videos) == 1 and not found[videos[0]]:
        LOG.warning("the annotation %s is drawn beside %s: names differ", *truth, videos[0])
        found = {videos[0]: list(truth)}
    matched = {name for names in found.values() for name in names}
    warn_left_out("annotations match no video", [name for name in truth if name not in matched])
    annotations: dict[str, NDArray[np.int64]] = {}
    for video, names in found.items():
        times_s = times[compose_name(video)]
        for name in names:
            try:
                annotations[video] = label_frames(truth[name], times_s, len(times_s), name)
            except InputError as error:
                failed[name] = str(error)
    return annotations


def _describe(settings: PlotSettings) -> JsonObject:
    """Return the settings as JSON, which has no infinite numbers."""
    span = [None if np.isinf(edge) else edge for edge in (settings.from_s, settings.to_s)]
    return {"lines": settings.lines, "span_s": span}
