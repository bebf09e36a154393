"""Conversion of decoded pictures to RGB: matrix, range, size, and tone mapping of HDR."""

import av
import numpy as np
from numpy.typing import NDArray

from abawcli.media.tone import BT2020, HDR_NAMES, tone_map

Image = NDArray[np.uint8]
Region = tuple[int, int, int, int]  # x0, y0, x1, y1; x1 and y1 are the first pixels outside

PLANAR_420 = {"yuv420p": "u1", "yuvj420p": "u1", "yuv420p10le": "<u2"}  # type of their samples
# Formats whose colours FFmpeg interpolates, with the reach of that in chroma pixels.
INTERPOLATED = {"yuv420p10le": 2}
# AVCOL_SPC_*: RGB, BT.709, unspecified (FFmpeg: BT.601), FCC, BT.601 twice, SMPTE 240M, BT.2020.
# With any other matrix tag the conversion fails.
KNOWN_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})
UNSPECIFIED_MATRIX, RESERVED_MATRIX = 2, 3
BT2020_MATRIX, BT2020_CONSTANT_MATRIX = 9, 10
# Matrices that are derived from the primaries: 12, and 13 with constant luminance.
DERIVED_MATRICES = frozenset({12, 13})
MATRIX_OF_PRIMARIES = {1: 1, 5: 5, 6: 6, 7: 7, BT2020: BT2020_MATRIX}
UNKNOWN_MATRICES = {8: "YCgCo", 11: "Y'D'zD'x", 14: "ICtCp", 15: "IPT", 16: "YCgCo", 17: "YCgCo"}


def find_matrix(native: av.VideoFrame) -> int:
    """Return the matrix for the conversion: the frame's own, or the nearest supported one."""
    matrix = native.colorspace
    if matrix == BT2020_CONSTANT_MATRIX:
        return BT2020_MATRIX
    if matrix in DERIVED_MATRICES:
        return MATRIX_OF_PRIMARIES.get(native.color_primaries, UNSPECIFIED_MATRIX)
    return matrix if matrix in KNOWN_MATRICES else UNSPECIFIED_MATRIX


def explain_colours(native: av.VideoFrame) -> str | None:
    """Return why a frame's colours are converted inexactly; None if they are exact."""
    matrix = native.colorspace
    if matrix in (BT2020_CONSTANT_MATRIX, 13):
        return "constant luminance is not supported: saturated colours are inexact"
    if matrix in UNKNOWN_MATRICES:
        return f"its colour matrix {UNKNOWN_MATRICES[matrix]} is not supported; read as BT.601"
    return None


def describe_hdr(native: av.VideoFrame) -> str | None:
    """Return PQ or HLG; None if the frame is not HDR."""
    return HDR_NAMES.get(native.color_trc)


def to_rgb(native: av.VideoFrame, size: tuple[int, int] | None = None) -> Image:
    """Return the stored pixels as RGB (H, W, 3), scaled to `size` (width, height) if given.

    Matrix and range are those of the frame's tags, by default BT.601 and limited. HDR is
    tone-mapped. FFmpeg uses one thread, because starting several for each frame costs more than it
    saves.
    """
    transfer, primaries = native.color_trc, native.color_primaries
    native.colorspace = find_matrix(native)
    width = size[0] if size else native.width
    rgb = _choose_rgb(transfer in HDR_NAMES, width)
    if size:
        # Scaling the planes first and then converting the fewer pixels takes half the time of
        # doing both at once. Other formats, such as palettes, cannot be scaled directly.
        between = None if native.format.name in PLANAR_420 else rgb
        native = native.reformat(*size, format=between, interpolation="AREA", threads=1)
    pixels = native.reformat(format=rgb, threads=1).to_ndarray()
    if transfer in HDR_NAMES:
        return tone_map(np.asarray(pixels, np.uint16), transfer, primaries)
    return np.asarray(pixels, np.uint8)


def _choose_rgb(hdr: bool, width: int) -> str:
    """Return the format to convert to; FFmpeg's packed 16-bit format is wrong at odd widths."""
    if not hdr:
        return "rgb24"
    return "gbrp16le" if width % 2 else "rgb48le"


def can_cut(native: av.VideoFrame) -> bool:
    """Tell whether the conversion of a region gives the same pixels as that of the whole picture.

    It does not where FFmpeg interpolates colours (odd heights, and odd widths of 10 bits or HDR) or
    converts the two fields of an interlaced picture separately.
    """
    form = native.format.name
    even_width = form in INTERPOLATED or native.color_trc in HDR_NAMES
    odd = native.height % 2 or (even_width and native.width % 2)
    return form in PLANAR_420 and not odd and not native.interlaced_frame


def _plane(frame: av.VideoFrame, index: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return a view (H, W) of a plane."""
    plane = frame.planes[index]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows.view(PLANAR_420[frame.format.name])[:, : plane.width]


def region_to_rgb(native: av.VideoFrame, region: Region) -> Image:
    """Return a region of the stored 4:2:0 picture as RGB (H, W, 3).

    The planes are cut at even pixels, converted and trimmed.
    """
    x0, y0, x1, y1 = region
    margin = INTERPOLATED.get(native.format.name, 0)  # in chroma pixels, as are left and top
    left, top = max(0, x0 // 2 - margin), max(0, y0 // 2 - margin)
    right = min(x1 + x1 % 2 + 2 * margin, native.width)
    bottom = min(y1 + y1 % 2 + 2 * margin, native.height)
    part = av.VideoFrame(right - 2 * left, bottom - 2 * top, native.format.name)
    part.colorspace, part.color_range = native.colorspace, native.color_range
    part.color_trc, part.color_primaries = native.color_trc, native.color_primaries
    for index in range(3):
        target = _plane(part, index)
        x, y = (left, top) if index else (2 * left, 2 * top)
        target[:] = _plane(native, index)[y : y + target.shape[0], x : x + target.shape[1]]
    return to_rgb(part)[y0 - 2 * top : y1 - 2 * top, x0 - 2 * left : x1 - 2 * left]
