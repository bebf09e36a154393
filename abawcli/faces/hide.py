"""Faces made unrecognisable: their detection in every frame, and the blur."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from abawcli.config import Detection, Rendering
from abawcli.faces.detect import Box, Detector, Image, enlarge_small, load_detector, scale_faces
from abawcli.faces.track import Picture
from abawcli.progress import Progress

Boxes = NDArray[np.float64]  # (N, 4): x, y, w, h in pixels


@dataclass(frozen=True)
class Detections:
    """The time and box of each face that was detected in a video."""

    time_s: NDArray[np.float64]  # (N,), ascending
    boxes: Boxes

    def find_around(self, time_s: float, reach_s: float) -> Boxes:
        """Return the boxes (N, 4) detected at most `reach_s` before or after a time."""
        first = np.searchsorted(self.time_s, time_s - reach_s, "left")
        last = np.searchsorted(self.time_s, time_s + reach_s, "right")
        return self.boxes[first:last]


def load_sensitive_detector() -> Detector:
    """Return the detector that works everywhere, set to miss little."""
    config = replace(
        Detection(), long_side=Rendering.hidden_long_side, min_score=Rendering.hidden_score
    )
    return load_detector("retinaface", config)


def detect_everywhere(
    frames: Iterable[Picture], detector: Detector, count: int, progress: Progress
) -> Detections:
    """Detect faces in every frame of a video of `count` frames."""
    seen = array("d")
    for frame in frames:
        image = frame.rgb(detector.config.long_side)
        enlarged = enlarge_small(image, detector.config.small_side)
        (faces,) = detector.detect([enlarged])
        for face in scale_faces(faces, max(frame.size) / max(enlarged.shape[:2])):
            seen.extend((frame.time_s, *face.box))
        progress(frame.frame, count, "faces")
    rows = np.frombuffer(seen).reshape(-1, 5)
    return Detections(rows[:, 0], rows[:, 1:])


def join_boxes(boxes: Boxes) -> list[Box]:
    """Return boxes that do not overlap and together cover all boxes (N, 4)."""
    joined: list[Box] = []
    for x, y, w, h in boxes.tolist():
        box = (x, y, x + w, y + h)
        while touching := next((other for other in joined if _overlap(box, other)), None):
            joined.remove(touching)
            box = (*map(min, box[:2], touching[:2]), *map(max, box[2:], touching[2:]))
        joined.append(box)
    return [(x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in joined]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def hide_faces(image: Image, boxes: Boxes) -> Image:
    """Return a copy of a picture (H, W, 3) in which the faces in boxes (N, 4) are pixelated.

    Each face becomes the mean colours of at most `hidden_blocks` by `hidden_blocks` squares.
    """
    hidden = image.copy()
    for box in join_boxes(_widen(boxes, Rendering.hidden_margin)):
        _pixelate(hidden, box)
    return hidden


def _widen(boxes: Boxes, margin: float) -> Boxes:
    """Return boxes (N, 4), enlarged on each side by a share of their width and height."""
    corner, size = boxes[:, :2], boxes[:, 2:]
    return np.hstack([corner - margin * size, (1 + 2 * margin) * size])


def _pixelate(image: Image, box: Box) -> None:
    """Replace the pixels in a box by the means of squares; the box may exceed the picture."""
    x, y, w, h = box
    x0, y0 = max(0, int(np.floor(x))), max(0, int(np.floor(y)))
    region = image[y0 : max(y0, int(np.ceil(y + h))), x0 : max(x0, int(np.ceil(x + w)))]
    height, width = region.shape[:2]
    if height and width:
        side = max(w, h) / Rendering.hidden_blocks
        count = max(1, int(width / side)), max(1, int(height / side))
        small = cv2.resize(region, count, interpolation=cv2.INTER_AREA)
        region[:] = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
