"""Face quality: sharpness, head pose, and a combination of both with size."""

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
    """A frame that can be tracked and cropped; `media.frame.Frame` is one."""


ShownT = TypeVar("ShownT", bound=Shown)


def rate_faces(
    tracked: Iterable[tuple[ShownT, FrameFaces]],
) -> Iterator[tuple[ShownT, FrameFaces]]:
    """Yield frames with the quality of each face in them.

    Sharpness is measured where a face is detected, and used until the next detection, because in
    between only an interpolated position is known.
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

    `face_quality` is the product of size / 48 and sharpness / 0.46, each at most 1, the cosine of
    the yaw, and the cosine of the roll that remains after quarter turns. `landmarks` are (5, 2).
    """
    config = config or FaceQuality()
    yaw, roll = find_yaw(landmarks), find_roll(landmarks)
    size = min(1.0, max(box[2:]) / config.side)
    left = (roll + 45) % 90 - 45
    pose = math.cos(math.radians(yaw)) * math.cos(math.radians(left))
    return sharpness, yaw, roll, size * min(1.0, sharpness / config.sharpness) * pose


def measure_sharpness(image: Image, side: int) -> float:
    """Return the sharpness of a picture (H, W, 3), 0 without any detail.

    It is the standard deviation of the Laplacian over that of the brightness, after scaling a
    larger picture down to a longer side of `side` pixels, the input size of the network.
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
    """Return a warning if most faces are of poor quality, or None.

    `side` (N,) are the longer sides of their boxes in pixels, `sharpness` (N,) may be NaN for faces
    that are not counted.
    """
    limits = FaceQuality()
    side, sharpness = np.asarray(side), np.asarray(sharpness)
    known = ~np.isnan(sharpness)
    poor = int((known & ((side < limits.side) | (sharpness < limits.sharpness))).sum())
    if poor <= limits.poor_share * known.sum():
        return None
    return (
        f"{poor} of {known.sum()} faces are smaller than {limits.side} pixels or less sharp than "
        "the face encoder's training images; their labels are less certain (face_quality)"
    )


def _cut_box(frame: Cuttable, box: Box) -> Image:
    """Return the pixels (H, W, 3) of a face's box within the frame, at least one."""
    width, height = frame.size
    x, y, w, h = box
    x0, y0 = min(max(0, int(x)), width - 1), min(max(0, int(y)), height - 1)
    x1, y1 = min(width, max(x0 + 1, int(x + w))), min(height, max(y0 + 1, int(y + h)))
    return frame.region_rgb(x0, y0, x1, y1)
