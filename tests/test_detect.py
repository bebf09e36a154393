"""Detectors: against the reference implementation, on odd input, and without their weights."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from abawcli.config import Detection
from abawcli.errors import CheckpointError, UsageError
from abawcli.faces.crop import crop_square
from abawcli.faces.detect import (
    DETECTORS,
    Face,
    choose_providers,
    enlarge_small,
    find_pack,
    load_detector,
    scale_faces,
)
from abawcli.faces.track import track_faces


@pytest.fixture(scope="module")
def group() -> np.ndarray:
    """A photograph of six people, which comes with insightface; 384 pixels wide."""
    data = (files("insightface") / "data" / "images" / "t1.jpg").read_bytes()
    read = cv2.imdecode(np.frombuffer(data, np.uint8), 1)
    assert read is not None
    image = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
    return cv2.resize(image, (384, 266), interpolation=cv2.INTER_AREA)


def test_retinaface_agrees_with_its_own_package(group: np.ndarray) -> None:
    import retinaface

    faces = load_detector("retinaface", Detection(min_score=0.3, nms_iou=0.4), threads=1).detect(
        [group]
    )
    reference = retinaface.detect_faces(group, score_threshold=0.3, nms_threshold=0.4)
    assert len(faces[0]) == len(reference) >= 6
    for ours, theirs in zip(faces[0], reference, strict=True):
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)
        assert ours.box == pytest.approx(
            (theirs.x, theirs.y, theirs.width, theirs.height), abs=1.01
        )
        points = [(p.x, p.y) for p in theirs.landmarks]
        assert np.abs(ours.landmarks - points).max() <= 1.01


@dataclass
class Still:
    """A picture as tracking sees it."""

    picture: np.ndarray
    frame: int = 1
    time_s: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.shape[1], self.picture.shape[0]

    def rgb(self, long_side: int | None = None) -> np.ndarray:
        return self.picture


def test_faces_that_fill_small_pictures_are_found_where_they_are(group: np.ndarray) -> None:
    detector = load_detector("retinaface", threads=1)
    (people,) = detector.detect([group])
    small = [crop_square(group, face.box, 1.0, 48) for face in people]
    as_stored = sum(bool(faces) and faces[0].score >= 0.9 for faces in detector.detect(small))
    assert as_stored < len(people)
    for picture in small:
        ((_, tracked),) = track_faces([Still(picture)], detector)
        (face,) = tracked.faces
        x, y, w, h = face.box
        assert (x + w / 2, y + h / 2) == pytest.approx((24, 24), abs=4)
        assert 36 < max(w, h) < 58


@pytest.mark.parametrize(("size", "large"), [((48, 32), (320, 213)), ((319, 1), (320, 1))])
def test_small_pictures_are_enlarged_to_the_limit(size, large) -> None:
    grey = np.full((size[1], size[0], 3), 90, np.uint8)
    enlarged = enlarge_small(grey, Detection.small_side)
    assert enlarged.shape == (large[1], large[0], 3) and (enlarged == 90).all()


def test_pictures_from_the_limit_on_stay_as_they_are() -> None:
    picture = np.zeros((200, Detection.small_side, 3), np.uint8)
    assert enlarge_small(picture, Detection.small_side) is picture


def test_retinaface_finds_six_people_in_any_batch(group: np.ndarray) -> None:
    detector = load_detector("retinaface", threads=1)
    mirrored = np.ascontiguousarray(group[:, ::-1])
    batch = detector.detect([group, mirrored, np.zeros_like(group)])
    assert [len(faces) for faces in batch] == [6, 6, 0]
    for image, faces in zip([group, mirrored], batch, strict=False):
        (alone,) = detector.detect([image])
        assert [face.box for face in faces] == [pytest.approx(face.box, abs=1e-2) for face in alone]
    assert all(face.landmarks.shape == (5, 2) for face in batch[0])
    assert [face.score for face in batch[0]] == sorted((f.score for f in batch[0]), reverse=True)
    for face in batch[0]:
        left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
        assert left_eye[0] < nose[0] + 3 < right_eye[0] + 6 and left_mouth[0] < right_mouth[0]
        assert left_eye[1] < nose[1] < left_mouth[1]


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (33, 47), (31, 32)])
def test_retinaface_takes_any_size(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    assert load_detector("retinaface", threads=1).detect([image, image]) == [[], []]


def test_no_pictures_give_nothing() -> None:
    assert load_detector("retinaface", threads=1).detect([]) == []


def test_scale_faces() -> None:
    face = Face((1.0, 2.0, 3.0, 4.0), 0.9, np.ones((5, 2), np.float32))
    (scaled,) = scale_faces([face], 2.5)
    assert scaled.box == (2.5, 5.0, 7.5, 10.0) and scaled.score == 0.9
    assert (scaled.landmarks == 2.5).all() and scaled.landmarks.dtype == np.float32


def test_cuda_comes_first_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    have = ["TensorrtExecutionProvider", "CPUExecutionProvider", "CUDAExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: have)
    assert choose_providers() == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: have[:2])
    assert choose_providers() == ["CPUExecutionProvider"]


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(
        UsageError, match="unknown detector 'mtcnn'; choose one of retinaface, insight"
    ):
        load_detector("mtcnn")
    assert list(DETECTORS) == ["retinaface", "insightface"]


def test_a_missing_pack_names_command_folder_and_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    with pytest.raises(CheckpointError) as caught:
        load_detector("insightface")
    message = str(caught.value)
    assert f"{tmp_path}/models/buffalo_l/det_10g.onnx" in message and "\n" not in message
    assert f"insightface-cli model.download buffalo_l --root {tmp_path}" in message
    assert "non-commercial research only" in message
    monkeypatch.delenv("INSIGHTFACE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(CheckpointError, match="home/.insightface/models/buffalo_l/det_10g.onnx"):
        find_pack()


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "models" / "buffalo_l" / "det_10g.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a network")
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    return path


def test_a_damaged_pack_is_refused_in_one_line(pack: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{pack} is not a detector of InsightFace"):
        load_detector("insightface")


class FakeSCRFD:
    """Answers as insightface's SCRFD does: x0, y0, x1, y1, score and landmarks."""

    def prepare(self, ctx_id: int, **settings: float) -> None:
        self.settings = settings

    def detect(self, image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        self.image, self.size = image, size
        boxes = np.array([[10, 20, 40, 60, 0.9]], np.float32)
        return boxes, np.full((1, 5, 2), 7, np.float32)


def test_scrfd_runs_on_bgr_in_whole_cells(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = FakeSCRFD(), {}

    def get_model(name: str, **settings: Any) -> FakeSCRFD:
        asked.update(settings, name=name)
        return model

    monkeypatch.setattr("insightface.model_zoo.get_model", get_model)
    detector = load_detector("insightface", Detection(min_score=0.55, nms_iou=0.35), threads=1)
    image = np.zeros((70, 100, 3), np.uint8)
    image[..., 0] = 200
    ((face,), _) = detector.detect([image, image])
    assert asked["name"] == str(pack) and asked["providers"] == choose_providers()
    assert asked["sess_options"].intra_op_num_threads == 1
    assert model.settings == {"det_thresh": 0.55, "nms_thresh": 0.35}
    assert model.size == (128, 96) and model.image[0, 0].tolist() == [0, 0, 200]
    assert face.box == (10.0, 20.0, 30.0, 40.0) and face.score == pytest.approx(0.9)
    assert (face.landmarks == 7).all()
