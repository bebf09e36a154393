"""Motion of a face image: it turns, nods, blinks, and its mouth follows the audio.

One image is warped by a few smooth displacement fields, so that a face keeps its identity while it
moves. Face images are cropped alike, so that eyes and mouth are near the same places in all.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from sequences import FPS, Floats, draw_drift

Image = NDArray[np.uint8]
Maps = NDArray[np.float32]

SIDE = 64  # pixels of an animated face
EYES, MOUTH = ((0.31, 0.39), (0.69, 0.39)), (0.5, 0.74)  # x, y as a share of the side
TURN, NOD, LID, JAW = 0.05, 0.035, 0.075, 0.06  # largest displacements, likewise
BLINK_EVERY_S = (2.0, 6.0)
BLINK = (0.5, 1.0, 1.0, 0.6, 0.2)  # how far the eyes are closed in the frames of a blink
LOUD = 90  # percentile of the level of speech at which the mouth is fully open


@lru_cache(maxsize=1)
def list_fields() -> Maps:
    """Return the displacements (4, SIDE, SIDE, 2) of turning, nodding, lids and jaw, as x, y."""
    y, x = (np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) + 0.5) / SIDE

    def bump(at: tuple[float, float], width: float, height: float) -> Maps:
        squares = ((x - at[0]) / width) ** 2 + ((y - at[1]) / height) ** 2
        return np.asarray(np.exp(-squares), np.float32)

    middle, none = bump((0.5, 0.5), 0.4, 0.45), np.zeros_like(x)
    lids = sum(bump((eye[0], eye[1] - 0.02), 0.12, 0.05) for eye in EYES)
    jaw = bump((MOUTH[0], MOUTH[1] + 0.12), 0.22, 0.14)
    fields = [
        (TURN * middle, none),
        (none, NOD * middle),
        (none, LID * lids),
        (none, JAW * jaw),
    ]
    return SIDE * np.array(fields, np.float32).transpose(0, 2, 3, 1)


def plan_motion(voice: NDArray[np.bool_], level: Floats, random: Generator) -> Maps:
    """Return the strength (T, 4) of each displacement in each frame.

    Args:
        voice: (T,) frames in which this person speaks.
        level: (T,) of the audio.
        random: random number generator.
    """
    frames = len(voice)
    motion = np.zeros((frames, 4), np.float32)
    for column in range(2):
        motion[:, column] = draw_drift(frames, random)
    at = random.uniform(0, BLINK_EVERY_S[1])
    while (start := round(at * FPS)) < frames:
        closed = BLINK[: frames - start]
        motion[start : start + len(closed), 2] = closed
        at += random.uniform(*BLINK_EVERY_S)
    if voice.any():
        opening = level / max(float(np.percentile(level[voice], LOUD)), 1e-6)
        opening = np.convolve(opening, np.full(3, 1 / 3), "same")
        motion[:, 3] = np.where(voice, opening.clip(0, 1), 0)
    return motion


def animate(image: Image, strength: Maps) -> Image:
    """Return a face image (SIDE, SIDE) displaced by the strength (4,) of each field."""
    moved = np.tensordot(strength, list_fields(), 1)  # (SIDE, SIDE, 2)
    place = np.arange(SIDE, dtype=np.float32)
    return np.asarray(
        cv2.remap(
            image, place[None] - moved[..., 0], place[:, None] - moved[..., 1],
            cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        )
    )  # fmt: skip
