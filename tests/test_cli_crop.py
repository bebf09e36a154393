"""`abaw crop` from the shell."""

from pathlib import Path

import numpy as np
import pytest
from blob_faces import BlobDetector, picture
from click.testing import CliRunner, Result
from media_files import write_media
from sample_clips import thin_clip

from abawcli.cli import main
from abawcli.config import DETECTOR_NAMES
from abawcli.faces.detect import DETECTORS
from abawcli.formats.faces import read_faces


def crop(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["crop", *map(str, arguments)])


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    return write_media(tmp_path / "dark.mp4", [np.zeros((64, 96, 3), np.uint8)] * 5)


def test_choices_are_those_of_the_library() -> None:
    assert tuple(DETECTORS) == DETECTOR_NAMES


def test_crops_of_a_rotated_video(tmp_path: Path) -> None:
    clip = thin_clip("rotated_phone")
    result = crop(clip, "-o", tmp_path / "crops", "--scale", 1, "--scale", 1.3, "--size", 48)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "crops" / "rotated_phone"
    assert sorted(path.name for path in folder.iterdir()) == [
        "1.0",
        "1.3",
        "faces.parquet",
        "tracks.parquet",
    ]
    assert [path.name for path in sorted((folder / "1.3").iterdir())] == [
        f"{k:05d}.jpg" for k in range(1, 25)
    ]
    assert result.stdout == ""
    assert "24" in result.stderr and "with a face" in result.stderr


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
    assert again.exit_code == 0 and "is already made with these settings" in again.stderr
    assert crop(dark, "-o", tmp_path / "crops", "-q").stderr == ""


def test_videos_of_one_name_get_folders_of_their_own(dark: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "v" / name).mkdir(parents=True)
        (tmp_path / "v" / name / "dark.mp4").write_bytes(dark.read_bytes())
    assert crop(tmp_path / "v", "-o", tmp_path / "crops_1.0").exit_code == 0
    for name in ("a/dark", "b/dark"):
        assert (tmp_path / "crops_1.0" / name / "faces.parquet").is_file()
    refused = crop(dark, tmp_path / "v" / "a" / "dark.mp4", "-o", tmp_path / "crops")
    assert refused.exit_code == 2 and "are both called dark" in refused.stderr
    assert not (tmp_path / "crops").exists()


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
    (tmp_path / "crops" / "dark" / "notes.txt").write_text("mine")
    result = crop(dark, "-o", tmp_path / "crops", "--overwrite", "-q")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "changed since: notes.txt; move it or change -o" in result.stderr
    assert (tmp_path / "crops" / "dark" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "option",
    [
        ("--scale", 0),
        ("--scale", 10.1),
        ("--size", 0),
        ("--size", 4097),
        ("--subject", "me"),
        ("--stride", 0),
    ],
)
def test_wrong_options_are_usage_errors(
    option: tuple[str, object], dark: Path, tmp_path: Path
) -> None:
    assert crop(dark, "-o", tmp_path / "crops", *option).exit_code == 2


@pytest.mark.parametrize("name", ["c.csv", "faces.PARQUET", "crops.jpg"])
def test_a_folder_is_not_named_like_a_file(name: str, dark: Path, tmp_path: Path) -> None:
    result = crop(dark, "-o", tmp_path / name)
    assert result.exit_code == 2
    assert f"{name} is named like a file, and -o is a folder here" in result.stderr
    assert not (tmp_path / name).exists()
    (tmp_path / name).mkdir()
    assert crop(dark, "-o", tmp_path / name).exit_code == 0
    assert ".csv is a suffix without a name" in crop(dark, "-o", tmp_path / ".csv").stderr


def test_crops_are_not_written_into_those_of_a_video(dark: Path, tmp_path: Path) -> None:
    assert crop(dark, "-o", tmp_path / "crops").exit_code == 0
    result = crop(dark, "-o", tmp_path / "crops" / "dark")
    assert result.exit_code == 2
    assert "has the crops of one video; give the folder above it as -o" in result.stderr


# Strategies


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three clips of 12 frames; in `two` the left square is large, and gone in 9-12."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("abawcli.stages.crop.load_detector", lambda name: BlobDetector())
    Path("v").mkdir()
    write_media(Path("v/two.mkv"), [picture(32 * (k <= 8), 20) for k in range(1, 13)])
    for name in ("alone_right", "empty"):
        write_media(Path(f"v/{name}.mkv"), [picture(0, 20 * (name != "empty"))] * 12)
    return tmp_path


def whom(name: str) -> str:
    return str(read_faces(Path("crops") / name / "faces.parquet")[1]["settings"]["subject"])


def strategy_lines() -> list[str]:
    return Path("crops/strategy.csv").read_text().splitlines()


PROPOSAL = [
    "video,strategy,from,to,note",
    "alone_right,right,,,track 0: 12 of 12 frames",
    "empty,main,,,no face",
    "two,main,,,track 1: 12 of 12 frames; track 0: 8",
]


