"""A person's head and shoulders in Blender, with a face that can be posed."""

from pathlib import Path
from typing import Any

import bpy
import numpy as np
from figure import EYES_AT, LEFT_EYE, PIVOT, RIGHT_EYE, Figure, Turn, ease, rotate
from hair import Strands, Surface, grow_brows, grow_hair, mark_scalp
from makehuman import Body, Floats, Ints, read_mask
from materials import make_cloth, make_eye, make_plain, make_skin
from mathutils import Matrix
from people import Person, Weights

NECKLINE = np.array((0.0, 6.0, 0.1))  # clothes end on a ball around the neck
NECKLINE_RADIUS = 0.84
LOWEST = 3.6  # nothing below is made


def paint_skin(data: Path, body: Body, at: Floats, person: Person) -> Floats:
    """Return the colour (N, 3) of the skin: redder lips, cheeks and nose, a shaven beard."""
    base = np.array(person.skin)
    man = person.gender == "male"

    def blob(x: float, y: float, z: float, radius: float) -> Floats:
        away = np.column_stack((np.abs(at[:, 0]), at[:, 1:])) - (x, EYES_AT[0] + y, z)
        return np.asarray(np.exp(-((away / radius) ** 2).sum(1)))

    lips, ears = (read_mask(data, name, body) for name in ("lips", "ears"))
    beard = ease(0.25, 0.5, EYES_AT[0] - 0.3 - at[:, 1] + 0.25 * np.abs(at[:, 0]))
    beard = 0.2 * man * beard * ease(5.8, 6.25, at[:, 1]) * ease(0.3, 0.9, at[:, 2])
    layers: list[tuple[Floats, Floats]] = [
        (0.55 * blob(0.42, -0.42, 1.25, 0.27), base * (1.08, 0.72, 0.68)),
        (0.5 * blob(0, -0.42, 1.6, 0.17), base * (1.08, 0.72, 0.68)),
        (0.5 * ears, base * (1.08, 0.72, 0.68)),
        (0.25 * read_mask(data, "eyelids", body), base * (0.8, 0.6, 0.55)),
        (beard * (1 - lips), base * (0.1, 0.2, 0.3)),
        (0.8 * lips, base * ((0.9, 0.66, 0.64) if man else (0.92, 0.5, 0.48))),
        (read_mask(data, "inside-mouth", body), np.array((0.3, 0.06, 0.05))),
        (0.85 * mark_scalp(at) * (1 - ears), np.array(person.hair)),
    ]
    tint = np.tile(base, (len(at), 1))
    for share, colour in layers:
        tint += share[:, None] * (colour - tint)
    return tint


def measure_inside(at: Floats) -> Floats:
    """Return how far (decimetres) vertices (N, 3) are outside of the neckline."""
    return np.asarray(np.linalg.norm(at - NECKLINE, axis=1) - NECKLINE_RADIUS)


