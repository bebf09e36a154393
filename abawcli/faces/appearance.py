"""What a face looks like, without a network: its edges and its shading, once it is aligned.

It tells whether the face of one moment is that of another in the same recording. It does not know
a person in another light or years later: for that there is InsightFace.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from abawcli.faces.detect import Face, Floats, Image

ALIGNED_SIDE = 112
# Where the networks of ArcFace expect eyes, nose and corners of the mouth, in pixels of 112.
_LANDMARKS = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
_SMALLEST = 24  # pixels of a face; below, landmarks are too coarse for two looks to agree
_SPREAD = 0.1  # of the face's side; landmarks nearer to each other show no face to align
_EDGES_SIDE, _CELL, _ANGLES = 64, 8, 9  # pixels of the picture and of a cell; the usual of HOG
_CELLS = _EDGES_SIDE // _CELL
_SHADING_SIDE = 24  # pixels: the face without hair and background, coarse
_INNER = slice(16, 112), slice(8, 104)  # of an aligned face: brow to chin
_CLIP = 0.2  # of a block's edges: none outweighs the others (Lowe 2004)
_FLAT = 2.0  # mean change of brightness, of 255, below which there is nothing to see


def align_face(image: Image, landmarks: Floats) -> Image:
    """Return the face (112, 112, 3) whose landmarks (5, 2) are turned to where ArcFace has them."""
    # Turned, scaled and moved by a, b, x, y so that the squares of what is left are least.
    points = np.asarray(landmarks, np.float64)
    one, none = np.ones(5), np.zeros(5)
    rows = np.vstack(
        [
            np.column_stack([points[:, 0], -points[:, 1], one, none]),
            np.column_stack([points[:, 1], points[:, 0], none, one]),
        ]
    )
    a, b, x, y = np.linalg.lstsq(rows, _LANDMARKS.T.ravel(), rcond=None)[0]
    move = np.array([[a, -b, x], [b, a, y]])
    return np.asarray(cv2.warpAffine(image, move, (ALIGNED_SIDE, ALIGNED_SIDE)), np.uint8)


def describe_face(image: Image, face: Face) -> Floats:
    """Return what a face of a picture (H, W, 3) looks like.

    Half of it are histograms of oriented gradients, the other half the brightness of brow to
    chin. Light and contrast do not count. The product of two such vectors says how much alike two
    faces are, at most 1: seldom less than 0.75 for one person in one recording.

    Returns:
        (2340,) of length 1; all NaN, which is like nothing, of a face that is too small, blank, or
        has its landmarks in one point.
    """
    side = max(face.box[2:])
    if side < _SMALLEST or np.ptp(face.landmarks, axis=0).max() < _SPREAD * side:
        return np.full(_WIDTH, np.nan, np.float32)
    grey = np.asarray(cv2.cvtColor(align_face(image, face.landmarks), cv2.COLOR_RGB2GRAY), np.uint8)
    if grey[_INNER].std() < _FLAT:
        return np.full(_WIDTH, np.nan, np.float32)
    edges = cv2.resize(grey, (_EDGES_SIDE, _EDGES_SIDE), interpolation=cv2.INTER_AREA)
    size = (_SHADING_SIDE, _SHADING_SIDE)
    shading = cv2.resize(grey[_INNER], size, interpolation=cv2.INTER_AREA).astype(np.float32)
    parts = _measure_edges(edges.astype(np.float32)), shading.ravel()
    look = np.concatenate([_standardise(part) for part in parts])
    return np.asarray(look / np.sqrt(2), np.float32)


def _standardise(values: Floats) -> Floats:
    """Return values with the mean 0 and the length 1."""
    values = values - values.mean()
    return np.asarray(values / (np.linalg.norm(values) + 1e-9), np.float32)


def _measure_edges(grey: Floats) -> Floats:
    """Return histograms of oriented gradients (1764,): 7x7 blocks of 2x2 cells of 9 angles."""
    across, down = (cv2.Sobel(grey, -1, *axis, ksize=1) for axis in ((1, 0), (0, 1)))
    strength = np.hypot(across, down)
    angle = np.arctan2(down, across) % np.pi * (_ANGLES / np.pi)
    low = angle.astype(np.intp)
    share = angle - low
    cell = np.arange(_EDGES_SIDE) // _CELL
    first = (cell[:, None] * _CELLS + cell) * _ANGLES  # of each pixel's cell
    counts = np.zeros(_CELLS * _CELLS * _ANGLES)
    for step, weight in ((0, 1 - share), (1, share)):
        index = first + (low + step) % _ANGLES
        counts += np.bincount(index.ravel(), (weight * strength).ravel(), len(counts))
    cells = counts.reshape(_CELLS, _CELLS, _ANGLES)
    blocks = np.concatenate([cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]], 2)
    for _ in range(2):
        blocks = np.minimum(blocks / (np.linalg.norm(blocks, axis=2, keepdims=True) + 1e-3), _CLIP)
    return np.asarray(blocks.ravel(), np.float32)


_WIDTH = (_CELLS - 1) ** 2 * 4 * _ANGLES + _SHADING_SIDE**2


def compare_appearances(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return how much alike the most alike of two sets of looks (N, D) and (M, D) are, or NaN."""
    alike = one @ other.T
    return float(np.nanmax(alike)) if not np.isnan(alike).all() else float("nan")
