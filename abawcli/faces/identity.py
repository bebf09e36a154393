"""Re-identification of faces, by appearance or by embeddings of InsightFace.

Each track has a template of its appearance, and templates are compared. Updating a template is
cheap; expensive work is delayed until templates are compared.
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
    """The appearance of one person."""

    def update(self, image: Image, face: Face, whole: Callable[[], Image]) -> None:
        """Add a face in a picture (H, W, 3); `whole` returns the frame in full size."""

    def compare(self, other: Self) -> float:
        """Return the similarity to another template, at most 1."""


def _is_stored(seen: int) -> bool:
    """Tell which faces a template stores: the first, second, fourth, eighth, and so on."""
    return seen & (seen - 1) == 0


class Identity(Protocol):
    """A method of re-identification. Its name and sha256 are part of the provenance."""

    name: str
    sha256: str | None  # of its weights, if it has any
    min_similarity: float  # of two templates of one person

    def begin_template(self) -> Any:
        """Return an empty template, which can be compared with others of this object."""

    def describe_faces(self, image: Image, faces: Sequence[Face]) -> Floats:
        """Return the identities (N, D) of faces in a picture (H, W, 3), in full size.

        Each has length 1, so that dot products are similarities, or is NaN: unknown.
        """


class Appearance:
    """Re-identification by the appearance of the face and the colours in and around it.

    Both must be similar: the colours of hair, clothes and walls may be those of other people in one
    room, and a small face may resemble another person's.
    """

    name = "appearance"
    sha256: str | None = None

    def __init__(
        self,
        min_similarity: float = Tracking.same_appearance,
        colours: float = Tracking.same_colours,
    ) -> None:
        """Set the minimum similarity of one person's faces, and that of their colours."""
        self.min_similarity, self.colours = min_similarity, colours

    def begin_template(self) -> "_FaceTemplate":
        """Return an empty template."""
        return _FaceTemplate(self.colours)

    def describe_faces(self, image: Image, faces: Sequence[Face]) -> Floats:
        """Return the appearances (N, 2340) of faces in a picture (H, W, 3)."""
        return np.stack([describe_face(image, face) for face in faces])


_BINS = (4, 12, 12)  # of L, a, b: finer for colour than for brightness


class _FaceTemplate:
    """Appearance vectors of a few faces, and the mean of their colour histograms."""

    def __init__(self, same_colours: float) -> None:
        self.same_colours = same_colours
        self.seen = 0
        self.appearances: list[Floats] = []
        self.mean = np.zeros(int(np.prod(_BINS)), np.float32)

    def update(self, image: Image, face: Face, whole: Callable[[], Image]) -> None:
        self.seen += 1
        if _is_stored(self.seen):
            self.appearances.append(describe_face(image, face))
        share = np.float32(1 / min(self.seen, 30))
        self.mean = self.mean + share * (_measure_colours(image, face) - self.mean)

    def compare(self, other: Self) -> float:
        if float(np.sqrt(self.mean * other.mean).sum()) < self.same_colours:
            return -1.0
        similarity = compare_appearances(np.array(self.appearances), np.array(other.appearances))
        return -1.0 if np.isnan(similarity) else similarity


def _measure_colours(image: Image, face: Face) -> Floats:
    """Return the colour histogram in and around a face of a picture (H, W, 3); its sum is 1."""
    x, y, side = square_around(face.box, 1.5)
    height, width = image.shape[:2]
    x0, y0 = min(max(0, int(x)), width - 1), min(max(0, int(y)), height - 1)
    region = image[y0 : max(y0 + 1, int(y + side)), x0 : max(x0 + 1, int(x + side))]
    # Skin, hair and walls are in the middle of the scales, so bins cover only that range.
    lab = np.clip(cv2.cvtColor(region, cv2.COLOR_RGB2LAB), 64, 191)
    counts = cv2.calcHist([lab], [0, 1, 2], None, list(_BINS), [64, 192] * 3).ravel()
    return np.asarray(counts / counts.sum(), np.float32)


class Embeddings:
    """The recognition network of an InsightFace model pack that the user has installed."""

    name = "insightface"

    def __init__(
        self, path: str | Path, min_similarity: float = Tracking.same_embedding, threads: int = 0
    ) -> None:
        """Load the network; `threads` 0: as many as there are cores.

        Raises:
            CheckpointError: it cannot be read, or is not a recognition network.
        """
        path = Path(path)
        from insightface.model_zoo import get_model

        self.min_similarity = min_similarity
        self.sha256: str | None = hashlib.sha256(path.read_bytes()).hexdigest()
        try:
            self._model: Any = get_model(
                str(path), providers=choose_providers(), sess_options=session_options(threads)
            )
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise CheckpointError(f"{path} is no network of InsightFace: {error}") from error
        if getattr(self._model, "taskname", "") != "recognition":
            raise CheckpointError(f"{path} does not recognise faces; get the pack buffalo_l anew")

    def begin_template(self) -> "_EmbeddingTemplate":
        """Return an empty template."""
        return _EmbeddingTemplate(self.embed)

    def describe_faces(self, image: Image, faces: Sequence[Face]) -> Floats:
        """Return the embeddings (N, D) of faces in a picture (H, W, 3)."""
        return self.embed([align_face(image, face.landmarks) for face in faces])

    def embed(self, faces: Sequence[Image]) -> Floats:
        """Return embeddings (N, D), each of length 1, of N aligned RGB faces (112, 112, 3)."""
        found = self._model.get_feat([np.ascontiguousarray(face[..., ::-1]) for face in faces])
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


class _EmbeddingTemplate:
    """The mean of the embeddings of a few faces.

    Embeddings are computed when templates are compared.
    """

    def __init__(self, embed: Callable[[Sequence[Image]], Floats]) -> None:
        self.embed = embed
        self.seen = 0
        self.total = np.zeros(1, np.float32)
        self.waiting: list[Image] = []

    def update(self, image: Image, face: Face, whole: Callable[[], Image]) -> None:
        self.seen += 1
        if _is_stored(self.seen):
            frame = whole()
            factor = max(frame.shape[:2]) / max(image.shape[:2])
            self.waiting.append(align_face(frame, np.float32(factor) * face.landmarks))

    def compare(self, other: Self) -> float:
        a, b = self._sum_embeddings(), other._sum_embeddings()
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    def _sum_embeddings(self) -> Floats:
        if self.waiting:
            self.total = self.total + self.embed(self.waiting).sum(axis=0)
            self.waiting.clear()
        return self.total


def load_identity(config: Tracking | None = None, threads: int = 0) -> Identity:
    """Return embeddings if the pack buffalo_l is installed, or else appearance.

    Raises:
        CheckpointError: the pack's network is damaged.
    """
    config = config or Tracking()
    path = find_pack_folder() / "w600k_r50.onnx"
    if path.is_file():
        return Embeddings(path, config.same_embedding, threads)
    return Appearance(config.same_appearance, config.same_colours)