class Head:
    """Somebody, made in Blender's scene. `pose` moves all parts."""

    def __init__(self, data: Path, person: Person) -> None:
        self._figure = Figure(data, person)
        self._rest, body = self._figure.rest, self._figure.body
        self._uv = body.uv
        self._meshes: list[tuple[Any, Ints]] = []
        self._add_parts(data, body, person)
        self._eyes = [self._add_eye(which, person) for which in (LEFT_EYE, RIGHT_EYE)]
        self._grow(body, read_mask(data, "ears", body), person)

    def _add_parts(self, data: Path, body: Body, person: Person) -> None:
        """Make skin, clothes, teeth, tongue and lashes."""
        middle = self._rest[body.choose("body")].mean(1)
        inside = measure_inside(self._rest)
        # Skin well below the clothes would show through them.
        bare = (middle[:, 1] > NECKLINE[1]) | (measure_inside(middle) < 0.6)
        seen = bare & (middle[:, 1] > LOWEST)
        tint = paint_skin(data, body, self._rest, person)
        self._skin = self._add_mesh(body.choose("body")[seen], make_skin(), tint=tint)
        tights = body.choose("helper-tights")
        middle = self._rest[tights].mean(1)
        worn = (measure_inside(middle) > -0.3) & (middle[:, 1] > LOWEST) & (middle[:, 1] < 6.2)
        self._add_mesh(tights[worn], make_cloth(person.cloth), inside=inside)
        for part, material in (
            ("helper-upper-teeth", make_plain("teeth", (0.9, 0.85, 0.75), 0.2)),
            ("helper-lower-teeth", make_plain("teeth", (0.9, 0.85, 0.75), 0.2)),
            ("helper-tongue", make_plain("tongue", (0.4, 0.1, 0.09), 0.3)),
        ):
            self._add_mesh(body.choose(part), material)
        lash = make_plain("lash", person.hair, 0.6, 0.2 if person.gender == "male" else 0.5)
        self._add_mesh(body.choose("helper-l-eyelashes", "helper-r-eyelashes"), lash)

    def _add_mesh(self, quads: Ints, material: Any, **attributes: Floats) -> Any:
        """Make an object of quads (Q, 4), with attributes of the vertices, rounded off."""
        used = np.unique(quads)
        mesh = bpy.data.meshes.new("part")
        mesh.from_pydata(self._rest[used].tolist(), [], np.searchsorted(used, quads).tolist())
        layer = mesh.uv_layers.new()
        layer.data.foreach_set("uv", self._uv[quads].astype(np.float32).ravel())
        for name, values in attributes.items():
            chosen = values[used].astype(np.float32)
            if chosen.ndim == 1:
                mesh.attributes.new(name, "FLOAT", "POINT").data.foreach_set("value", chosen)
            else:
                rgba = np.column_stack((chosen, np.ones(len(chosen), np.float32)))
                colour = mesh.color_attributes.new(name, "FLOAT_COLOR", "POINT")
                colour.data.foreach_set("color", rgba.ravel())
        mesh.shade_smooth()
        thing = self._link("part", mesh, material)
        rounding = thing.modifiers.new("rounding", "SUBSURF")
        rounding.levels = rounding.render_levels = 1
        self._meshes.append((thing, used))
        return thing

    def _link(self, name: str, data: Any, material: Any) -> Any:
        """Put data of Blender into the scene."""
        data.materials.append(material)
        thing = bpy.data.objects.new(name, data)
        bpy.context.collection.objects.link(thing)
        return thing

    def _add_eye(self, which: slice, person: Person) -> tuple[Any, Floats]:
        """Make an eyeball; return it with its middle."""
        shell = self._rest[which]
        middle = (shell.max(0) + shell.min(0)) / 2
        radius = float(np.ptp(shell[:, 0]) / 2)
        middle[2] = shell[:, 2].max() - 1.02 * radius
        bpy.ops.mesh.primitive_uv_sphere_add(segments=48, ring_count=48, radius=radius)
        ball = bpy.context.object
        ball.data.shade_smooth()
        ball.data.materials.append(make_eye(person.iris, radius))
        return ball, middle

    def _grow(self, body: Body, ears: Floats, person: Person) -> None:
        """Make hair and brows."""
        quads = body.choose("body")
        head = self._rest[quads, 1].min(1) > 5.8
        surface = Surface(self._rest, quads[head & (ears[quads].max(1) < 0.1)])
        grown = (grow_brows(surface, self._eyes[0][1], person.brow), grow_hair(surface, person))
        self._strands = [(self._add_strands(strands, person), strands) for strands in grown]

    def _add_strands(self, strands: Strands, person: Person) -> Any:
        """Make an object of hairs that get thinner to their tips."""
        count, points, _ = strands.points.shape
        curves = bpy.data.hair_curves.new("hair")
        curves.add_curves([points] * count)
        radius = np.tile(strands.radius * np.linspace(1, 0.3, points), count).astype(np.float32)
        curves.attributes.new("radius", "FLOAT", "POINT").data.foreach_set("value", radius)
        position = curves.attributes["position"].data
        position.foreach_set("vector", strands.points.astype(np.float32).ravel())
        return self._link("hair", curves, make_plain("hair", person.hair, 0.5))

    def pose(self, weights: Weights, turn: Turn, gaze: Turn) -> None:
        """Set the face by weights of face units, turn the head, and turn the eyes in it."""
        offsets = self._figure.bend(weights)
        moved, rotation = self._figure.pose(offsets, turn), rotate(turn)
        for thing, used in self._meshes:
            thing.data.vertices.foreach_set("co", moved[used].astype(np.float32).ravel())
            thing.data.update()
        for ball, middle in self._eyes:
            place = Matrix.Translation(((middle - PIVOT) @ rotation.T + PIVOT).tolist())
            ball.matrix_world = place @ Matrix((rotation @ rotate(gaze)).tolist()).to_4x4()
        about = Matrix.Translation(PIVOT.tolist())
        head = about @ Matrix(rotation.tolist()).to_4x4() @ about.inverted()
        for thing, strands in self._strands:
            thing.matrix_world = head
            if strands.holders is not None:
                points = strands.move(offsets).astype(np.float32)
                thing.data.attributes["position"].data.foreach_set("vector", points.ravel())
                thing.data.update_tag()
