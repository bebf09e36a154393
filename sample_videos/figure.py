"""The shape of a person: at rest, and with a face that is posed."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from makehuman import Body, Floats, read_body, read_shape, read_units
from people import Person, Weights

EYES_AT = np.array((7.28, 1.15))  # y, z of everybody's eyes
LEFT_EYE, RIGHT_EYE = slice(14598, 14670), slice(14670, 14742)  # vertices
PIVOT = np.array((0.0, 6.75, 0.35))  # what the head turns about
DEFAULT_SHAPE = "averagemuscle-averageweight"


@dataclass(frozen=True)
class Turn:
    """Where a head points, or eyes, degrees: down, to the left, to the right shoulder."""

    nod: float = 0.0
    shake: float = 0.0
    tilt: float = 0.0


def ease(low: float, high: float, x: Floats) -> Floats:
    """Return the smooth step from 0 at `low` to 1 at `high`."""
    part = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(part * part * (3 - 2 * part))


def rotate(turn: Turn) -> Floats:
    """Return the rotation (3, 3) of a turn: tilt first, then nod, then shake."""
    (a, b, c), (s, t, u) = (
        f(np.radians((turn.nod, turn.shake, turn.tilt))) for f in (np.cos, np.sin)
    )
    nod = np.array(((1, 0, 0), (0, a, -s), (0, s, a)))
    shake = np.array(((b, 0, t), (0, 1, 0), (-t, 0, b)))
    tilt = np.array(((c, -u, 0), (u, c, 0), (0, 0, 1)))
    return np.asarray(shake @ nod @ tilt)


def shape_person(data: Path, body: Body, person: Person) -> Floats:
    """Return the vertices (N, 3) of a person at rest, with the eyes at `EYES_AT`."""
    shaped, count = body.vertices.copy(), len(body.vertices)
    for age, share in (("young", 1 - person.age), ("old", person.age)):
        for name in (
            f"{person.origin}-{person.gender}-{age}",
            f"universal-{person.gender}-{age}-{DEFAULT_SHAPE}",
        ):
            shaped += share * read_shape(data, f"macrodetails/{name}", count)
    for name, weight in person.shapes.items():
        shaped += weight * read_shape(data, name, count)
    shaped[:, 1:] += EYES_AT - shaped[LEFT_EYE, 1:].mean(0)
    return shaped


load_body, load_units = cache(read_body), cache(read_units)


class Figure:
    """A person's vertices."""

    def __init__(self, data: Path, person: Person) -> None:
        self.body = load_body(data)
        self.rest = shape_person(data, self.body, person)
        self._units = load_units(data, len(self.rest))
        height = self.rest[:, 1] + 0.35 * (1 - ease(0.1, 0.6, self.rest[:, 2]))
        self._neck = ease(5.6, 6.6, height)  # how much a vertex turns with the head

    def bend(self, weights: Weights) -> Floats:
        """Return how far (N, 3) face units move the vertices of a head that is not turned."""
        offsets = np.zeros_like(self.rest)
        for unit, weight in weights.items():
            offsets += weight * self._units[unit]
        return offsets

    def pose(self, offsets: Floats, turn: Turn) -> Floats:
        """Return the vertices (N, 3) with their offsets, the head turned."""
        moved = self.rest + offsets
        turned = (moved - PIVOT) @ rotate(turn).T + PIVOT
        return np.asarray(moved + self._neck[:, None] * (turned - moved))
