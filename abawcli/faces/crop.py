"""Square face crops, black outside the picture."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from abawcli.config import AREA

LOG = logging.getLogger(__name__)
Image = NDArray[np.uint8]
Doubles = NDArray[np.float64]
BoxLike = Sequence[float] | NDArray[np.floating]
_MARGIN = 2  # pixels around the square that bicubic interpolation uses


def resize_square(image: Image, side: int, resample: str = AREA) -> Image:
    """Resize an image (H, W, 3) to (side, side, 3); `resample` is one of RESAMPLINGS."""
    if image.shape[:2] == (side, side):
        return image
    if resample != AREA:
        whole = PIL.Image.fromarray(image)
        return np.array(whole.resize((side, side), _find_filter(resample)), np.uint8)
    shrink = min(image.shape[:2]) >= side
    method = cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (side, side), interpolation=method), np.uint8)


def read_image(path: str | Path) -> Image | None:
    """Read a picture file as RGB (H, W, 3), with its EXIF orientation; None if that fails.

    OpenCV gets bytes instead of the path, because it crashes on names that are not UTF-8.
    """
    path = Path(path)
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    return None if image is None else np.asarray(image, np.uint8)


def read_square(path: str | Path, side: int, resample: str = AREA) -> Image | None:
    """Read a crop from a file as (side, side, 3); None, with a warning, if it is damaged."""
    (image,) = read_squares([path], side, resample)
    if image is None:
        LOG.warning("%s cannot be read; its frame has no face", path)
    return image


def read_squares(paths: Sequence[str | Path], side: int, resample: str) -> list[Image | None]:
    """Read crops from files as (side, side, 3); None for a damaged one, which the caller reports.

    Nothing is logged, because other processes run this.
    """
    images = map(read_image, paths)
    return [None if image is None else resize_square(image, side, resample) for image in images]


def square_around(box: BoxLike, scale: float) -> tuple[float, float, float]:
    """Return left, top and side of the square of a crop, centred on a box (x, y, w, h)."""
    x, y, w, h = (float(value) for value in box)
    side = scale * max(w, h)
    return x + w / 2 - side / 2, y + h / 2 - side / 2, side


def crop_square(
    image: Image,
    box: BoxLike,
    scale: float,
    side: int | None = None,
    *,
    origin: tuple[int, int] = (0, 0),
    resample: str = AREA,
) -> Image:
    """Return the square crop of a face, `scale` times the longer side of its box, centred.

    Args:
        image: (H, W, 3), the frame, or a part of it that contains the square.
        box: x, y, w, h in pixels of the frame.
        scale: side of the square over the longer side of the box.
        side: pixels of the result; None: as in the frame, rounded, without resampling. Otherwise
            there is one resampling, exact to fractions of a pixel.
        origin: x, y of the image's top left pixel in the frame.
        resample: one of RESAMPLINGS.

    Returns:
        (side, side, 3), black outside the image.
    """
    left, top, extent = square_around(box, scale)
    if side is None:
        side = max(1, round(extent))
        # Rounded in the frame: with an odd origin, halves would be rounded differently.
        column, row = (round(start + (extent - side) / 2) for start in (left, top))
        return _copy(image, column - origin[0], row - origin[1], side)
    left, top = left - origin[0], top - origin[1]
    if resample != AREA:
        return _resample(image, left, top, extent, side=side, resample=resample)
    if extent > side:
        return _shrink(image, left, top, extent, side=side)
    return _enlarge(image, left, top, extent, side=side)


def crop_scales(
    image: Image,
    box: BoxLike,
    scales: Sequence[float],
    side: int | None = None,
    *,
    origin: tuple[int, int] = (0, 0),
    resample: str = AREA,
) -> list[Image]:
    """Return `crop_square` (side, side, 3) of one face at each scale."""
    return [
        crop_square(image, box, scale, side, origin=origin, resample=resample) for scale in scales
    ]


class Cuttable(Protocol):
    """The part of a frame that `crop_frame` needs; `media.frame.Frame` has it."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    def region_rgb(self, x0: int, y0: int, x1: int, y1: int) -> Image:
        """Return the pixels of a region, (y1 - y0, x1 - x0, 3); x1 and y1 are excluded."""


def crop_frame(
    frame: Cuttable,
    box: BoxLike,
    scales: Sequence[float],
    side: int | None = None,
    *,
    quarters: int = 0,
    resample: str = AREA,
) -> list[Image]:
    """Return `crop_scales` of a frame, each (S, S, 3); only their part is converted to RGB.

    The crops are rotated by `quarters` quarter turns counterclockwise; `pose.count_quarters` gives
    those that turn a face upright.
    """
    region = cut_region(frame, box, scales, quarters)
    return crop_region(region, scales, side, resample)


@dataclass(frozen=True)
class Region:
    """The part of a frame that has all crops of a face: all that remains to do is to resize."""

    image: Image  # (h, w, 3), RGB
    origin: tuple[int, int]  # x, y of its top left pixel in the frame
    box: tuple[float, ...]  # x, y, w, h of the face in the frame
    quarters: int  # quarter turns of its crops, counterclockwise


