"""Square face crops."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def resize_square(image: Image, side: int) -> Image:
    """Bring an image (H, W, 3) to (side, side, 3): area average down, bicubic up."""
    if image.shape[:2] == (side, side):
        return image
    shrink = min(image.shape[:2]) >= side
    method = cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (side, side), interpolation=method), np.uint8)
