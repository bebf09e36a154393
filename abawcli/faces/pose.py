"""How a head is held, as far as five landmarks tell: roll and yaw, and which way is up.

Pitch is not among it: a long nose and a head that is lowered look alike in five points.
"""

import math

import numpy as np

from abawcli.config import UPRIGHT_DEGREES
from abawcli.faces.detect import Floats

# Eyes, nose, corners of the mouth of a mean head: x to the right, y down, z towards the viewer,
# in any unit. Of the depth of a nose depends how large a yaw is, not its sign.
_HEAD = np.array(
    [[-31.0, -33, -26], [31, -33, -26], [0, 0, 0], [-25, 31, -22], [25, 31, -22]], np.float64
)
_FIT = np.linalg.pinv(_HEAD - _HEAD.mean(axis=0))  # (3, 5)


def find_roll(landmarks: Floats) -> float:
    """Return by how many degrees, -180..180, a face is turned clockwise in the picture.

    That is the way from between the eyes to the middle of the mouth (landmarks (5, 2)); 0 is
    upright, and so are landmarks that are all in one point.
    """
    (ax, ay), (bx, by), _, (cx, cy), (dx, dy) = landmarks.tolist()
    return math.degrees(math.atan2(ax + bx - cx - dx, cy + dy - ay - by))


def count_quarters(landmarks: Floats) -> int:
    """Return how many quarter turns counterclockwise, 0 to 3, bring a face upright.

    Faces in ordinary pose stay as they are: a turn begins at `UPRIGHT_DEGREES`.
    """
    roll = find_roll(landmarks)
    return 0 if not abs(roll) >= UPRIGHT_DEGREES else round(roll / 90) % 4


def find_yaw(landmarks: Floats) -> float:
    """Return by how many degrees, -90..90, a face looks to the right of the picture.

    The mean head is turned, scaled and moved to the landmarks (5, 2), without perspective; right
    means the head's own, which is turned by its roll.
    """
    roll = math.radians(find_roll(landmarks))
    x, y, z = (_FIT @ landmarks @ (math.cos(roll), math.sin(roll))).tolist()  # across, in the head
    length = math.sqrt(x * x + y * y + z * z)
    return math.degrees(math.asin(z / length)) if length > 0 else 0.0
