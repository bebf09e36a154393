"""The overlay of a frame: box, label and the eight probabilities of each person."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from abawcli.faces.detect import Box
from abawcli.labels import CLASSES, IGNORE
from abawcli.media.pixels import Image
from abawcli.sources import AUDIO, FILLED
from abawcli.views.palette import CLASS_COLOURS

Colour = tuple[int, int, int]
Corners = tuple[int, int, int, int]  # x0, y0, x1, y1; x1 and y1 are the first pixels outside


def parse_colour(text: str) -> Colour:
    """Return the red, green and blue of #rrggbb."""
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


COLOURS = tuple(map(parse_colour, CLASS_COLOURS))
INK, PAPER, UNLABELLED = (20, 20, 20), (240, 240, 240), (255, 255, 255)
_SMALLEST = 10  # pixels of text that can be read
_FINEST = 3  # pixels from one bar to the next
_VEIL = 190  # of 255, how much the ground of the bars darkens the picture
# The source of a label, where it is not the face in the box.
_SOURCE_NOTES = {AUDIO: " (audio)", FILLED: " (from neighbouring frames)"}


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
        """Return the text beside the box."""
        if self.label == IGNORE:
            label = "no label"
        else:
            label = f"{CLASSES[self.label]} {self.confidence:.2f}"
        name = f"{self.name}: " if self.name else ""
        return name + label + (_SOURCE_NOTES.get(self.source, "") if self.box is None else "")


@dataclass(frozen=True)
class Style:
    """Sizes in pixels; all follow from that of the picture."""

    unit: int  # height of text
    font: ImageFont.FreeTypeFont = field(repr=False)

    @classmethod
    def for_size(cls, width: int, height: int) -> "Style":
        """Return the sizes for a picture: text of a thirtieth of its shorter side."""
        unit = max(_SMALLEST, round(min(width, height) / 30))
        return cls(unit, load_font(unit))

    @property
    def line(self) -> int:
        """Return the width of a box's lines."""
        return max(2, round(self.unit / 5))

    def measure(self, text: str) -> tuple[int, int]:
        """Return width and height of a tag with a text."""
        return round(self.font.getlength(text)) + self.unit, round(1.5 * self.unit)


def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans from matplotlib, so that the system needs no fonts."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def choose_ink(ground: Colour) -> Colour:
    """Return black or white, whichever is easier to read on a background."""
    luminance = 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2]
    return INK if luminance > 120 else PAPER


def draw_people(image: Image, people: Sequence[Person], style: Style) -> Image:
    """Return a picture (H, W, 3) with the people drawn in.

    The labels of people without a face in it are in its top left corner.
    """
    canvas = Pillow.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    layouts = lay_out(people, canvas.size, style)
    for layout in layouts:
        if layout.person.label != IGNORE:
            _draw_bars(canvas, layout.person, layout.bars)
    for layout in layouts:
        x0, y0, x1, y1 = layout.box
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=layout.person.colour, width=style.line)
    for layout in layouts:
        _draw_tag(draw, layout.person, layout.tag, style)
    absent = [p for p in people if p.box is None and p.label != IGNORE]
    for row, person in enumerate(absent):
        x, y = style.unit // 2, style.unit // 2 + round(1.7 * style.unit) * row
        _draw_tag(draw, person, _span(x, y, style.measure(person.text)), style)
    return np.asarray(canvas)


@dataclass(frozen=True)
class PersonLayout:
    """The positions of the box, the bars and the label of a person."""

    person: Person
    box: Corners
    bars: Corners
    tag: Corners


def lay_out(people: Sequence[Person], size: tuple[int, int], style: Style) -> list[PersonLayout]:
    """Return the positions for people with a face in a picture of this width and height.

    Bars and labels cover no other face, bars or label, if there is room beside the box.
    """
    boxes = [(person, _round_box(person.box, size)) for person in people if person.box]
    taken, layouts = [box for _, box in boxes], []
    for person, box in boxes:
        tag = _choose_free(_list_tags(box, style.measure(person.text), size), taken, size)
        taken.append(tag)
        bars = _choose_free(_list_sides(box, style, size), taken, size)
        taken.append(bars)
        layouts.append(PersonLayout(person, box, bars, tag))
    return layouts


