"""Faces whose place is known: bright squares, and a detector of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from media_files import Image

from abawcli.config import Detection
from abawcli.faces.detect import Face

BACKGROUND = 30


@dataclass
class BlobDetector:
    """Finds bright rectangles: faces whose place is known."""

    config: Detection = Detection()
    name: str = "blobs"
    sha256: str = "0" * 64

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """Return a face around what is bright in the left and in the right half."""
        return [self._find(image[..., 1]) for image in images]

    def _find(self, image: Image) -> list[Face]:
        half = image.shape[1] // 2
        faces = []
        for offset, part in ((0, image[:, :half]), (half, image[:, half:])):
            rows, columns = np.nonzero(part > 128)
            if len(rows):
                x, y = float(columns.min() + offset), float(rows.min())
                size = float(np.ptp(columns) + 1), float(np.ptp(rows) + 1)
                faces.append(Face((x, y, *size), 0.99, np.zeros((5, 2), np.float32)))
        return faces


def picture(left: int = 0, right: int = 0) -> Image:
    """Return 128x96 pixels with bright squares of the given sides in the two halves."""
    image = np.full((96, 128, 3), BACKGROUND, np.uint8)
    for side, x in ((left, 16), (right, 80)):
        image[24 : 24 + side, x : x + side] = np.linspace(150, 250, max(side, 1))[:side, None, None]
    return image