def test_every_video_is_proposed_and_a_name_chooses_its_side(work: Path) -> None:
    result = crop("v", "-o", "crops")
    assert (result.exit_code, result.stdout) == (0, "")
    assert strategy_lines() == PROPOSAL
    assert [whom(name) for name in ("alone_right", "empty", "two")] == ["right", "main", "main"]
    # What is said on the command line goes before names.
    assert crop("v/alone_right.mkv", "-o", "crops", "--subject", "main").exit_code == 0
    assert whom("alone_right") == "main"


def test_an_edited_row_does_that_video_again_and_no_other(work: Path) -> None:
    assert crop("v", "-o", "crops").exit_code == 0
    file = Path("crops/strategy.csv")
    edited = file.read_text().replace("two,main,,,", "two,track 0,,6,mine\ntwo,skip,7,,")
    file.write_text(edited)
    before = {name: whom_and_when(name) for name in ("alone_right", "empty", "two")}
    result = crop("v", "-o", "crops", "--strategy", file)
    assert result.exit_code == 0 and file.read_text() == edited
    after = {name: whom_and_when(name) for name in before}
    assert [name for name in before if before[name] != after[name]] == ["two"]
    table, _ = read_faces(Path("crops/two/faces.parquet"))
    assert table["subject"].tolist() == [0] * 6 + [-1] * 6
    assert "3 of 3 outputs are already made" in crop("v", "-o", "crops", "--strategy", file).stderr


def whom_and_when(name: str) -> tuple[str, int]:
    return whom(name), Path(f"crops/{name}/faces.parquet").stat().st_mtime_ns


def test_two_folders_of_one_video(work: Path) -> None:
    Path("s.csv").write_text("video,strategy\ntwo_left,\ntwo_right,\n")
    result = crop("v", "-o", "crops", "--strategy", "s.csv")
    assert result.exit_code == 0
    assert whom("two_left") == "left" and whom("two_right") == "right"
    assert not Path("crops/two").exists() and whom("empty") == "main"
    assert [line.split(",")[:2] for line in strategy_lines()[1:]] == [
        ["alone_right", "right"], ["empty", "main"], ["two_left", "left"], ["two_right", "right"],
    ]  # fmt: skip


def test_edited_rows_that_are_not_followed_are_said(work: Path) -> None:
    assert crop("v", "-o", "crops").stderr.count("warning") == 0
    Path("crops/strategy.csv").write_text("video,strategy\ntwo,left\nempty,\n")
    result = crop("v", "-o", "crops")
    warning = (
        "abaw: warning: crops/strategy.csv has other rows for two (1 of 3 videos); "
        "give it as --strategy to use it"
    )
    assert warning in result.stderr.splitlines()
    assert whom("two") == "main"
    assert strategy_lines()[:3] == ["video,strategy,from,to,note", "two,left,,,", "empty,,,,"]
    again = crop("v", "-o", "crops", "--strategy", "crops/strategy.csv")
    assert "has other rows" not in again.stderr


def test_a_row_about_no_video_fails_and_the_others_are_done(work: Path) -> None:
    Path("s.csv").write_text("video,strategy\ntow,left\ntwo,left\nempty_left,\n")
    result = crop("v/two.mkv", "-o", "crops", "--strategy", "s.csv", "-q")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "abaw: error: s.csv, line 2: no input video is called tow; is it two?",
        "abaw: error: s.csv, line 4: no input video is called empty_left",
        "abaw: 2 of 3 inputs failed:",
        "abaw:   s.csv, line 2: no input video is called tow; is it two?",
        "abaw:   s.csv, line 4: no input video is called empty_left",
    ]
    assert whom("two") == "left"
    # Not so of videos that an earlier run was about.
    assert crop("v", "-o", "crops").exit_code == 0
    only = ("v/empty.mkv", "-o", "crops", "--strategy", "crops/strategy.csv", "-q")
    assert (crop(*only).exit_code, crop(*only).stderr) == (0, "")


def test_what_a_video_has_not_fails_that_video_alone(work: Path) -> None:
    Path("s.csv").write_text(
        "video,strategy,from\nempty,track 0,\ntwo,track 2,\nalone_right,main,13\n"
    )
    result = crop("v", "-o", "crops", "--strategy", "s.csv", "-q")
    assert result.exit_code == 1
    reasons = {
        "alone_right": "s.csv, line 4: v/alone_right.mkv has no frame 13; the last is 12",
        "empty": "s.csv, line 2: v/empty.mkv has no track 0; no face was found in it",
        "two": "s.csv, line 3: v/two.mkv has no track 2; they are 0 to 1",
    }
    assert result.stderr.splitlines() == [
        *(f"abaw: error: {reason}" for reason in reasons.values()),
        "abaw: 3 of 3 inputs failed:",
        *(f"abaw:   {name}: {reason}" for name, reason in reasons.items()),
    ]
    assert [path.name for path in Path("crops").iterdir()] == ["manifest.jsonl"]


