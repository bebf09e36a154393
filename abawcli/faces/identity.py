"""Whether two faces over time are one person: by appearance, or by embeddings of InsightFace.

Each person who is followed has a template of how he looks, and memories are compared. It costs
next to nothing to see a face again; what does cost is put off until there is something to compare.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import cv2
import numpy as np

from abawcli.config import Tracking
from abawcli.errors import CheckpointError
from abawcli.faces.appearance import align_face, compare_appearances, describe_face
from abawcli.faces.crop import square_around
from abawcli.faces.detect import (
    Face,
    Floats,
    Image,
    choose_providers,
    find_pack_folder,
    session_options,
)


class AppearanceTemplate(Protocol):
    """How one person looks."""

    def update(self, image: Image, face: Face, whole: Callable[[], Image]) -> None:
        """Take note of a face in a picture (H, W, 3), of which `whole` returns the frame."""

    def compare(self, other: Self) -> float:
        """Return how much alike two people look, at most 1."""


def _is_kept(seen: int) -> bool:
    """Tell which faces a template keeps: the first, second, fourth, eighth, and so on."""
    return seen & (seen - 1) == 0


class Identity(Protocol):
    """A way to tell people apart. `name` and `sha256` go into the provenance."""

    name: str
    sha256: str | None  # of its weights, if it has any
    min_similarity: float  # from which on two memories are of one person

    def begin_template(self) -> Any:
        """Return an empty AppearanceTemplate, to be compared with others of this object."""


class Appearance:
    """What the face looks like, and the colours of it and what is around it: hair, clothes, wall.

    Both have to agree: people in one room have its colours in common, and a face of a few pixels
    may look like somebody else's.
    """

    name = "appearance"
    sha256: str | None = None

    def __init__(
        self,
        min_similarity: float = Tracking.same_appearance,
        colours: float = Tracking.same_colours,
    ) -> None:
        """Take what makes two people the same: by the looks of the face, and by colours."""
        self.min_similarity, self.colours = min_similarity, colours

    def begin_template(self) -> "_FaceTemplate":
        """Return a template of nothing."""
        return _FaceTemplate(self.colours)


_BINS = (4, 12, 12)  # of L, a, b: colour counts for more than light


class _FaceTemplate:
    """The looks of a few faces, and a running mean of how often each colour occurs."""

    def __init__(self, same_colours: float) -> None:
        self.same_colours = same_colours
        self.seen = 0
        self.looks: list[Floats] = []
        self.mean = np.zeros(int(np.prod(_BINS)), np.float32)

    def update(self, image: Image, face: Face, whole: Callable[[], Image]) -> None:
        self.seen += 1
        if _is_kept(self.seen):
            self.looks.append(describe_face(image, face))
        share = np.float32(1 / min(self.seen, 30))
        self.mean = self.mean + share * (_measure_colours(image, face) - self.mean)

    def compare(self, other: Self) -> float:
        if float(np.sqrt(self.mean * other.mean).sum()) < self.same_colours:
            return -1.0
        alike = compare_appearances(np.array(self.looks), np.array(other.looks))
        return -1.0 if np.isnan(alike) else alike


def _measure_colours(image: Image, face: Face) -> Floats:
    """Return how often each colour occurs in and around a face; the sum is 1."""
    x, y, side = square_around(face.box, 1.5)
    height, width = image.shape[:2]
    x0, y0 = min(max(0, int(x)), width - 1), min(max(0, int(y)), height - 1)
    region = image[y0 : max(y0 + 1, int(y + side)), x0 : max(x0 + 1, int(x + side))]
    # Skin, hair and walls lie in the middle of the scales: finer bins there, none beyond.
    lab = np.clip(cv2.cvtColor(region, cv2.COLOR_RGB2LAB), 64, 191)
    counts = cv2.calcHist([lab], [0, 1, 2], None, list(_BINS), [64, 192] * 3).ravel()
    return np.asarray(counts / counts.sum(), np.float32)


class Embeddings:
    """The recognition network of an InsightFace model pack that the user has put on the disk."""

    name = "insightface"

    def __init__(
        self, path: str | Path, min_similarity: float = Tracking.same_embedding, threads: int = 0
    ) -> None:
        """Load the network; `threads` 0 means as many as there are cores.

        Raises:
            CheckpointError: it cannot be read, or is another network.
        """
        path = Path(path)
        from insightface.model_zoo import get_model

        self.min_similarity = min_similarity
        self.sha256: str | None = hashlib.sha256(path.read_bytes()).hexdigest()
        try:
            self._model: Any = get_model(
                str(path), providers=choose_providers(), sess_options=session_options(threads)
            )
        except Exception as error:  # ONNX Runtime's own have no common root of use
            raise CheckpointError(f"{path} is no network of InsightFace: {error}") from error
        if getattr(self._model, "taskname", "") != "recognition":
            raise CheckpointError(f"{path} does not recognise faces; get the pack buffalo_l anew")

    def begin_template(self) -> "_EmbeddingTemplate":
        """Return a template without faces."""
        return _EmbeddingTemplate(self.embed)

    def embed(self, faces: Sequence[Image]) -> Floats:
        """Return embeddings (N, D) of length 1 of aligned RGB faces (112, 112, 3)."""
        found = self._model.get_feat([np.ascontiguousarray(face[..., ::-1]) for face in faces])
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


class _EmbeddingTemplate:
    """The mean of the embeddings of a few faces.

    The network sees them when memories are compared for the first time.
    """

    def __init__(self, embed: Callable[[Sequence[Image]], Floats]) -> None:
        self.embed = embed
        self.seen = 0
        self.total = np.zeros(1, np.float32)
        self.waiting: list[Image] = []

    def update(self, image: Image, face: Face, whole: Callable[[], Image]) -> None:
        self.seen += 1
        if _is_kept(self.seen):
            frame = whole()
            factor = max(frame.shape[:2]) / max(image.shape[:2])
            self.waiting.append(align_face(frame, np.float32(factor) * face.landmarks))

    def compare(self, other: Self) -> float:
        a, b = self._recall(), other._recall()
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    def _recall(self) -> Floats:
        if self.waiting:
            self.total = self.total + self.embed(self.waiting).sum(axis=0)
            self.waiting.clear()
        return self.total


def load_identity(config: Tracking | None = None, threads: int = 0) -> Identity:
    """Return the best there is: embeddings if the pack buffalo_l is on the disk, or appearance.

    Raises:
        CheckpointError: the pack's network is damaged.
    """
    config = config or Tracking()
    path = find_pack_folder() / "w600k_r50.onnx"
    if path.is_file():
        return Embeddings(path, config.same_embedding, threads)
    return Appearance(config.same_appearance, config.same_colours)
