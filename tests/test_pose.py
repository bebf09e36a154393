"""How heads are held: from landmarks of heads at known angles, and from pictures."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loaded_networks import load_predictor
from media_files import write_media
from sample_faces import read_face

from abawcli.config import UPRIGHT_DEGREES, ContactSheet, Cropping, Detection
from abawcli.faces.detect import Face, load_detector, scale_faces
from abawcli.faces.pose import count_quarters, find_roll, find_yaw
from abawcli.formats.features import read_features
from abawcli.stages.crop import crop_video
from abawcli.stages.extract import extract_features
from abawcli.stages.predict import Predictor
from abawcli.views.sheet import make_sheet

# Another head than the one that is fitted: narrower, with a longer face and nose.
HEAD = np.array([[-29.0, -36, -28], [29, -36, -28], [0, 0, 0], [-23, 33, -25], [23, 33, -25]])
LANDMARKS = np.array([[60, 60], [100, 60], [80, 85], [65, 105], [95, 105]], np.float32)


def turn_points(degrees: float) -> np.ndarray:
    """Return the matrix that turns points in a picture clockwise."""
    a = np.radians(degrees)
    return np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


def show_head(yaw: float, pitch: float, roll: float, size: float) -> np.ndarray:
    """Return the landmarks (5, 2) of a head that looks to the right by `yaw`, up by `pitch`."""
    y, p = np.radians([yaw, pitch])
    sideways = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    upwards = [[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]]
    shown = (HEAD @ np.array(upwards).T @ np.array(sideways).T)[:, :2]
    return (size * shown @ turn_points(roll) + [200, 150]).astype(np.float32)


@given(st.floats(-180, 180), st.floats(0.2, 20))
def test_roll_is_the_turn_in_the_picture(degrees: float, size: float) -> None:
    roll = find_roll((size * LANDMARKS @ turn_points(degrees) + 30).astype(np.float32))
    assert abs((roll - degrees + 180) % 360 - 180) < 0.1


@given(st.floats(-180, 180))
def test_ordinary_faces_stay_as_they_are_and_others_come_nearer_to_upright(degrees: float) -> None:
    quarters = count_quarters((LANDMARKS @ turn_points(degrees)).astype(np.float32))
    left = abs((degrees - 90 * quarters + 180) % 360 - 180)
    if abs(degrees) < UPRIGHT_DEGREES - 0.1:
        assert quarters == 0
    elif abs(degrees) > UPRIGHT_DEGREES + 0.1:
        assert quarters in (1, 2, 3) and left <= 45.1


@given(
    st.floats(-60, 60), st.floats(-20, 20), st.floats(-180, 180), st.floats(0.2, 5)
)  # fmt: skip
def test_yaw_of_a_head(yaw: float, pitch: float, roll: float, size: float) -> None:
    landmarks = show_head(yaw, pitch, roll, size)
    assert abs(find_yaw(landmarks) - yaw) < 15


def test_a_mirrored_head_looks_the_other_way() -> None:
    shown = show_head(35, 5, 0, 1)
    mirrored = (shown * [-1, 1] + [400, 0])[[1, 0, 2, 4, 3]].astype(np.float32)
    assert find_yaw(shown) > 20 and find_yaw(mirrored) == pytest.approx(-find_yaw(shown), abs=0.1)


def test_landmarks_in_one_point_are_upright() -> None:
    nowhere = np.full((5, 2), 7, np.float32)
    assert (find_roll(nowhere), count_quarters(nowhere)) == (0, 0)
    assert np.isfinite(find_yaw(nowhere))
    assert count_quarters(np.full((5, 2), np.nan, np.float32)) == 0


# In every command: a person, upright and turned by quarters

PERSON = read_face("anna", 256)


class TurnedFace:
    """Knows the face of a picture, turned by so many quarters clockwise."""

    name, sha256, config = "turned", "0", Detection()

    def __init__(self, quarters: int) -> None:
        self.quarters = quarters
        (self.face,) = load_detector("retinaface", threads=1).detect([PERSON])[0]

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        (x, y, w, h), landmarks = self.face.box, self.face.landmarks
        for _ in range(self.quarters):
            x, y, w, h = 256 - y - h, x, h, w
            landmarks = np.stack([256 - landmarks[:, 1], landmarks[:, 0]], 1)
        face = Face((x, y, w, h), 0.99, landmarks)
        return [scale_faces([face], len(image) / 256) for image in images]


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("turned")
    return {
        k: write_media(
            folder / f"v{k}.mkv", [np.ascontiguousarray(np.rot90(PERSON, -k))] * 3,
            codec="ffv1", pixel_format="bgr0",
        )
        for k in range(4)
    }  # fmt: skip


def look_at(quarters: int) -> Predictor:
    predictor = load_predictor("compact-face")
    predictor.extractor.detector = TurnedFace(quarters)
    return predictor


def test_a_turned_face_is_labelled_as_the_upright_one(turned: dict[int, Path]) -> None:
    tables = [look_at(k).predict_video(turned[k], smooth=False) for k in range(4)]
    p = [table.filter(like="p_").to_numpy() for table in tables]
    for k in (1, 2, 3):
        np.testing.assert_allclose(p[k], p[0], atol=0.02)  # averages over areas are rounded
        box = TurnedFace(k).detect([PERSON])[0][0].box  # as it is in the frame
        assert tables[k][list("xywh")].iloc[0].tolist() == pytest.approx(box, abs=1e-3)


def test_crops_and_features_are_upright_too(turned: dict[int, Path], tmp_path: Path) -> None:
    features, crops, sheets = [], [], []
    for k in (0, 2, 3):
        folder, detector = tmp_path / str(k), TurnedFace(k)
        crop_video(turned[k], folder, detector=detector, cropping=Cropping(side=96))
        crops.append(cv2.imread(str(folder / "1.0" / "00001.jpg")).astype(int))
        make_sheet(folder, tmp_path / f"{k}.png", config=ContactSheet(columns=2))
        sheets.append(cv2.imread(str(tmp_path / f"{k}.png"))[70:].astype(int))
        for name, source in (("video", turned[k]), ("crops", folder)):
            out = tmp_path / f"{name}{k}.safetensors"
            extract_features(source, out, look_at(k).extractor)
            features.append(read_features(out).visual.astype(np.float32))
    for crop, sheet in zip(crops[1:], sheets[1:], strict=True):
        assert np.abs(crop - crops[0]).mean() < 1 and np.abs(sheet - sheets[0]).mean() < 1
    for one in features[1:]:
        assert (one * features[0]).sum() > 0.98 * np.linalg.norm(one) * np.linalg.norm(features[0])


def test_a_person_who_stands_on_their_head_is_found_and_turned() -> None:
    """With the landmarks of the real detector, which knows few such faces."""
    detector = load_detector("retinaface", threads=1)
    counts = [
        count_quarters(
            detector.detect([np.ascontiguousarray(np.rot90(PERSON, -k))])[0][0].landmarks
        )
        for k in range(4)
    ]
    assert counts == [0, 1, 2, 3]