@pytest.mark.parametrize("place", ["s.csv", "crops/strategy.csv"])
def test_a_file_that_is_no_strategy_stops_before_any_work(work: Path, place: str) -> None:
    Path("crops").mkdir()
    Path(place).write_text("video,strategy\ntwo,middle\n")
    given = ("--strategy", place) if place == "s.csv" else ()
    result = crop("v", "-o", "crops", *given)
    assert result.exit_code == 1
    assert result.stderr == (
        f"abaw: error: {place}, line 2: unknown strategy 'middle'; choose one of main, largest, "
        "follow-largest, left, right, top, all, track N, skip\n"
    )
    assert not Path("crops/two").exists()


def test_the_only_track_is_named(work: Path) -> None:
    Path("s.csv").write_text("video,strategy\nalone_right,track 1\n")
    result = crop("v/alone_right.mkv", "-o", "crops", "--strategy", "s.csv")
    assert (result.exit_code, result.stderr) == (
        1,
        "abaw: error: s.csv, line 2: v/alone_right.mkv has no track 1; its only one is 0\n",
    )


LONG = (
    "File name too long (300 bytes; with what is written beside it, it must stay within 255); "
    "shorten the input's name, or -o"
)


def test_places_that_cannot_be(work: Path) -> None:
    Path("file").touch()
    for place, reason in (("file", "file is not a folder"), ("x" * 300, LONG)):
        result = crop("v/two.mkv", "-o", place)
        message = f"abaw: error: cannot write {place}/two: {reason}\n"
        assert (result.exit_code, result.stderr) == (1, message)


def test_a_name_that_is_no_unicode(work: Path) -> None:
    Path("v/two.mkv").rename("v/tw\udcff.mkv")
    assert crop("v/tw\udcff.mkv", "-o", "crops").exit_code == 0
    assert read_faces(Path("crops/tw\udcff/faces.parquet"))[0]["found"].any()
    assert strategy_lines()[1].startswith("tw\ufffd,main,")


def test_a_missing_strategy_file_is_one_line(work: Path) -> None:
    result = crop("v", "-o", "crops", "--strategy", "none.csv")
    assert (result.exit_code, result.stderr) == (1, "abaw: error: no such file: none.csv\n")


def test_a_track_is_a_subject_too(work: Path) -> None:
    assert crop("v/two.mkv", "-o", "crops", "--subject", "Track 01").exit_code == 0
    table, provenance = read_faces(Path("crops/two/faces.parquet"))
    assert provenance["settings"]["subject"] == "track 1"
    assert set(table.loc[table["found"], "subject"]) == {1}
    refused = crop("v/two.mkv", "-o", "other", "--subject", "track 4")
    assert refused.exit_code == 1 and "two.mkv has no track 4; they are 0 to 1" in refused.stderr
    none = crop("v/two.mkv", "-o", "other", "--subject", "track")
    assert none.exit_code == 2 and "'top', 'all' or 'track N'." in none.stderr


def test_a_list_of_names_makes_a_folder_for_each(work: Path) -> None:
    Path("test.txt").write_bytes(b"two_left\r\ntwo_right\r\n\r\nalone_right")
    Path("s.csv").write_text("video,strategy\ntwo_right,track 1\nempty,left\n")
    result = crop("v", "-o", "crops", "--names", "test.txt", "--strategy", "s.csv")
    assert result.exit_code == 0, result.stderr
    assert "videos are not named" in result.stderr and "empty" in result.stderr
    assert sorted(path.name for path in Path("crops").iterdir() if path.is_dir()) == [
        "alone_right", "two_left", "two_right",
    ]  # fmt: skip
    chosen = [whom(name) for name in ("alone_right", "two_left", "two_right")]
    assert chosen == ["right", "left", "track 1"]


def test_names_and_strategies_are_of_videos_in_subfolders(work: Path) -> None:
    Path("v").rename("batch1")
    Path("v").mkdir()
    Path("batch1").rename("v/batch1")
    Path("test.txt").write_text("two_left\ntwo_right\n")
    Path("s.csv").write_text("video,strategy\ntwo_right,track 1\n")
    for how in (["--names", "test.txt"], []):
        result = crop("v", "-o", "crops", "--strategy", "s.csv", *how)
        assert result.exit_code == 0, result.stderr
    assert whom("batch1/two_left") == "left" and whom("batch1/two_right") == "track 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"two\ntow_left\n", "line 2: no input video is called tow_left"),
        (b"alone_right\nTwo.mkv\n", "line 2: no input video is called Two.mkv; is it two?"),
        (b"\n", "names.txt has no names"),
        (b"\xff", "cannot read the names names.txt"),
        (b"\xff\xfea\0", "names.txt is in UTF-16; save it as UTF-8"),
        (None, "names.txt"),
    ],
)
def test_names_that_cannot_be(work: Path, text: bytes | None, message: str) -> None:
    if text is not None:
        Path("names.txt").write_bytes(text)
    result = crop("v", "-o", "crops", "--names", "names.txt", "-q")
    assert result.exit_code == 1 and message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_table_is_no_list_of_names(work: Path) -> None:
    Path("labels.csv").write_text("video,frame,label\ntwo,1,0\n")
    result = crop("v", "-o", "crops", "--names", "labels.csv", "-q")
    assert result.exit_code == 1
    assert result.stderr == (
        "abaw: error: labels.csv is a table; a list has a name in each line and no header\n"
    )
