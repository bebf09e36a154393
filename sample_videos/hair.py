"""Hair and brows as strands: where they grow on a head, and which way they are combed."""

from dataclasses import dataclass

import numpy as np
from figure import ease
from makehuman import Floats, Ints
from mathutils import Vector
from mathutils.bvhtree import BVHTree
from mathutils.kdtree import KDTree
from people import Person

SCALP_STRANDS = 9_000
BROW_STRANDS = 200  # on each side
# The hairline from the side: a height for each depth (decimetres), round the ears.
HAIRLINE_Z = (-1.0, -0.2, 0.3, 0.62, 0.95, 1.25, 1.6)
HAIRLINE_Y = (6.40, 6.55, 7.05, 7.40, 7.80, 7.97, 8.0)
KNOT = np.array((0.0, 7.6, -1.3))  # where tied hair is combed to
# A brow from the nose outwards: offsets from the middle of the eye, and half its height.
BROW_AT = (0.0, 0.2, 0.6, 1.0)
BROW_X = (-0.17, -0.08, 0.11, 0.28)
BROW_Y = (0.140, 0.160, 0.178, 0.125)
BROW_WIDE = (0.016, 0.024, 0.018, 0.004)


@dataclass(frozen=True)
class Strands:
    """Hairs at rest. Those of a brow move with the skin, those of the scalp with the head."""

    points: Floats  # (S, K, 3), from the root to the tip
    radius: float
    holders: Ints | None = None  # (S, 3): the vertices of the skin that are nearest to the root
    shares: Floats | None = None  # (S, 3): their parts in the movement of the root

    def move(self, offsets: Floats) -> Floats:
        """Return the points when the vertices of the skin are moved by offsets (N, 3)."""
        if self.holders is None or self.shares is None:
            return self.points
        shift: Floats = (offsets[self.holders] * self.shares[..., None]).sum(1)
        return self.points + shift[:, None]


def mark_scalp(points: Floats) -> Floats:
    """Return how much (0..1) hair grows at points (N, 3)."""
    line = np.interp(points[:, 2], HAIRLINE_Z, HAIRLINE_Y)
    return ease(-0.05, 0.06, points[:, 1] - line)


class Surface:
    """The head at rest, without its ears, to find points on it."""

    def __init__(self, vertices: Floats, quads: Ints) -> None:
        self.vertices, self.quads = vertices, quads
        self._tree = BVHTree.FromPolygons(vertices.tolist(), quads.tolist())
        used = np.unique(quads)
        self._near = KDTree(len(used))
        for k in used.tolist():
            self._near.insert(vertices[k], k)
        self._near.balance()

    def find_nearest(self, points: Floats) -> tuple[Floats, Floats]:
        """Return the nearest places on the skin and their normals, (N, 3) each."""
        found = [self._tree.find_nearest(Vector(p))[:2] for p in points.tolist()]
        return np.array([p for p, _ in found]), np.array([n for _, n in found])

    def look_from_front(self, points: Floats) -> tuple[Floats, Floats]:
        """Return the places of the skin at x, y (N, 2) that face the viewer, with normals."""
        back = Vector((0, 0, -1))
        found = [self._tree.ray_cast(Vector((x, y, 5)), back)[:2] for x, y in points.tolist()]
        return np.array([p for p, _ in found]), np.array([n for _, n in found])

    def hold(self, points: Floats) -> tuple[Ints, Floats]:
        """Return the three nearest vertices of each point and their shares by nearness, (N, 3)."""
        found = [self._near.find_n(p, 3) for p in points.tolist()]
        near = np.array([[1 / (away + 1e-4) for _, _, away in three] for three in found])
        holders = np.array([[k for _, k, _ in three] for three in found])
        return holders, near / near.sum(1, keepdims=True)


def normalise(vectors: Floats) -> Floats:
    """Return vectors (N, 3) of length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def flatten(vectors: Floats, normals: Floats, share: float = 1.0) -> Floats:
    """Take away a share of what points out of the skin."""
    return vectors - share * (vectors * normals).sum(1, keepdims=True) * normals


def grow_brows(surface: Surface, eye: Floats, thickness: float) -> Strands:
    """Return the brows of a head whose left eye is at `eye`."""
    random = np.random.default_rng(1)
    at = random.uniform(0, 1, 2 * BROW_STRANDS)
    side = np.repeat((1.0, -1.0), BROW_STRANDS)
    wide = thickness * np.interp(at, BROW_AT, BROW_WIDE) * random.uniform(-1, 1, len(at))
    x = eye[0] + np.interp(at, BROW_AT, BROW_X) + random.normal(0, 0.004, len(at))
    y = eye[1] + np.interp(at, BROW_AT, BROW_Y) + wide
    roots, normals = surface.look_from_front(np.column_stack((side * x, y)))
    comb = np.column_stack((side * (0.6 + 0.5 * at), 0.7 - 1.1 * at, 0 * at))
    comb = normalise(flatten(comb + random.normal(0, 0.1, comb.shape), normals, 0.9))
    length = random.uniform(0.06, 0.10, len(at))[:, None]
    steps = [roots + comb * length * k + normals * (0.02 * k * (1 - k) + 0.010)
             for k in np.linspace(0, 1, 4)]  # fmt: skip
    return Strands(np.stack(steps, 1), 0.0034, *surface.hold(roots))


def _choose_roots(surface: Surface, random: np.random.Generator) -> Floats:
    """Return places on the scalp (S, 3), evenly spread."""
    corners = surface.vertices[surface.quads]  # (Q, 4, 3)
    middle = corners.mean(1)
    diagonals = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    weight = np.linalg.norm(np.cross(*diagonals), axis=1) * mark_scalp(middle)
    weight[middle[:, 1] < 7.25] = 0  # nothing sticks out at the ears and the neck
    chosen = random.choice(len(weight), SCALP_STRANDS, p=weight / weight.sum())
    shares = random.dirichlet(np.ones(4), SCALP_STRANDS)
    return np.asarray((corners[chosen] * shares[..., None]).sum(1))


def grow_hair(surface: Surface, person: Person) -> Strands:
    """Return the hair of a head, combed back to a knot, or short."""
    random = np.random.default_rng(2)
    points = _choose_roots(surface, random)
    tied, path = person.style == "tied", [points]
    steps = 7 if tied else 3
    length = (
        random.uniform(0.9, 1.4, len(points)) if tied else random.uniform(0.08, 0.2, len(points))
    )
    length *= 0.25 + 0.75 * ease(6.9, 7.7, points[:, 1])  # shorter at the neck and the temples
    lift = random.uniform(0.01, 0.09, len(points))
    for step in range(1, steps + 1):
        _, normals = surface.find_nearest(points)
        comb = KNOT - points if tied else np.array((0.0, 0.25, -0.6)) + 0.4 * normals
        comb = flatten(normalise(comb), normals, 1.0 if tied else 0.65)
        comb = normalise(comb + random.normal(0, 0.05 if tied else 0.12, comb.shape))
        points = points + comb * (length / steps)[:, None]
        places, normals = surface.find_nearest(points)
        height = ((points - places) * normals).sum(1)
        wanted = lift * min(1.0, step / 2) if tied else np.maximum(height, 0.01)
        points = points + normals * (wanted - height)[:, None]
        path.append(points)
    return Strands(np.stack(path, 1), 0.009)
