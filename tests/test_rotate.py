"""`--rotate`: frames of a camera that did not record how it was held, in every command."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from blob_faces import BlobDetector, picture
from click.testing import CliRunner, Result
from media_files import write_media

from abawcli.cli import main
from abawcli.config import ROTATIONS, ContactSheet
from abawcli.errors import UsageError
from abawcli.formats.faces import FACES_NAME, read_faces
from abawcli.formats.provenance import read_provenance
from abawcli.stages.crop import crop_video
from abawcli.stages.extract import extract_features
from abawcli.stages.predict import Predictor
from abawcli.views.sheet import make_sheet

TURNED = ROTATIONS[1:]


@pytest.fixture
def clips(tmp_path: Path) -> dict[int, Path]:
    """The same clip upright (0), and stored so that it has to be turned by each rotation."""
    pictures = [picture(40, 24)] * 6
    return {
        degrees: write_media(
            tmp_path / f"turned{degrees}.mkv",
            [np.ascontiguousarray(np.rot90(one, degrees // 90)) for one in pictures],
            codec="ffv1", pixel_format="bgr0",
        )
        for degrees in ROTATIONS
    }  # fmt: skip


def make_predictor(rotate: int = 0) -> Predictor:
    made = Predictor("compact-face", device="cpu", rotate=rotate)
    made.extractor.detector = BlobDetector()
    return made


def abaw(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_predictions_are_those_of_the_upright_video(clips: dict[int, Path]) -> None:
    upright = make_predictor().predict_video(clips[0], smooth=False)
    assert upright["found"].all()
    for degrees in TURNED:
        table = make_predictor(degrees).predict_video(clips[degrees], smooth=False)
        pd.testing.assert_frame_equal(table.drop(columns="video"), upright.drop(columns="video"))
    sideways = make_predictor().predict_video(clips[90], smooth=False)
    assert (sideways["x"] != upright["x"]).all()


def test_crops_and_their_sheet_are_those_of_the_upright_video(
    clips: dict[int, Path], tmp_path: Path
) -> None:
    tables, crops, sheets = [], [], []
    for degrees in ROTATIONS:
        folder = tmp_path / str(degrees) / "crops"
        crop_video(clips[degrees], folder, detector=BlobDetector(), rotate=degrees)
        tables.append(read_faces(folder / FACES_NAME)[0])
        crops.append((folder / "1.0" / "00001.jpg").read_bytes())
        make_sheet(folder, tmp_path / f"{degrees}.png", config=ContactSheet(columns=2))
        sheets.append(cv2.imread(str(tmp_path / f"{degrees}.png")))
        assert read_provenance(folder)["settings"]["rotate"] == degrees
    for table, crop, sheet in zip(tables[1:], crops[1:], sheets[1:], strict=True):
        pd.testing.assert_frame_equal(table, tables[0])
        assert crop == crops[0] and (sheet[70:] == sheets[0][70:]).all()  # below the names


def test_another_rotation_is_other_work(clips: dict[int, Path], tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    calls = [("predict", clips[180], "-o", out, "--rotate", degrees) for degrees in (90, 180, 180)]
    first, second, third = (abaw(*call) for call in calls)
    assert first.exit_code == second.exit_code == third.exit_code == 0
    assert "already made" not in second.stderr and "already made" in third.stderr
    assert read_provenance(out)["settings"]["rotate"] == 180


def test_features_say_how_their_video_was_rotated(clips: dict[int, Path], tmp_path: Path) -> None:
    out = tmp_path / "f.safetensors"
    extract_features(clips[90], out, make_predictor(90).extractor)
    assert read_provenance(out)["settings"]["rotate"] == 90


def test_what_is_cut_or_encoded_already_cannot_be_rotated(
    clips: dict[int, Path], tmp_path: Path
) -> None:
    crops, features = tmp_path / "crops", tmp_path / "f.safetensors"
    crop_video(clips[0], crops, detector=BlobDetector())
    with pytest.raises(UsageError, match=f"{crops} holds crops; rotate the video when they are"):
        extract_features(crops, features, make_predictor(90).extractor)
    extract_features(crops, features, make_predictor().extractor)
    with pytest.raises(UsageError, match=f"{features} holds features; rotate the video they are"):
        make_predictor(90).predict_video(features)


def test_only_quarter_turns(clips: dict[int, Path], tmp_path: Path) -> None:
    result = abaw("predict", clips[0], "-o", tmp_path / "t.csv", "--rotate", "45")
    assert result.exit_code == 2 and "'45' is not one of '0', '90', '180'" in result.stderr
    for command in ("predict", "crop", "extract", "render"):
        assert "--rotate 0|90|180|270" in " ".join(abaw(command, "--help").stdout.split())
    with pytest.raises(UsageError, match="cannot rotate by 45; choose 0, 90, 180 or 270"):
        Predictor("compact-face", rotate=45)
    with pytest.raises(UsageError, match="cannot rotate by 45; choose 0, 90, 180 or 270"):
        crop_video(clips[0], tmp_path / "crops", detector=BlobDetector(), rotate=45)
