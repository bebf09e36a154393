"""One decoded frame and its pixels, with orientation, colours and aspect as displayed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from abawcli.media.pixels import Image, Region, can_cut, region_to_rgb, to_rgb


def _read_matrix(native: av.VideoFrame) -> NDArray[np.float64] | None:
    """Return the numbers (9,) of a frame's display matrix, or None if it has none.

    Raises:
        ValueError: PyAV 18 does not know a kind of side data, such as Exif in a JPEG.
    """
    side_data = cast(Mapping[str, bytes], native.side_data)
    if "DISPLAYMATRIX" not in side_data:
        return None
    return np.frombuffer(side_data["DISPLAYMATRIX"], np.int32)[:9].astype(np.float64)


def read_angle(native: av.VideoFrame) -> int:
    """Return the degrees by which a frame's display matrix rotates it counterclockwise.

    PyAV cuts them to whole degrees, so that 45 may become 44.
    """
    try:
        matrix = _read_matrix(native)
    except ValueError:
        return native.rotation % 360
    if matrix is None:
        return 0
    a, b, _, c, d = matrix[:5]
    angle = math.degrees(math.atan2(b * math.hypot(a, c), a * math.hypot(b, d)))
    return round(-angle) % 360


@dataclass(frozen=True)
class Orientation:
    """The transformation from stored to displayed pixels: transpose first, then flip."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, native: av.VideoFrame) -> "Orientation":
        """Return the orientation of a frame's display matrix, rounded to quarter turns."""
        try:
            matrix = _read_matrix(native)
        except ValueError:  # then only the angle is known, and mirroring is lost
            return cls.turned(round(native.rotation / 90) % 4)
        if matrix is None:
            return cls()
        a, b, _, c, d = matrix[:5]  # a stored point (x, y) is shown at (a x + c y, b x + d y)
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, flip_x=bool(c < 0), flip_y=bool(b < 0))
        return cls(False, flip_x=bool(a < 0), flip_y=bool(d < 0))

    @classmethod
    def turned(cls, quarters: int) -> "Orientation":
        """Return the rotation by 0 to 3 quarter turns counterclockwise."""
        return cls(quarters % 2 == 1, flip_x=quarters >= 2, flip_y=quarters in (1, 2))

    @classmethod
    def of_exif(cls, value: int) -> "Orientation":
        """Return the orientation of EXIF's values 1 to 8; other values are the identity."""
        transpose, flip_x, flip_y = 5 <= value <= 8, value in (2, 3, 6, 7), value in (3, 4, 7, 8)
        return cls(transpose, flip_x, flip_y)

    def then(self, after: "Orientation") -> "Orientation":
        """Return the orientation that applies this one and then `after`."""
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
        """Return stored pixels (H, W, 3) as displayed: (H, W, 3), or (W, H, 3).

        Nothing is copied where nothing changes.
        """
        if not (self.transpose or self.flip_x or self.flip_y):
            return pixels
        if self.transpose:
            pixels = pixels.swapaxes(0, 1)
        return np.ascontiguousarray(
            pixels[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        )

    def find_stored(self, region: Region, size: tuple[int, int]) -> Region:
        """Return the stored region of a region of the displayed frame of `size` (width, height)."""
        x0, y0, x1, y1 = region
        if self.flip_x:
            x0, x1 = size[0] - x1, size[0] - x0
        if self.flip_y:
            y0, y1 = size[1] - y1, size[1] - y0
        return (y0, x0, y1, x1) if self.transpose else (x0, y0, x1, y1)


@dataclass
class Frame:
    """One decoded frame. Its pixels are converted to RGB on request only."""

    frame: int  # number, from 1
    time_s: float
    native: av.VideoFrame = field(repr=False)
    orientation: Orientation = Orientation()  # how the stored picture is to be shown
    pixel_aspect: Fraction = Fraction(1)  # width of a stored pixel over its height

    @property
    def _upright(self) -> tuple[int, int]:
        """Return width and height in square pixels, before the orientation is applied."""
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
        """Return the pixels (H, W, 3) as RGB; the whole picture is converted once and cached.

        With `long_side`, a larger picture is scaled down so that its longer side has that many
        pixels.
        """
        width, height = self._upright
        if long_side is None or long_side >= max(width, height):
            return self._whole
        scale = long_side / max(width, height)
        return self.orientation.show(
            to_rgb(self.native, (max(1, round(width * scale)), max(1, round(height * scale))))
        )

    def region_rgb(self, x0: int, y0: int, x1: int, y1: int) -> Image:
        """Return `rgb()[y0:y1, x0:x1]` (y1 - y0, x1 - x0, 3); if possible, only this is converted.

        Raises:
            ValueError: the region is empty or exceeds the displayed frame.
        """
        width, height = self.size
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(f"({x0}, {y0}, {x1}, {y1}) is no region of {width}x{height} pixels")
        if self.pixel_aspect != 1 or not can_cut(self.native):
            return self._whole[y0:y1, x0:x1]
        stored = self.orientation.find_stored((x0, y0, x1, y1), self.size)
        return self.orientation.show(region_to_rgb(self.native, stored))
