"""Pictures of rendered people, for tests that need a face which the detector finds."""

from pathlib import Path

import cv2
import numpy as np
from insightface.utils.face_align import arcface_dst
from numpy.typing import NDArray
from PIL import Image

FACES = Path(__file__).parent / "faces"


def read_face(person: str, side: int) -> NDArray[np.uint8]:
    """Return somebody's head and shoulders before a plain wall, (side, side, 3) RGB."""
    with Image.open(FACES / f"{person}.jpg") as image:
        rgb = np.asarray(image.convert("RGB"))
    return np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def place_landmarks(x: float, y: float, side: float) -> np.ndarray:
    """Return the landmarks of an upright face in a square."""
    return np.asarray(arcface_dst / 112 * side + [x, y], np.float32)
