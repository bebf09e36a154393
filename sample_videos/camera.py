"""Where a place in front of the camera appears in a rendered picture."""

import numpy as np
from makehuman import Floats

WIDTH, HEIGHT = 384, 320  # pixels of a rendered picture
PIXELS = 86.0  # for a decimetre at the face
MIDDLE_Y = 6.95  # decimetres: the height of the picture's middle, and of the camera
DISTANCE = 16.0  # decimetres from the camera to the middle of the head
FACE_Z = 1.0  # the face is that much nearer
FOCUS = (DISTANCE - FACE_Z) * PIXELS  # focal length in pixels


def project(points: Floats) -> Floats:
    """Return the pixels, x and y (N, 2), of points (N, 3) in decimetres."""
    scale = FOCUS / (DISTANCE - points[:, 2])
    x = WIDTH / 2 + scale * points[:, 0]
    y = HEIGHT / 2 - scale * (points[:, 1] - MIDDLE_Y)
    return np.column_stack((x, y))
