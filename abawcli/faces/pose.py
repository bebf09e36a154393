"""How a head is held, as far as five landmarks tell: roll and yaw, and which way is up.

Pitch is not among it: a long nose and a head that is lowered look alike in five points.
"""

import numpy as np
from numpy.typing import NDArray

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
    across, down = landmarks[3:].mean(axis=0) - landmarks[:2].mean(axis=0)
    return float(np.degrees(np.arctan2(-across, down)))


def count_quarters(landmarks: Floats) -> int:
    """Return how many quarter turns counterclockwise, 0 to 3, bring a face upright.

    Faces in ordinary pose stay as they are: a turn begins at `UPRIGHT_DEGREES`.
    """
    roll = find_roll(landmarks)
    return 0 if not abs(roll) >= UPRIGHT_DEGREES else round(roll / 90) % 4


def find_yaw(landmarks: Floats) -> float:
    """Return by how many degrees, -90..90, a face looks to the right of the picture.

    The mean head is turned, scaled and moved to the landmarks (5, 2), without perspective. The
    picture is turned by the roll before, so that right means the head's own.
    """
    roll = np.radians(find_roll(landmarks))
    turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    points = (landmarks - landmarks.mean(axis=0)) @ turn.T
    left, _, right = np.linalg.svd(_FIT @ points, full_matrices=False)  # (3, 2)
    axes: NDArray[np.float64] = left @ right  # columns: the picture's axes seen from the head
    return float(np.degrees(np.arcsin(np.clip(axes[2, 0], -1, 1))))
