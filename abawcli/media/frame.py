"""One decoded frame and its pixels: turned, coloured and shaped as they are displayed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import cast

import av
import numpy as np

from abawcli.media.pixels import Image, Region, can_cut, region_to_rgb, to_rgb


@dataclass(frozen=True)
class Orientation:
    """How stored pixels become displayed ones: transpose first, then flip."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, native: av.VideoFrame) -> "Orientation":
        """Read the display matrix; one that is no quarter turn counts as the nearest."""
        try:
            side_data = cast(Mapping[str, bytes], native.side_data)
        except ValueError:
            # PyAV 18 fails on kinds of side data that it does not know, as Exif in a JPEG, and
            # then tells the angle only; a mirrored picture passes for a turned one.
            return cls.turned(round(native.rotation / 90) % 4)
        if "DISPLAYMATRIX" not in side_data:
            return cls()
        # A stored point (x, y) is shown at (a x + c y, b x + d y).
        a, b, _, c, d = np.frombuffer(side_data["DISPLAYMATRIX"], np.int32)[:5].astype(float)
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, flip_x=bool(c < 0), flip_y=bool(b < 0))
        return cls(False, flip_x=bool(a < 0), flip_y=bool(d < 0))

    @classmethod
    def turned(cls, quarters: int) -> "Orientation":
        """Return the rotation by 0 to 3 quarter turns counterclockwise."""
        return cls(quarters % 2 == 1, flip_x=quarters >= 2, flip_y=quarters in (1, 2))

    @classmethod
    def of_exif(cls, value: int) -> "Orientation":
        """Return what EXIF's orientation, 1 to 8, means; any other value means nothing."""
        transpose, flip_x, flip_y = 5 <= value <= 8, value in (2, 3, 6, 7), value in (3, 4, 7, 8)
        return cls(transpose, flip_x, flip_y)

    def then(self, after: "Orientation") -> "Orientation":
        """Return what `after` makes of a picture that is shown in this orientation."""
        flip_x, flip_y = self.flip_x, self.flip_y
        if after.transpose:
            flip_x, flip_y = flip_y, flip_x
        return Orientation(
            self.transpose ^ after.transpose, flip_x ^ after.flip_x, flip_y ^ after.flip_y
        )

    @property
    def mirrored(self) -> bool:
        """Tell whether left and right are exchanged, after `degrees` of rotation."""
        return self.transpose ^ self.flip_x ^ self.flip_y

    @property
    def degrees(self) -> int:
        """Return the rotation counterclockwise: 0, 90, 180 or 270."""
        return (90 if self.flip_y else 270) if self.transpose else (180 if self.flip_y else 0)

    def show(self, pixels: Image) -> Image:
        """Bring stored pixels (H, W, 3) into the displayed position, contiguous in memory."""
        if self.transpose:
            pixels = pixels.swapaxes(0, 1)
        return np.ascontiguousarray(
            pixels[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        )

    def find_stored(self, box: Region, size: tuple[int, int]) -> Region:
        """Return where a box of the displayed frame, `size` wide and high, is stored."""
        x0, y0, x1, y1 = box
        if self.flip_x:
            x0, x1 = size[0] - x1, size[0] - x0
        if self.flip_y:
            y0, y1 = size[1] - y1, size[1] - y0
        return (y0, x0, y1, x1) if self.transpose else (x0, y0, x1, y1)


@dataclass
class Frame:
    """One decoded frame. Pixels are converted when they are asked for, and no sooner."""

    frame: int  # number, from 1
    time_s: float
    native: av.VideoFrame = field(repr=False)
    orientation: Orientation = Orientation()  # how the stored picture is to be shown
    pixel_aspect: Fraction = Fraction(1)  # width of a stored pixel over its height

    @property
    def _upright(self) -> tuple[int, int]:
        """Return width and height as displayed but for the orientation: its pixels are square."""
        return max(1, round(self.native.width * self.pixel_aspect)), self.native.height

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels as displayed."""
        width, height = self._upright
        return (height, width) if self.orientation.transpose else (width, height)

    @cached_property
    def _whole(self) -> Image:
        size = None if self.pixel_aspect == 1 else self._upright
        return self.orientation.show(to_rgb(self.native, size))

    def rgb(self, long_side: int | None = None) -> Image:
        """Return the pixels (H, W, 3) as RGB; the whole picture is converted once and shared.

        With `long_side`, the picture is scaled down so that its longer side has that many
        pixels; one that is smaller already keeps its size.
        """
        width, height = self._upright
        if long_side is None or long_side >= max(width, height):
            return self._whole
        scale = long_side / max(width, height)
        return self.orientation.show(
            to_rgb(self.native, (max(1, round(width * scale)), max(1, round(height * scale))))
        )

    def region_rgb(self, x0: int, y0: int, x1: int, y1: int) -> Image:
        """Return `rgb()[y0:y1, x0:x1]` at the cost of the region's size where that is possible.

        Raises:
            ValueError: the rectangle is empty or reaches out of the displayed frame.
        """
        width, height = self.size
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(f"({x0}, {y0}, {x1}, {y1}) is no region of {width}x{height} pixels")
        if self.pixel_aspect != 1 or not can_cut(self.native):
            return self._whole[y0:y1, x0:x1]
        stored = self.orientation.find_stored((x0, y0, x1, y1), self.size)
        return self.orientation.show(region_to_rgb(self.native, stored))
