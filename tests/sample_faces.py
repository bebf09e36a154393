"""Pictures of rendered people, for tests that need a face which the detector finds."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

FACES = Path(__file__).parent / "faces"


def read_face(person: str, side: int) -> NDArray[np.uint8]:
    """Return somebody's head and shoulders before a plain wall, (side, side, 3) RGB."""
    with Image.open(FACES / f"{person}.jpg") as image:
        rgb = np.asarray(image.convert("RGB"))
    return np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
