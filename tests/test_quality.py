"""How well faces can be read: of pictures that are made worse, and through all stages."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from blob_faces import BlobDetector, picture
from hypothesis import given
from hypothesis import strategies as st
from media_files import write_media
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sample_faces import read_face
from sample_tables import make_table

from abawcli.config import QUALITY, FaceQuality, Smoothing
from abawcli.faces.pose import find_roll, find_yaw
from abawcli.faces.quality import explain_poor, measure_sharpness, rate_faces
from abawcli.faces.track import FrameFaces, TrackedFace
from abawcli.formats.faces import FACES_NAME, TRACKS_NAME, read_faces
from abawcli.formats.features import read_features
from abawcli.formats.table_schemas import COLUMNS
from abawcli.formats.tables import read_table, write_table
from abawcli.stages.crop import crop_video
from abawcli.stages.extract import extract_features
from abawcli.stages.fuse import fuse_tables
from abawcli.stages.predict import Predictor
from abawcli.stages.smooth import smooth_table

PERSON = read_face("anna", 256)
BOX = (85.0, 57.0, 96.0, 120.0)
LANDMARKS = np.array([[111, 101], [155, 103], [131, 129], [109, 138], [153, 140]], np.float32)
SIDE = FaceQuality().side


class Still:
    """A picture as a frame."""

    def __init__(self, image: np.ndarray) -> None:
        self.image, self.size = image, (image.shape[1], image.shape[0])

    def region_rgb(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        return self.image[y0:y1, x0:x1]


def rate(image: np.ndarray, box: tuple[float, ...] = BOX, points: np.ndarray = LANDMARKS) -> dict:
    """Return the quality of a face that is detected in a picture."""
    face = TrackedFace(0, box, 0.99, points, True)  # type: ignore[arg-type]
    ((_, item),) = rate_faces([(Still(image), FrameFaces(1, 0.0, [face]))])
    return dict(zip(QUALITY, item.faces[0].quality, strict=True))


def test_a_sharp_face_that_looks_ahead_is_good_and_each_fault_makes_it_worse() -> None:
    good = rate(PERSON)
    assert good["face_quality"] > 0.9 and abs(good["yaw"]) < 20 and abs(good["roll"]) < 5
    blurred = rate(cv2.GaussianBlur(PERSON, (0, 0), 6))
    assert blurred["sharpness"] < 0.5 * good["sharpness"]
    tiny = cv2.resize(PERSON, None, fx=0.1, fy=0.1, interpolation=cv2.INTER_AREA)
    small = rate(tiny, tuple(0.1 * v for v in BOX), LANDMARKS / 10)
    aside = LANDMARKS.copy()
    aside[2, 0] += 25  # the nose
    turned = rate(PERSON, BOX, aside)
    assert turned["yaw"] > good["yaw"] + 20
    for worse in (blurred, small, turned):
        assert 0 <= worse["face_quality"] < 0.8 * good["face_quality"]


def test_face_quality_is_the_stated_product() -> None:
    image = cv2.GaussianBlur(PERSON, (0, 0), 5)
    found = rate(image, (85.0, 57.0, 30.0, 36.0))
    left = np.radians((find_roll(LANDMARKS) + 45) % 90 - 45)
    pose = np.cos(np.radians(find_yaw(LANDMARKS))) * np.cos(left)
    product = 36 / 48 * min(1, found["sharpness"] / 0.46) * pose
    assert found["face_quality"] == pytest.approx(product)


def test_sharpness_does_not_depend_on_light_and_size() -> None:
    x, y, w, h = (round(v) for v in BOX)
    face = PERSON[y : y + h, x : x + w]
    sharp = measure_sharpness(face, SIDE)
    assert measure_sharpness(face // 2 + 60, SIDE) == pytest.approx(sharp, rel=0.05)
    doubled = cv2.resize(face, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    larger = np.asarray(doubled, np.uint8)
    assert measure_sharpness(larger, SIDE) == pytest.approx(sharp, rel=0.1)
    assert measure_sharpness(np.full((60, 60, 3), 90, np.uint8), SIDE) == 0


@given(st.tuples(*[st.floats(-300, 500)] * 2, *[st.floats(0.1, 400)] * 2))
def test_any_box_has_a_quality(box: tuple[float, float, float, float]) -> None:
    assert 0 <= rate(PERSON, box)["face_quality"] <= 1


def test_between_detections_sharpness_holds_and_the_head_turns() -> None:
    blurred, aside = cv2.GaussianBlur(PERSON, (0, 0), 6), LANDMARKS.copy()
    aside[2, 0] += 20  # the nose
    frames = [(PERSON, LANDMARKS, True), (blurred, aside, False), (blurred, LANDMARKS, True)]
    tracked = [
        (Still(image), FrameFaces(1, 0.0, [TrackedFace(7, BOX, 0.99, points, detected)]))
        for image, points, detected in frames
    ]
    found = [item.faces[0].quality for _, item in rate_faces(tracked)]
    assert found[0][0] == found[1][0] > 1.5 * found[2][0]
    assert found[1][1] > found[0][1] + 15 and found[0][1] == found[2][1]


# Through the stages: blurred and sharp squares with the landmarks of nobody


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_media(tmp_path / "v.mkv", [picture(32, 24 * (k > 3)) for k in range(12)])


def load_predictor() -> Predictor:
    predictor = Predictor("compact-face", device="cpu")
    predictor.extractor.detector = BlobDetector()
    return predictor


def test_crops_have_the_quality_of_every_face(video: Path, tmp_path: Path) -> None:
    crop_video(video, tmp_path / "crops", detector=BlobDetector())
    for name in (FACES_NAME, TRACKS_NAME):
        table = read_faces(tmp_path / "crops" / name)[0]
        assert table.loc[table["found"], list(QUALITY)].notna().all(axis=None)
        assert table["face_quality"].between(0, 1).all()
    predicted = load_predictor().predict_video(video, smooth=False)
    for name in QUALITY:
        crops = read_faces(tmp_path / "crops" / FACES_NAME)[0][name]
        np.testing.assert_allclose(predicted[name], crops, rtol=1e-5)


def test_features_of_video_and_of_crops_carry_it(video: Path, tmp_path: Path) -> None:
    crop_video(video, tmp_path / "crops", detector=BlobDetector())
    extractor = load_predictor().extractor
    found = []
    for name, source in (("a", video), ("b", tmp_path / "crops")):
        extract_features(source, tmp_path / f"{name}.safetensors", extractor)
        found.append(read_features(tmp_path / f"{name}.safetensors"))
    assert (found[0].quality == found[1].quality).all() and found[0].quality.shape == (12, 4)


def test_older_files_have_none(video: Path, tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    extract_features(video, path, load_predictor().extractor)
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    arrays = load_file(path)
    del arrays["quality"]
    save_file(arrays, path, metadata)
    assert np.isnan(read_features(path).quality).all()
    crop_video(video, tmp_path / "crops", detector=BlobDetector())
    faces = tmp_path / "crops" / FACES_NAME
    pa.parquet.write_table(pa.parquet.read_table(faces).drop_columns(list(QUALITY)), faces)
    table, provenance = read_faces(faces)
    assert table[list(QUALITY)].isna().all(axis=None) and provenance["command"] == "crop"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_with_and_without_it_are_read(tmp_path: Path, suffix: str) -> None:
    table = make_table([1, 2]).assign(sharpness=0.5, yaw=-20.0, roll=3.0, face_quality=0.75)
    write_table(table, tmp_path / f"new{suffix}", {})
    pd.testing.assert_frame_equal(read_table(tmp_path / f"new{suffix}"), table)
    old = table.drop(columns=list(QUALITY))
    if suffix == ".csv":
        old.to_csv(tmp_path / "old.csv", index=False)
    else:
        old.to_parquet(tmp_path / "old.parquet")
    read = read_table(tmp_path / f"old{suffix}")
    assert list(read.columns) == COLUMNS and read[list(QUALITY)].isna().all(axis=None)
    pd.testing.assert_frame_equal(read[old.columns], old)


def test_smoothing_and_fusing_keep_it() -> None:
    table = make_table([1, 2, 2]).assign(sharpness=0.5, yaw=-20.0, roll=3.0, face_quality=0.75)
    other = make_table([1, 2, 2])
    for kept in (smooth_table(table, Smoothing()), fuse_tables({"a": table, "b": other})):
        pd.testing.assert_frame_equal(kept[list(QUALITY)], table[list(QUALITY)])


def test_most_faces_being_poor_is_said(
    video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_predictor().predict_video(video)  # squares of 32 pixels
    (message,) = [r.getMessage() for r in caplog.records if "face_quality" in r.getMessage()]
    assert message.startswith(f"{video}: 12 of 12 faces are smaller than 48 pixels or less sharp")


def test_when_faces_are_poor() -> None:
    assert explain_poor([100, 100, 20], [0.6, 0.6, 0.6]) is None
    assert "2 of 3 faces" in str(explain_poor([100, 20, 20], [0.6, 0.6, 0.6]))
    assert "2 of 3 faces" in str(explain_poor([100, 100, 100], [0.6, 0.2, 0.2]))
    assert explain_poor([20, 20], [np.nan, np.nan]) is None and explain_poor([], []) is None
