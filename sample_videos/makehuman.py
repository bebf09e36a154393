"""MakeHuman's body, its shapes and its face units, as arrays. The data is CC0 (see README.md).

Coordinates are decimetres: x to the person's left, y up, z out of the face.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Body:
    """The base mesh: all parts share the vertices; a part is a choice of quads."""

    vertices: Floats  # (N, 3)
    quads: Ints  # (Q, 4): vertices of every face
    parts: NDArray[np.str_]  # (Q,): the name of the part that a face belongs to
    uv: Floats  # (N, 2): where a vertex lies in the textures

    def choose(self, *prefixes: str) -> Ints:
        """Return the quads (K, 4) of the parts whose names begin so."""
        chosen = [part.startswith(prefixes) for part in self.parts.tolist()]
        return self.quads[np.asarray(chosen)]


def read_body(data: Path) -> Body:
    """Read the base mesh."""
    vertices, uv, quads, corners, parts, part = [], [], [], [], [], ""
    for line in (data / "mpfb2" / "3dobjs" / "base.obj").read_text().splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in fields[:3]])
        elif kind == "vt":
            uv.append([float(x) for x in fields[:2]])
        elif kind == "g":
            part = fields[0]
        elif kind == "f":
            pairs = [[int(x) - 1 for x in field.split("/")[:2]] for field in fields]
            quads.append([pair[0] for pair in pairs])
            corners.append([pair[1] for pair in pairs])
            parts.append(part)
    faces = np.array(quads)
    at = np.zeros((len(vertices), 2))
    at[faces] = np.array(uv)[np.array(corners)]
    return Body(np.array(vertices), faces, np.array(parts), at)


def read_target(path: Path, count: int) -> Floats:
    """Return the offsets (N, 3) of all vertices that a target file (.target or .gz) holds."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    offsets = np.zeros((count, 3))
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[0] != "#":
            offsets[int(fields[0])] = [float(x) for x in fields[1:]]
    return offsets


def read_shape(data: Path, name: str, count: int) -> Floats:
    """Return the offsets of a body shape, like `head/head-oval`."""
    return read_target(data / "mpfb2" / "targets" / f"{name}.target.gz", count)


def read_units(data: Path, count: int) -> dict[str, Floats]:
    """Return the offsets of every face unit, like `browDownLeft`."""
    folder = data / "faceunits01" / "targets" / "faceunits"
    return {path.stem: read_target(path, count) for path in sorted(folder.glob("*.target"))}


def read_mask(data: Path, name: str, body: Body) -> Floats:
    """Return how much (0..1) every vertex (N,) is of `lips`, `ears`, `eyelids` ..."""
    import cv2

    raw = np.frombuffer((data / "mpfb2" / "textures" / f"mpfb_{name}.jpg").read_bytes(), np.uint8)
    image = cv2.imdecode(raw, cv2.IMREAD_GRAYSCALE)
    height, width = image.shape
    column = np.clip(body.uv[:, 0] * width, 0, width - 1).astype(int)
    row = np.clip((1 - body.uv[:, 1]) * height, 0, height - 1).astype(int)
    return np.asarray(image[row, column] / 255.0)