def cut_region(frame: Cuttable, box: BoxLike, scales: Sequence[float], quarters: int = 0) -> Region:
    """Return the part of a frame that `crop_region` needs."""
    width, height = frame.size
    left, top, extent = square_around(box, max(scales))
    left, top, extent = left - _MARGIN, top - _MARGIN, extent + 2 * _MARGIN
    x0, x1 = _clip_range(left, extent, width)
    y0, y1 = _clip_range(top, extent, height)
    whole = tuple(float(value) for value in box)
    return Region(frame.region_rgb(x0, y0, x1, y1), (x0, y0), whole, quarters)


def crop_region(
    region: Region, scales: Sequence[float], side: int | None = None, resample: str = AREA
) -> list[Image]:
    """Return the crops of a region, as `crop_frame` those of its frame, each (S, S, 3)."""
    crops = crop_scales(
        region.image, region.box, scales, side, origin=region.origin, resample=resample
    )
    turns = region.quarters
    return [np.ascontiguousarray(np.rot90(crop, turns)) for crop in crops] if turns else crops


def crop_regions(
    regions: Sequence[Region], scales: Sequence[float], side: int, resample: str
) -> list[Image]:
    """Return the crops of several faces, each (K, S, S, 3) at K scales."""
    return [np.stack(crop_region(region, scales, side, resample)) for region in regions]


def _clip_range(start: float, extent: float, size: int) -> tuple[int, int]:
    """Return first and end of the pixels of 0..size that a range overlaps, at least one."""
    first = min(max(0, floor(start)), size - 1)
    return first, max(first + 1, min(size, ceil(start + extent)))


def _copy(image: Image, left: int, top: int, side: int) -> Image:
    out = np.zeros((side, side, 3), np.uint8)
    height, width = image.shape[:2]
    x0, x1 = np.clip([left, left + side], 0, width)
    y0, y1 = np.clip([top, top + side], 0, height)
    out[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return out


def _shrink(image: Image, left: float, top: float, extent: float, *, side: int) -> Image:
    """Return the exact averages of the image over the areas of the new pixels, (side, side, 3).

    The summed-area table is bilinear within a pixel, so that its interpolation at the edges of the
    new pixels gives exact sums over fractions of pixels. Edges outside the image are moved to its
    border: the area beyond it is black and adds nothing.
    """
    steps = np.linspace(0, extent, side + 1)
    x = np.clip(left + steps, 0, image.shape[1])
    y = np.clip(top + steps, 0, image.shape[0])
    x0, y0 = int(x[0]), int(y[0])
    region = image[y0 : int(np.ceil(y[-1])), x0 : int(np.ceil(x[-1]))]
    if region.size == 0:
        return np.zeros((side, side, 3), np.uint8)
    # Sums are integers: 32 bits, of which the table is half as large, hold those of most regions.
    depth = cv2.CV_32S if region.size * 255 < 3 * 2**31 else cv2.CV_64F
    table = cv2.integral(region, sdepth=depth)  # (h + 1, w + 1, 3)
    rows, row_shares = _neighbours(y - y0, len(region))
    columns, column_shares = _neighbours(x - x0, region.shape[1])
    corners = table.take(rows, axis=0).take(columns, axis=2)  # (2, side + 1, 2, side + 1, 3)
    sums = np.einsum("an,anbmc->nbmc", row_shares, corners)
    sums = np.einsum("bm,nbmc->nmc", column_shares, sums)
    sums = np.diff(np.diff(sums, axis=0), axis=1)
    return np.asarray(np.rint(sums * (side / extent) ** 2), np.uint8)


def _find_filter(resample: str) -> PIL.Image.Resampling:
    """Return Pillow's resampling filter of a name, which antialiases."""
    return PIL.Image.Resampling[resample.upper()]


def _resample(
    image: Image,
    left: float,
    top: float,
    extent: float,
    *,
    side: int,
    resample: str,
) -> Image:
    """Return the square resampled by Pillow, which takes fractions of pixels, (side, side, 3)."""
    column, row = floor(left), floor(top)
    left, top = left - column, top - row
    whole = PIL.Image.fromarray(_copy(image, column, row, ceil(max(left, top) + extent)))
    box = (left, top, left + extent, top + extent)
    return np.array(whole.resize((side, side), _find_filter(resample), box), np.uint8)


def _neighbours(at: Doubles, size: int) -> tuple[NDArray[np.intp], Doubles]:
    """Return the indices (2, N) around positions (N,), up to `size`, and their weights (2, N)."""
    below = np.minimum(at.astype(np.intp), size - 1)
    share = at - below
    return np.stack([below, below + 1]), np.stack([1 - share, share])


def _enlarge(image: Image, left: float, top: float, extent: float, *, side: int) -> Image:
    step = extent / side
    move = np.array([[step, 0, left + (step - 1) / 2], [0, step, top + (step - 1) / 2]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(image, move, (side, side), flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(out, np.uint8)
