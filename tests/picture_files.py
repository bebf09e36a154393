"""Pictures in files, for tests."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from abawcli.media.video import read_frames


def save(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def read_one(path: Path, rotate: int = 0) -> np.ndarray:
    (frame,) = read_frames(path, rotate)
    assert (frame.frame, frame.time_s) == (1, 0.0)
    assert frame.rgb().shape[:2] == frame.size[::-1]
    return frame.rgb()
