"""Head pose from five landmarks: roll and yaw, and the quarter turns that make a face upright.

Pitch is not estimated: five points do not distinguish a long nose from a lowered head.
"""

import math

import numpy as np

from abawcli.config import UPRIGHT_DEGREES
from abawcli.faces.detect import Floats

# Eyes, nose, corners of the mouth of a mean head: x to the right, y down, z towards the viewer,
# in any unit. The size of a yaw depends on the depth of the nose, its sign does not.
_HEAD = np.array(
    [[-31.0, -33, -26], [31, -33, -26], [0, 0, 0], [-25, 31, -22], [25, 31, -22]], np.float64
)
_FIT = np.linalg.pinv(_HEAD - _HEAD.mean(axis=0))  # (3, 5)


def find_roll(landmarks: Floats) -> float:
    """Return the roll of a face in degrees, -180..180, clockwise in the picture.

    It is the direction from the middle of the eyes to that of the mouth, of landmarks (5, 2). 0 is
    upright, and the result if the landmarks coincide.
    """
    (ax, ay), (bx, by), _, (cx, cy), (dx, dy) = landmarks.tolist()
    return math.degrees(math.atan2(ax + bx - cx - dx, cy + dy - ay - by))


def count_quarters(landmarks: Floats) -> int:
    """Return the quarter turns counterclockwise, 0 to 3, that turn a face upright.

    `landmarks` are (5, 2). A roll below `UPRIGHT_DEGREES` needs no turn.
    """
    roll = find_roll(landmarks)
    return 0 if not abs(roll) >= UPRIGHT_DEGREES else round(roll / 90) % 4


def find_yaw(landmarks: Floats) -> float:
    """Return the yaw of a face in degrees, -90..90, positive to the right of the picture.

    A mean head is rotated, scaled and translated to fit the landmarks (5, 2), without perspective.
    The yaw is relative to the head's own axis, after its roll.
    """
    roll = math.radians(find_roll(landmarks))
    x, y, z = (_FIT @ landmarks @ (math.cos(roll), math.sin(roll))).tolist()  # across, in the head
    length = math.sqrt(x * x + y * y + z * z)
    return math.degrees(math.asin(z / length)) if length > 0 else 0.0
