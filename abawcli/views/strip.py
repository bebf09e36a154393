"""The timeline below a rendered video: drawn once, with a cursor that moves."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from abawcli.labels import CLASSES, IGNORE, N_CLASSES
from abawcli.media.pixels import Image
from abawcli.views.overlay import COLOURS, PAPER, Colour, Style
from abawcli.views.timeline import Timeline, format_time

GROUND, PALE, HATCH = (24, 24, 24), (170, 170, 170), (90, 90, 90)
_BAND = 0.35  # share of a row that shows the label; above it are the probabilities
_SHORT_S = 8.0  # spans up to which its ends are in tenths of a second
MAX_ROWS = 8  # people; the others have boxes, and no row


@dataclass(frozen=True)
class Strip:
    """A picture of the whole time span, and the pixels of its times."""

    image: Image  # (H, W, 3)
    left: int  # pixel at which the time begins
    right: int  # and the last one
    top: int  # of the rows
    bottom: int
    span_s: tuple[float, float]
    style: Style

    def draw_cursor(self, time_s: float) -> Image:
        """Return the picture (H, W, 3) with a line and the time at `time_s`."""
        start, end = self.span_s
        share = min(max((time_s - start) / (end - start), 0.0), 1.0)
        x = self.left + round(share * (self.right - self.left))
        canvas = Pillow.fromarray(self.image)
        draw, style, text = ImageDraw.Draw(canvas), self.style, format_time(time_s, 1)
        width, height = style.measure(text)
        left = max(0, min(x - width // 2, canvas.width - width))
        draw.rectangle((left, 0, left + width - 1, height - 1), fill=PAPER)
        draw.text((left + width / 2, height / 2), text, GROUND, style.font, anchor="mm")
        line = max(1, style.line // 2)
        draw.rectangle((x - line, self.top, x + line, self.bottom - 1), fill=GROUND)
        draw.rectangle((x - line // 2, height, x + line // 2, self.bottom - 1), fill=PAPER)
        return np.asarray(canvas)


def choose_timelines(timelines: Sequence[Timeline]) -> list[Timeline]:
    """Return the timelines that get a row: those with labels for longest, in their own order."""
    labelled = [int((timeline.label != IGNORE).sum()) for timeline in timelines]
    longest = sorted(range(len(timelines)), key=lambda k: -labelled[k])[:MAX_ROWS]
    return [timelines[k] for k in sorted(longest)]


def draw_strip(
    timelines: Sequence[Timeline], width: int, span_s: tuple[float, float], style: Style
) -> Strip:
    """Draw a row for each timeline, at most eight: probabilities, labels, a key of colours."""
    shown, unit = choose_timelines(timelines), style.unit
    pad, head = unit // 2, round(1.5 * unit)
    names = [timeline.subject if len(timelines) > 1 else "" for timeline in shown]
    left = pad + max(round(style.font.getlength(name)) + (pad if name else 0) for name in names)
    left, right = min(left, width // 2), max(width - pad - 1, width // 2 + 1)
    height = max(unit, min(3 * unit, 8 * unit // len(shown)))
    top, gap = head + style.line, style.line
    bottom = top + len(shown) * (height + gap) - gap
    key = _lay_key(width, style)
    total = bottom + pad + len(key) * head
    image = np.full((total, width, 3), GROUND, np.uint8)
    moments = np.linspace(*span_s, right - left + 2)  # the edges of columns
    moments = (moments[1:] + moments[:-1]) / 2
    for k, timeline in enumerate(shown):
        y = top + k * (height + gap)
        image[y : y + height, left : right + 1] = _paint_row(timeline, moments, height, style.line)
    canvas = Pillow.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    for k, name in enumerate(names):
        middle = top + k * (height + gap) + height / 2
        draw.text((pad, middle), name, PAPER, style.font, anchor="lm")
    digits = 0 if span_s[1] - span_s[0] > _SHORT_S else 1
    for x, edge_s, anchor in ((left, span_s[0], "lm"), (right, span_s[1], "rm")):
        draw.text((x, head / 2), format_time(edge_s, digits), PALE, style.font, anchor=anchor)
    for row, entries in enumerate(key):
        _draw_key(draw, entries, bottom + pad + row * head, style)
    return Strip(
        image=np.asarray(canvas),
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        span_s=span_s,
        style=style,
    )


def _paint_row(timeline: Timeline, moments: NDArray[np.float64], height: int, line: int) -> Image:
    """Return a row (height, C, 3): the labels and probabilities at each moment (C,).

    Moments without a label are hatched with lines of a width.
    """
    row = np.searchsorted(timeline.start_s, moments, "right") - 1
    there = (row >= 0) & (moments < timeline.end_s[row])
    label = np.where(there, timeline.label[row], IGNORE)
    band, between = max(2, round(_BAND * height)), max(1, height // 14)
    area = height - band - between
    level = 1 - (np.arange(area) + 0.5) / area  # (A,) from the top
    edges = np.cumsum(timeline.probabilities[row], axis=1)  # (C, 8)
    reached = (edges[None, :, :-1] < level[:, None, None]).sum(axis=2)  # (A, C)
    labels = np.tile(label, (between + band, 1))
    classes = np.vstack([np.where(label == IGNORE, IGNORE, reached), labels])
    y, x = np.indices(classes.shape)
    colours = np.array([*COLOURS, GROUND, HATCH], np.uint8)
    hatched = np.where((x + y) % (4 * line) < line, N_CLASSES + 1, N_CLASSES)
    painted = colours[np.where(classes == IGNORE, hatched, classes)]
    painted[area : area + between] = GROUND
    return np.asarray(painted)


Entry = tuple[int, str, Colour]  # where it begins, the class, its colour


def _lay_key(width: int, style: Style) -> list[list[Entry]]:
    """Return the layout of the class names, in several rows with columns if needed."""
    widths = [round(style.font.getlength(name)) + 2 * style.unit for name in CLASSES]
    for rows in (1, 2, 4, 8):
        columns = len(CLASSES) // rows
        wide = [max(widths[k::columns]) for k in range(columns)]
        if sum(wide) <= width or columns == 1:
            break
    spare = max(0, width - sum(wide)) // (columns + 1)
    starts = [spare + sum(wide[:k]) + spare * k for k in range(columns)]
    entries = [
        (starts[k % columns], name, colour)
        for k, (name, colour) in enumerate(zip(CLASSES, COLOURS, strict=True))
    ]
    ends = range(0, len(CLASSES) + 1, columns)
    return [entries[a:b] for a, b in pairwise(ends)]


def _draw_key(draw: ImageDraw.ImageDraw, entries: Sequence[Entry], top: int, style: Style) -> None:
    unit = style.unit
    for x, name, colour in entries:
        draw.rectangle((x + unit // 3, top + unit // 3, x + unit, top + unit), fill=colour)
        middle = top + unit // 3 + unit / 3
        draw.text((x + round(1.4 * unit), middle), name, PAPER, style.font, anchor="lm")
