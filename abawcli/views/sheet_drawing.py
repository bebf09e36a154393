"""The drawing of a contact sheet, in pixels, y downwards."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from abawcli.config import ContactSheet
from abawcli.faces.crop import Image
from abawcli.views.plot import ignore_missing_glyphs
from abawcli.views.tracks import Tracks

Pictures = dict[tuple[int, int], Image]  # of a track in a frame

DPI = 100
_LEFT, _HEAD, _FOOT, _GAP = 150, 76, 40, 4  # pixels: names of tracks, title and times, key
_CAPTION, _STRIP, _BETWEEN = 16, 10, 12  # below a row of faces: frames, the whole time, nothing
INK, PALE, EMPTY, LINE = "#222222", "#666666", "#f1f1f1", "#cccccc"
CROPPED, THERE, LOW = "#1a8f3c", "#8a9bb5", "#d62728"


@dataclass(frozen=True)
class _Page:
    """A figure with axes in pixels, and the positions of its parts."""

    figure: Figure
    axes: Axes
    config: ContactSheet

    @property
    def width(self) -> int:
        """Return the pixels from the first column to the end of the last."""
        return self.config.columns * (self.config.side + _GAP) - _GAP

    def left(self, column: int) -> int:
        return _LEFT + column * (self.config.side + _GAP)

    def top(self, row: int) -> int:
        return _HEAD + row * (self.config.side + _CAPTION + _STRIP + _BETWEEN)

    def write(self, x: float, y: float, text: str, pixels: float, **style: Any) -> None:
        """Write a line of text with its top at y, without mathematical notation."""
        style = {"color": INK, "va": "top"} | style
        size = pixels * 72 / DPI
        self.axes.text(x, y, text, fontsize=size, parse_math=False, **style)

    def box(self, x: float, y: float, width: float, height: float, **style: Any) -> None:
        self.axes.add_patch(Rectangle((x, y), width, height, **style))


def draw_sheet(
    path: str | Path,
    tracks: Tracks,
    cells: pd.DataFrame,
    pictures: Pictures,
    *,
    config: ContactSheet,
) -> None:
    """Draw the sheet and write it to `path`, .jpg or .png."""
    path = Path(path)
    shown = sorted(tracks.numbers[: config.rows])
    page = _open_page(config, len(shown))
    _draw_head(page, tracks)
    for row, number in enumerate(shown):
        faces = tracks.faces[tracks.faces["subject"] == number]
        _draw_name(page, row, number, faces, frames=len(tracks.frames))
        _draw_cells(page, row, cells[cells["subject"] == number], pictures)
        _draw_strip(page, row, tracks, faces)
    _draw_foot(page, tracks, page.top(max(1, len(shown))))
    quality = {"quality": config.quality} if path.suffix == ".jpg" else {}
    with ignore_missing_glyphs():
        page.figure.savefig(path, dpi=DPI, pil_kwargs=quality)


def _open_page(config: ContactSheet, rows: int) -> _Page:
    figure = Figure(dpi=DPI)
    page = _Page(figure, figure.add_axes((0, 0, 1, 1)), config)
    width, height = _LEFT + page.width + 2 * _GAP, page.top(max(1, rows)) + _FOOT
    figure.set_size_inches(width / DPI, height / DPI)
    page.axes.set_xlim(0, width)
    page.axes.set_ylim(height, 0)
    page.axes.set_axis_off()
    return page


def format_seconds(time_s: float) -> str:
    """Return minutes and seconds, or seconds alone below a minute."""
    if abs(time_s) < 59.95:
        return f"{time_s:.1f} s"
    minutes, seconds = divmod(round(time_s, 1), 60)
    return f"{minutes:.0f}:{seconds:04.1f}"


def _draw_head(page: _Page, tracks: Tracks) -> None:
    start_s, span_s = float(tracks.times_s[0]), tracks.end_s - float(tracks.times_s[0])
    page.write(8, 10, tracks.name, 20, weight="bold")
    facts = [f"{len(tracks.frames)} frames", format_seconds(span_s), _count(len(tracks.numbers))]
    page.write(8, 38, ", ".join(facts) + f"; crops: {tracks.cropped}", 14, color=PALE)
    for column in range(page.config.columns):
        time_s = start_s + (column + 0.5) / page.config.columns * span_s
        middle = page.left(column) + page.config.side / 2
        page.write(middle, _HEAD - 16, format_seconds(time_s), 12, color=PALE, ha="center")


def _count(tracks: int) -> str:
    return f"{tracks or 'no'} {'track' if tracks == 1 else 'tracks'}"


def _draw_name(page: _Page, row: int, number: int, faces: pd.DataFrame, *, frames: int) -> None:
    top, cropped = page.top(row), int(faces["cropped"].sum())
    low = int((faces["score"] < page.config.low_score).sum())
    page.write(8, top + 2, f"track {number}", 17, weight="bold")
    share = f"{len(faces) / frames:.0%}" if len(faces) >= frames / 100 else "< 1%"
    page.write(8, top + 26, f"{len(faces)} frames, {share}", 12)
    if cropped:
        page.write(8, top + 43, f"cropped: {cropped}", 12, color=CROPPED, weight="bold")
    if low:
        page.write(8, top + 60, f"low score: {low}", 12, color=LOW)


def _draw_cells(page: _Page, row: int, cells: pd.DataFrame, pictures: Pictures) -> None:
    side, top = page.config.side, page.top(row)
    gone = set(range(page.config.columns)) - set(cells["column"])
    for column in gone:
        page.box(page.left(column), top, side, side, fc=EMPTY, ec=LINE, lw=0, hatch="///")
    face: Any  # a row: itertuples has no types
    for face in cells.itertuples():
        left = page.left(face.column)
        picture = pictures.get((face.subject, face.frame))
        if picture is None:
            page.box(left, top, side, side, fc=EMPTY, lw=0)
            page.write(left + side / 2, top + side / 2, "no picture", 12, color=PALE,
                       ha="center", va="center")  # fmt: skip
        else:
            extent = (left, left + side, top + side, top)
            page.axes.imshow(picture, extent=extent, aspect="auto", interpolation="nearest")
        _draw_marks(page, left, top, face)


def _draw_marks(page: _Page, left: float, top: float, face: Any) -> None:
    """Draw the marks of one face: its frame number, whether it was cropped, and a low score."""
    side, low = page.config.side, face.score < page.config.low_score
    colour = LOW if low else CROPPED if face.cropped else None
    if colour:
        page.box(left + 1, top + 1, side - 2, side - 2, fill=False, ec=colour, lw=2)
    style = {"color": CROPPED, "weight": "bold"} if face.cropped else {"color": PALE}
    page.write(left + 1, top + side + 2, str(face.frame), 12, **style)
    if low:
        page.write(left + side - 5, top + side + 2, f"{face.score:.2f}", 12, color=LOW,
                   weight="bold", ha="right")  # fmt: skip


def _draw_strip(page: _Page, row: int, tracks: Tracks, faces: pd.DataFrame) -> None:
    """Draw the frames of a track: all of them, not only those with a picture."""
    top = page.top(row) + page.config.side + _CAPTION + 2
    low = faces["score"] < page.config.low_score
    page.box(_LEFT, top, page.width, _STRIP, fc=EMPTY, lw=0)
    for rows, colour, height in (
        (faces, THERE, _STRIP), (faces[faces["cropped"]], CROPPED, _STRIP), (faces[low], LOW, 4),
    ):  # fmt: skip
        starts, ends = find_pixels(tracks, rows["frame"].to_numpy(), page.width)
        for start, end in zip(starts, ends, strict=True):
            page.box(_LEFT + start, top, end - start, height, fc=colour, lw=0)


def find_pixels(
    tracks: Tracks, frame: NDArray[np.int64], width: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first and end pixels (K,) of frames (K,) on a strip; each has at least one."""
    edges = tracks.locate(np.append(tracks.times_s, tracks.end_s)) * width
    index = np.searchsorted(tracks.frames, frame)
    first = np.clip(edges[index].astype(int), 0, width - 1)
    last = np.clip(np.ceil(edges[index + 1]).astype(int), first + 1, width)
    steps = np.zeros(width + 1, int)
    np.add.at(steps, first, 1)
    np.add.at(steps, last, -1)
    covered = np.diff(np.pad(np.cumsum(steps)[:-1] > 0, 1).astype(int))
    return np.flatnonzero(covered == 1), np.flatnonzero(covered == -1)


def _draw_foot(page: _Page, tracks: Tracks, top: int) -> None:
    hidden = tracks.numbers[page.config.rows :]
    if not tracks.numbers:
        page.write(_LEFT, _HEAD + 20, "no face was found", 17, color=PALE)
    x = float(_LEFT)
    for colour, text in (
        (CROPPED, "face cropped"), (THERE, "face found, not cropped"),
        (LOW, f"detector's score below {page.config.low_score:g}"), (EMPTY, "no face of the track"),
    ):  # fmt: skip
        hatch = {"hatch": "///", "ec": LINE} if colour == EMPTY else {}
        page.box(x, top + 6, 14, 14, fc=colour, lw=0, **hatch)
        page.write(x + 20, top + 6, text, 12, color=PALE)
        x += 34 + 7.2 * len(text)
    page.write(x, top + 6, "numbers below faces: frames", 12, color=PALE)
    if hidden:
        frames = int((tracks.faces["subject"] == hidden[0]).sum())
        text = f"not shown: {_count(len(hidden))} of at most {frames} frames"
        end = _LEFT + page.width
        page.write(end, top + 6, text, 12, color=INK, weight="bold", ha="right")
