"""How well a face can be read: its sharpness, how the head is held, and both with size in one."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import ArrayLike

from abawcli.config import FaceQuality
from abawcli.faces.crop import Cuttable
from abawcli.faces.detect import Box, Floats, Image
from abawcli.faces.pose import find_roll, find_yaw
from abawcli.faces.track import FrameFaces, Picture, Quality


class Shown(Picture, Cuttable, Protocol):
    """A frame that was followed and can be cut; `media.video.Frame` is one."""


ShownT = TypeVar("ShownT", bound=Shown)


def rate_faces(
    tracked: Iterable[tuple[ShownT, FrameFaces]],
) -> Iterator[tuple[ShownT, FrameFaces]]:
    """Yield frames with the quality of each face in them.

    Sharpness is measured where a face was detected, and holds until it is detected again: all that
    is known of a face in between is where it should be.
    """
    sharpness: dict[int, float] = {}  # of each subject
    side = FaceQuality().side
    for frame, found in tracked:
        for face in found.faces:
            if face.detected or face.subject not in sharpness:
                sharpness[face.subject] = measure_sharpness(_cut_box(frame, face.box), side)
        faces = [
            replace(face, quality=rate_face(face.box, face.landmarks, sharpness[face.subject]))
            for face in found.faces
        ]
        yield frame, replace(found, faces=faces)


def rate_face(
    box: Box, landmarks: Floats, sharpness: float, config: FaceQuality | None = None
) -> Quality:
    """Return sharpness, yaw, roll and `face_quality` of a face, in the order of `config.QUALITY`.

    `face_quality` is the product of size / 48, sharpness / 0.46, neither counted beyond 1, the
    cosine of the yaw, and the cosine of the roll that quarter turns leave.
    """
    config = config or FaceQuality()
    yaw, roll = find_yaw(landmarks), find_roll(landmarks)
    size = min(1.0, max(box[2:]) / config.side)
    left = (roll + 45) % 90 - 45
    pose = math.cos(math.radians(yaw)) * math.cos(math.radians(left))
    return sharpness, yaw, roll, size * min(1.0, sharpness / config.sharpness) * pose


def measure_sharpness(image: Image, side: int) -> float:
    """Return how sharp a picture (H, W, 3) is: the deviation of its Laplacian over that of itself.

    A longer side of more than `side` pixels is brought down to that, as a network sees it. 0 is
    one without any detail.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = side / max(grey.shape)
    if scale < 1:
        size = [max(1, round(scale * length)) for length in grey.shape[::-1]]
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    contrast, detail = (
        float(cv2.meanStdDev(values)[1][0, 0]) for values in (grey, cv2.Laplacian(grey, cv2.CV_32F))
    )
    return detail / contrast if contrast else 0.0


def explain_poor(side: ArrayLike, sharpness: ArrayLike) -> str | None:
    """Say so where most faces, of these longer sides (N,) and sharpness (N,), are poor.

    Faces whose sharpness is not known, NaN, do not count.
    """
    limits = FaceQuality()
    side, sharpness = np.asarray(side), np.asarray(sharpness)
    known = ~np.isnan(sharpness)
    poor = int((known & ((side < limits.side) | (sharpness < limits.sharpness))).sum())
    if poor <= limits.poor_share * known.sum():
        return None
    return (
        f"{poor} of {known.sum()} faces are smaller than {limits.side} pixels or less sharp than "
        "those that the face encoder learned from; their labels are less sure (face_quality)"
    )


def _cut_box(frame: Cuttable, box: Box) -> Image:
    """Return the pixels of a face's box, as far as it is in the frame, and at least one."""
    width, height = frame.size
    x, y, w, h = box
    x0, y0 = min(max(0, int(x)), width - 1), min(max(0, int(y)), height - 1)
    x1, y1 = min(width, max(x0 + 1, int(x + w))), min(height, max(y0 + 1, int(y + h)))
    return frame.region_rgb(x0, y0, x1, y1)