def _span(x: int, y: int, size: tuple[int, int]) -> Corners:
    return x, y, x + size[0], y + size[1]


def _round_box(box: Box, size: tuple[int, int]) -> Corners:
    """Return the corners of a box within the picture, which has at least a pixel."""
    x, y, w, h = box
    x0, y0 = _clamp(round(x), size[0] - 1), _clamp(round(y), size[1] - 1)
    return x0, y0, max(x0 + 1, min(round(x + w), size[0])), max(y0 + 1, min(round(y + h), size[1]))


def _clamp(value: int, largest: int) -> int:
    return max(0, min(value, largest))


def _choose_free(
    choices: Sequence[Corners], taken: Sequence[Corners], size: tuple[int, int]
) -> Corners:
    """Return the first choice within the picture that covers no taken area.

    If all of them do, it is the first within the picture; if none is within, the last.
    """
    inside = [
        c for c in choices if min(c[:2]) >= 0 and c[2] <= size[0] and c[3] <= size[1]
    ] or list(choices[-1:])  # fmt: skip
    free = (c for c in inside if not any(_overlap(c, other) for other in taken))
    return next(free, inside[0])


def _overlap(a: Corners, b: Corners) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _list_tags(box: Corners, tag: tuple[int, int], size: tuple[int, int]) -> list[Corners]:
    """Return positions of a label: above and below the box, left- or right-aligned, and in it."""
    x0, y0, x1, y1 = box
    lefts = [_clamp(left, size[0] - tag[0]) for left in (x0, x1 - tag[0])]
    return [_span(left, top, tag) for top in (y0 - tag[1], y1, y0) for left in lefts]


def _list_sides(box: Corners, style: Style, size: tuple[int, int]) -> list[Corners]:
    """Return positions of the bars: right and left of the box, and in it.

    They are not higher than the box of a small face.
    """
    x0, y0, x1, y1 = box
    step = max(_FINEST, min(round(style.unit / 2.4), (y1 - y0) // len(CLASSES)))
    bars = 12 * step, len(CLASSES) * step + step // 3
    top = _clamp(y0, size[1] - bars[1])
    lefts = (x1 + style.line, x0 - style.line - bars[0], _clamp(x1, size[0]) - bars[0])
    return [_span(left, top, bars) for left in lefts]


def _draw_tag(draw: ImageDraw.ImageDraw, person: Person, area: Corners, style: Style) -> None:
    x0, y0, x1, y1 = area
    draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=person.colour)
    ink, middle = choose_ink(person.colour), (x0 + style.unit // 2, (y0 + y1) / 2)
    draw.text(middle, person.text, ink, style.font, anchor="lm")


def _draw_bars(canvas: Pillow.Image, person: Person, area: Corners) -> None:
    """Draw a bar for each class, from the first above to the last below."""
    x0, y0, x1, y1 = area
    canvas.paste(INK, area, Pillow.new("L", (x1 - x0, y1 - y0), _VEIL))
    draw, step = ImageDraw.Draw(canvas), (y1 - y0) // len(CLASSES)
    thick, left, whole = step - step // 3, x0 + step // 3, x1 - x0 - 2 * (step // 3)
    for k, colour in enumerate(COLOURS):
        top = y0 + step // 3 + k * step
        # A dark rail as long as a probability of 1 shows which classes there are.
        draw.rectangle((left, top, left + whole - 1, top + thick - 1), fill=_darken(colour))
        length = round(float(person.probabilities[k]) * whole)
        if length:
            draw.rectangle((left, top, left + length - 1, top + thick - 1), fill=colour)


def _darken(colour: Colour) -> Colour:
    red, green, blue = colour
    return red * 3 // 10, green * 3 // 10, blue * 3 // 10
