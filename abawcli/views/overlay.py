"""What is drawn into a frame: of each person a box, the label and the eight probabilities."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from abawcli.faces.detect import Box
from abawcli.labels import CLASSES, IGNORE
from abawcli.media.pixels import Image
from abawcli.views.palette import CLASS_COLOURS

Colour = tuple[int, int, int]
Corners = tuple[int, int, int, int]  # x0, y0, x1, y1; x1 and y1 are the first pixels outside


def parse_colour(text: str) -> Colour:
    """Return the red, green and blue of #rrggbb."""
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


COLOURS = tuple(map(parse_colour, CLASS_COLOURS))
INK, PAPER, UNLABELLED = (20, 20, 20), (240, 240, 240), (255, 255, 255)
_VEIL = 190  # of 255, how much the ground of the bars darkens the picture
# What a label rests on, where it is not the face in the box.
_SOURCES = {"audio": " (voice)", "filled": " (from neighbouring frames)"}


@dataclass(frozen=True)
class Person:
    """One subject in one frame."""

    name: str  # empty where there is only one
    box: Box | None  # in pixels of the picture; None: no face
    label: int
    confidence: float
    source: str
    probabilities: NDArray[np.float64]  # (8,)

    @property
    def colour(self) -> Colour:
        """Return the colour of the label's class."""
        return UNLABELLED if self.label == IGNORE else COLOURS[self.label]

    @property
    def text(self) -> str:
        """Return what is written beside the box."""
        if self.label == IGNORE:
            said = "no label"
        else:
            said = f"{CLASSES[self.label]} {self.confidence:.2f}"
        name = f"{self.name}: " if self.name else ""
        return name + said + (_SOURCES.get(self.source, "") if self.box is None else "")


@dataclass(frozen=True)
class Style:
    """Sizes in pixels; all follow from that of the picture."""

    unit: int  # height of text
    font: ImageFont.FreeTypeFont = field(repr=False)

    @classmethod
    def for_size(cls, width: int, height: int) -> "Style":
        """Return the sizes for a picture: text of a twenty-sixth of its shorter side."""
        unit = max(9, round(min(width, height) / 26))
        return cls(unit, load_font(unit))

    @property
    def line(self) -> int:
        """Return the width of a box's lines."""
        return max(2, round(self.unit / 5))

    @property
    def bar(self) -> int:
        """Return the height of a bar."""
        return max(2, round(self.unit / 3.5))

    @cached_property
    def bars_size(self) -> tuple[int, int]:
        """Return width and height of the ground of the eight bars."""
        step = self.bar + max(1, self.bar // 2)
        return 5 * self.unit, len(CLASSES) * step + self.bar

    def measure(self, text: str) -> tuple[int, int]:
        """Return width and height of a tag with a text."""
        return round(self.font.getlength(text)) + self.unit, round(1.5 * self.unit)


def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which matplotlib has with it: no system needs to have fonts."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def choose_ink(ground: Colour) -> Colour:
    """Return black or white, whichever is easier to read on a ground."""
    luminance = 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2]
    return INK if luminance > 120 else PAPER


def _darken(colour: Colour) -> Colour:
    red, green, blue = colour
    return red * 3 // 10, green * 3 // 10, blue * 3 // 10


def draw_people(image: Image, people: Sequence[Person], style: Style) -> Image:
    """Return a picture (H, W, 3) with the people drawn in.

    The labels of those who have no face in it stand in its top left corner.
    """
    canvas = Pillow.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    boxes = {k: _round_box(p.box, canvas.size) for k, p in enumerate(people) if p.box}
    for k, box in boxes.items():
        others = [other for j, other in boxes.items() if j != k]
        if people[k].label != IGNORE:
            _draw_bars(canvas, people[k], box, others, style)
    for k, box in boxes.items():
        x0, y0, x1, y1 = box
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=people[k].colour, width=style.line)
    for k, box in boxes.items():
        _draw_tag(draw, people[k], _place_tag(box, people[k], canvas.size, style), style)
    absent = [p for p in people if p.box is None and p.label != IGNORE]
    for row, person in enumerate(absent):
        corner = style.unit // 2, style.unit // 2 + round(1.7 * style.unit) * row
        _draw_tag(draw, person, corner, style)
    return np.asarray(canvas)


def _round_box(box: Box, size: tuple[int, int]) -> Corners:
    """Return the corners of a box within the picture, which has at least a pixel."""
    x, y, w, h = box
    x0 = min(max(0, round(x)), size[0] - 1)
    y0 = min(max(0, round(y)), size[1] - 1)
    return x0, y0, min(max(x0 + 1, round(x + w)), size[0]), min(max(y0 + 1, round(y + h)), size[1])


def _place_tag(
    box: Corners, person: Person, size: tuple[int, int], style: Style
) -> tuple[int, int]:
    """Return where a label goes: above the box, or below it, or into it."""
    x0, y0, _, y1 = box
    width, height = style.measure(person.text)
    top = next((y for y in (y0 - height, y1) if 0 <= y <= size[1] - height), y0)
    return max(0, min(x0, size[0] - width)), top


def _draw_tag(
    draw: ImageDraw.ImageDraw, person: Person, corner: tuple[int, int], style: Style
) -> None:
    x, y = corner
    width, height = style.measure(person.text)
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=person.colour)
    draw.text(
        (x + style.unit // 2, y + height / 2), person.text, choose_ink(person.colour), style.font,
        anchor="lm",
    )  # fmt: skip


def _draw_bars(
    canvas: Pillow.Image, person: Person, box: Corners, others: Sequence[Corners], style: Style
) -> None:
    """Draw a bar for each class, from the first above to the last below, beside the box."""
    width, height = style.bars_size
    x, y = _place_bars(box, others, canvas.size, style)
    veil = Pillow.new("L", (width, height), _VEIL)
    canvas.paste(INK, (x, y, x + width, y + height), veil)
    draw, pad = ImageDraw.Draw(canvas), style.bar
    step = (height - pad) // len(CLASSES)
    left, whole = x + pad, width - 2 * pad
    for k, colour in enumerate(COLOURS):
        top, bottom = y + pad + k * step, y + pad + k * step + style.bar - 1
        # A dark rail as long as a probability of 1 shows which classes there are.
        draw.rectangle((left, top, left + whole - 1, bottom), fill=_darken(colour))
        length = round(float(person.probabilities[k]) * whole)
        if length:
            draw.rectangle((left, top, left + length - 1, bottom), fill=colour)


def _place_bars(
    box: Corners, others: Sequence[Corners], size: tuple[int, int], style: Style
) -> tuple[int, int]:
    """Return where bars go: right or left of the box, where they hide nobody, or into it."""
    width, height = style.bars_size
    x0, y0, x1, _ = box
    top = max(0, min(y0, size[1] - height))
    for left in _list_sides(x0, x1, width, style.line):
        there = (left, top, left + width, top + height)
        if left >= 0 and left + width <= size[0] and not any(_overlap(there, o) for o in others):
            return left, top
    return max(0, min(x1, size[0]) - width), top


def _list_sides(x0: int, x1: int, width: int, gap: int) -> Iterator[int]:
    yield x1 + gap
    yield x0 - gap - width


def _overlap(a: Corners, b: Corners) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
