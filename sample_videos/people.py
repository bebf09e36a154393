"""Who is to be seen, and what their faces do: looks, and expressions as weights of face units."""

from collections.abc import Mapping
from dataclasses import dataclass

Weights = Mapping[str, float]
Colour = tuple[float, float, float]  # linear red, green, blue


@dataclass(frozen=True)
class Person:
    """What somebody looks like. Shapes are names of MakeHuman's targets with their weights."""

    origin: str  # caucasian, african or asian: a set of targets of MakeHuman
    gender: str  # female or male
    age: float  # 0 young (25 years) to 1 old (90 years)
    skin: Colour
    hair: Colour
    style: str  # of the hair: tied or short
    brow: float  # thickness of the brows, 1 ordinary
    iris: Colour
    cloth: Colour
    shapes: Weights
    rest: Weights  # face units of the neutral face


def both(unit: str, weight: float) -> dict[str, float]:
    """Return a unit on both sides of the face."""
    return {f"{unit}Left": weight, f"{unit}Right": weight}


PEOPLE = {
    "anna": Person(
        origin="caucasian",
        gender="female",
        age=0.12,
        skin=(0.64, 0.34, 0.225),
        hair=(0.050, 0.024, 0.012),
        style="tied",
        brow=1.1,
        iris=(0.10, 0.06, 0.03),
        cloth=(0.10, 0.16, 0.24),
        shapes={"head/head-oval": 0.4},
        rest={**both("browDown", 0.25), **both("eyeSquint", 0.25), **both("eyeBlink", 0.06)},
    ),
    "kofi": Person(
        origin="african",
        gender="male",
        age=0.15,
        skin=(0.17, 0.085, 0.052),
        hair=(0.006, 0.005, 0.004),
        style="short",
        brow=1.2,
        iris=(0.05, 0.025, 0.012),
        cloth=(0.42, 0.36, 0.24),
        shapes={"head/head-square": 0.3},
        rest={**both("browDown", 0.75), **both("eyeSquint", 0.4), **both("mouthPress", 0.2)},
    ),
    "jun": Person(
        origin="asian",
        gender="male",
        age=0.3,
        skin=(0.46, 0.27, 0.18),
        hair=(0.012, 0.009, 0.008),
        style="short",
        brow=1.2,
        iris=(0.06, 0.03, 0.015),
        cloth=(0.16, 0.05, 0.05),
        shapes={},
        rest={**both("browDown", 0.3), **both("mouthSmile", 0.06)},
    ),
}
# Weights above 1 exaggerate a unit; negative ones do the opposite of it.
EXPRESSIONS: dict[str, Weights] = {
    "Happiness": {
        **both("mouthSmile", 1.3),
        **both("cheekSquint", 1.0),
        **both("eyeSquint", 0.45),
        **both("mouthUpperUp", 0.75),
        **both("mouthLowerDown", 0.5),
        "jawOpen": 0.12,
    },
    "Surprise": {
        "browInnerUp": 1.2,
        **both("browOuterUp", 1.2),
        **both("eyeWide", 1.2),
        "jawOpen": 0.6,
    },
    "Sadness": {
        "browInnerUp": 1.6,
        **both("browOuterUp", -0.5),
        **both("mouthFrown", 1.55),
        "mouthShrugLower": 0.9,
        **both("mouthStretch", 0.25),
        **both("eyeSquint", 0.5),
        **both("eyeBlink", 0.2),
    },
    "Anger": {
        **both("browDown", 1.4),
        "browInnerUp": -0.7,
        **both("browOuterUp", 0.35),
        **both("noseSneer", 1.2),
        **both("eyeWide", 0.6),
        **both("mouthPress", 0.8),
        **both("mouthFrown", 0.8),
        "mouthShrugLower": 0.5,
    },
}
