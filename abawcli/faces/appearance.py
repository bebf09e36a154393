"""The appearance of a face, without a network: edges and shading of the aligned face.

It identifies faces within one recording. It does not identify a person in other light or after
years, for which there is InsightFace.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from abawcli.faces.detect import Face, Floats, Image

ALIGNED_SIDE = 112
# Positions of eyes, nose and corners of the mouth that ArcFace networks expect, of 112 pixels.
_LANDMARKS = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
_SMALLEST = 24  # pixels of a face; in smaller ones, landmarks are too coarse to compare faces
_SPREAD = 0.1  # of the face's side; landmarks that are closer to each other cannot be aligned
_EDGES_SIDE, _CELL, _ANGLES = 64, 8, 9  # pixels of the picture and of a cell; usual for HOG
_CELLS = _EDGES_SIDE // _CELL
_SHADING_SIDE = 24  # pixels of the face without hair and background
_INNER = slice(16, 112), slice(8, 104)  # of an aligned face: brow to chin
_CLIP = 0.2  # limit of the values of a block, so that none dominates (Lowe 2004)
_FLAT = 2.0  # standard deviation of brightness, of 255, below which a face is blank


def align_face(image: Image, landmarks: Floats) -> Image:
    """Return the face (112, 112, 3) of a picture (H, W, 3), aligned by its landmarks (5, 2).

    The landmarks are mapped to the positions that ArcFace networks expect.
    """
    # Least squares of a rotation and scaling (a, b) and a translation (x, y).
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
    """Return the appearance vector of a face in a picture (H, W, 3).

    It consists of histograms of oriented gradients and of the brightness from brow to chin, in
    equal shares, and does not depend on brightness and contrast. The dot product of two vectors is
    the similarity of two faces, at most 1; for one person in one recording it is rarely below 0.75.

    Returns:
        (2340,) of length 1; all NaN if the face is too small or blank, or its landmarks coincide.
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
    appearance = np.concatenate([_standardise(part) for part in parts])
    return np.asarray(appearance / np.sqrt(2), np.float32)


def _standardise(values: Floats) -> Floats:
    """Return values (N,) scaled to mean 0 and length 1, (N,)."""
    values = values - values.mean()
    return np.asarray(values / (np.linalg.norm(values) + 1e-9), np.float32)


def _measure_edges(grey: Floats) -> Floats:
    """Return histograms of oriented gradients of (64, 64): 7x7 blocks of 2x2 cells, 9 angles."""
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
    """Return the largest similarity between two sets of appearance vectors, (N, D) and (M, D).

    It is NaN if no pair is comparable.
    """
    similarity = one @ other.T
    return float(np.nanmax(similarity)) if not np.isnan(similarity).all() else float("nan")
