"""`abaw crop` from the shell."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from media_files import write_media

from abawcli.cli import main
from abawcli.config import DETECTOR_NAMES
from abawcli.faces.detect import DETECTORS

SAMPLE = Path(__file__).parents[1] / "sample_videos" / "rotated_phone.mp4"


def crop(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["crop", *map(str, arguments)])


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    return write_media(tmp_path / "dark.mp4", [np.zeros((64, 96, 3), np.uint8)] * 5)


def test_choices_are_those_of_the_library() -> None:
    assert tuple(DETECTORS) == DETECTOR_NAMES


def test_crops_of_a_rotated_video(tmp_path: Path) -> None:
    result = crop(SAMPLE, "-o", tmp_path / "crops", "--scale", 1, "--scale", 1.3, "--size", 48)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "crops" / "rotated_phone"
    assert sorted(path.name for path in folder.iterdir()) == ["1.0", "1.3", "faces.parquet"]
    assert [path.name for path in sorted((folder / "1.3").iterdir())] == [
        f"{k:05d}.jpg" for k in range(1, 121)
    ]
    assert result.stdout == ""
    assert "120" in result.stderr and "with a face" in result.stderr


def test_one_bad_input_does_not_stop_the_others(dark: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    result = crop(tmp_path / "text.mp4", dark, "-o", tmp_path / "crops")
    assert result.exit_code == 1
    assert "abaw: error:" in result.stderr and "1 of 2 inputs failed" in result.stderr
    assert (tmp_path / "crops" / "dark" / "faces.parquet").is_file()
    assert not (tmp_path / "crops" / "text").exists()


def test_finished_work_is_said_to_be_done(dark: Path, tmp_path: Path) -> None:
    assert crop(dark, "-o", tmp_path / "crops").exit_code == 0
    again = crop(dark, "-o", tmp_path / "crops")
    assert again.exit_code == 0 and "done" in again.stderr
    assert crop(dark, "-o", tmp_path / "crops", "-q").stderr == ""


def test_videos_of_one_name_get_folders_of_their_own(dark: Path, tmp_path: Path) -> None:
    other = tmp_path / "b" / "dark.mp4"
    other.parent.mkdir()
    other.write_bytes(dark.read_bytes())
    assert crop(dark, other, "-o", tmp_path / "crops_1.0").exit_code == 0
    for name in ("dark", "b/dark"):
        assert (tmp_path / "crops_1.0" / name / "faces.parquet").is_file()


def test_a_missing_pack_is_one_line(
    dark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    result = crop(dark, "-o", tmp_path / "crops", "--detector", "insightface")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "insightface-cli model.download buffalo_l" in result.stderr


@pytest.mark.parametrize("scale", ["inf", "-inf", "nan", "1e999"])
def test_a_scale_is_a_finite_number(scale: str, dark: Path, tmp_path: Path) -> None:
    result = crop(dark, "-o", tmp_path / "crops", "--scale", 1, "--scale", scale)
    assert result.exit_code == 2
    assert "Invalid value for '--scale'" in result.stderr
    assert not (tmp_path / "crops").exists()


def test_a_foreign_folder_is_refused_in_one_line(dark: Path, tmp_path: Path) -> None:
    (tmp_path / "crops" / "dark").mkdir(parents=True)
    result = crop(dark, "-o", tmp_path / "crops", "--overwrite", "-q")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "no folder of crops; move it or change -o" in result.stderr


@pytest.mark.parametrize(
    "option", [("--scale", 0), ("--size", 0), ("--subject", "me"), ("--stride", 0)]
)
def test_wrong_options_are_usage_errors(
    option: tuple[str, object], dark: Path, tmp_path: Path
) -> None:
    assert crop(dark, "-o", tmp_path / "crops", *option).exit_code == 2
