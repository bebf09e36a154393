"""`abaw sheet` from the shell."""

from pathlib import Path

import pytest
from blob_faces import BlobDetector, picture
from click.testing import CliRunner
from media_files import write_media

from abawcli.cli import main
from abawcli.stages.crop import crop_video


def sheet(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["sheet", *map(str, arguments)])
    assert result.stdout == ""
    return result.exit_code, result.stderr


@pytest.fixture
def crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b.c"):
        clip = write_media(Path(f"{name}.mkv"), [picture(40)] * 6)
        crop_video(clip, Path("crops") / name, detector=BlobDetector())
    return Path("crops")


def listed(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir() if path.suffix != ".json")


def test_a_sheet_for_each_video(crops: Path) -> None:
    status, said = sheet("crops", "-o", "sheets")
    assert status == 0 and "sheets in sheets" in said and "tracks" in said
    assert listed("sheets") == ["a.jpg", "b.c.jpg"]
    status, said = sheet("crops", "-o", "sheets")
    assert status == 0 and "2 of 2 outputs are already made" in said
    assert sheet("crops", "-o", "sheets", "--overwrite", "-q") == (0, "")


def test_one_sheet_as_a_file(crops: Path) -> None:
    assert sheet("crops/a", "-o", "one.png", "-q") == (0, "")
    assert Path("one.png").read_bytes()[:4] == b"\x89PNG"
    status, said = sheet("crops", "-o", "one.png")
    assert status == 2 and "2 inputs need a folder as -o, not the file one.png" in said


def test_what_is_no_crops_is_named_and_the_others_are_done(crops: Path) -> None:
    Path("official").mkdir()
    Path("official/00001.jpg").touch()
    status, said = sheet("official", "b.c.mkv", "gone", "crops/a", "-o", "sheets", "-q")
    assert status == 1 and listed("sheets") == ["a.jpg"]
    assert said.splitlines() == [
        *(
            f"abaw: error: {name} is no folder that `abaw crop` wrote for a video"
            for name in ("official", "b.c.mkv", "gone")
        ),
        "abaw: 3 of 4 inputs failed: official, b.c.mkv, gone",
    ]


def test_a_folder_without_crops(crops: Path) -> None:
    Path("empty").mkdir()
    message = "abaw: error: empty has no folder that `abaw crop` wrote\n"
    assert sheet("empty", "-o", "sheets") == (1, message)


def test_an_output_that_is_no_picture(crops: Path) -> None:
    message = "abaw: error: s.pdf must end in .jpg or .png, or be a folder\n"
    assert sheet("crops", "-o", "s.pdf") == (2, message)
