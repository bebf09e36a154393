"""Rendered pictures of faces, each made once.

A picture is a PNG with opacity in a folder, under its look's name. What is there is not made again.
Only `render_looks` needs Blender, and only where a picture is missing.
"""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from clips import Look
from figure import Turn
from numpy.typing import NDArray
from people import EXPRESSIONS, PEOPLE, Weights, both

SPEECH: Weights = {"jawOpen": 0.15}  # how far the loudest sound opens the mouth
# Where the head points with an expression.
TURNS = {
    "Neutral": Turn(),
    "Happiness": Turn(-2, 5, 1.5),
    "Surprise": Turn(-3, -3, 0),
    "Sadness": Turn(5, -5, -2),
    "Anger": Turn(4, 4, 0),
}
LIDS = ("eyeWide", "eyeSquint", "eyeBlink")
PRESSED = ("mouthPress",)


def weigh_units(look: Look) -> dict[str, float]:
    """Return the weights of the face units of a look."""
    rest = PEOPLE[look.person].rest
    weights = dict(rest if look.expression == "Neutral" else EXPRESSIONS[look.expression])
    gone = LIDS * look.blinks + PRESSED * look.speaks
    weights = {unit: w for unit, w in weights.items() if not unit.startswith(gone or "-")}
    if look.blinks:
        weights |= both("eyeBlink", 1.0)
    if look.speaks:
        weights |= {unit: weights.get(unit, 0) + w for unit, w in SPEECH.items()}
    return weights


def render_looks(looks: Iterable[Look], data: Path, folder: Path) -> None:
    """Render the looks that are not in the folder yet, the expressions themselves first.

    Args:
        looks: faces to be rendered.
        data: the folder with MakeHuman's data (`mpfb2` and `faceunits01`).
        folder: where the pictures are.
    """
    missing = [look for look in set(looks) if not (folder / f"{look.name}.png").exists()]
    missing.sort(key=lambda look: (look.speaks or look.blinks, look.name))
    if not missing:
        return
    from head import Head  # these need Blender
    from stage import render_picture, set_stage

    folder.mkdir(parents=True, exist_ok=True)
    person = ""
    for number, look in enumerate(missing, 1):
        if look.person != person:
            person = look.person
            set_stage()
            head = Head(data, PEOPLE[person])
        turn = TURNS[look.expression]
        # The eyes keep to the camera, more or less.
        head.pose(weigh_units(look), turn, Turn(-0.7 * turn.nod, -0.9 * turn.shake))
        render_picture(folder / f"{look.name}.png")
        print(f"rendered {number} of {len(missing)}: {look.name}", flush=True)


def read_picture(folder: Path, look: Look) -> NDArray[np.uint8]:
    """Return a rendered picture: red, green, blue and opacity, (H, W, 4)."""
    raw = np.frombuffer((folder / f"{look.name}.png").read_bytes(), np.uint8)
    image = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA), dtype=np.uint8)
