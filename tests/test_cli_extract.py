"""`abaw extract` from the shell."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from media_files import AudioTrack, make_clicks, write_media
from sample_clips import thin_clip
from tiny_models import save_vision_backbone, save_voice_encoder

from abawcli.cli import main
from abawcli.formats.features import read_features


def extract(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["extract", *map(str, arguments), "--device", "cpu"])


@pytest.fixture
def voice(tmp_path: Path) -> tuple[str, Path]:
    return "--audio", save_voice_encoder(tmp_path / "voice.safetensors")


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    audio = AudioTrack([(0.0, make_clicks([0.1], 0.4, 48_000))], codec="pcm_s16le")
    return write_media(tmp_path / "dark.mkv", [np.zeros((64, 96, 3), np.uint8)] * 5, audio=audio)


def make_official(folder: Path, *frames: int) -> Path:
    folder.mkdir(parents=True)
    for k in frames:
        cv2.imwrite(str(folder / f"{k:05d}.jpg"), np.full((112, 112, 3), 99, np.uint8))
    return folder


def test_features_of_a_video(tmp_path: Path) -> None:
    out = tmp_path / "features"
    clip = thin_clip("rotated_phone")
    result = extract(clip, "-o", out, "--modality", "visual", "--batch-size", 32)
    assert result.exit_code == 0, result.output
    found = read_features(out / "rotated_phone.safetensors")
    assert len(found.frame) == 24 and found.has_visual.mean() > 0.9
    assert result.stdout == "" and "24" in result.stderr and "with a face" in result.stderr
    again = extract(clip, "-o", out, "--modality", "visual")  # batches of another size
    assert again.exit_code == 0 and "is already made with these settings" in again.stderr


@pytest.mark.parametrize("others", [["--jobs", "2"], ["--timeout", "9"]])
def test_workers_and_processes_of_jobs_exclude_each_other(
    tmp_path: Path, dark: Path, others: list[str]
) -> None:
    copy = tmp_path / "copy.mkv"
    copy.write_bytes(dark.read_bytes())
    result = extract(dark, copy, "-o", tmp_path / "out", "--workers", 2, *others)
    assert result.exit_code == 2
    assert "--workers starts processes of its own; leave out --jobs and --timeout" in result.stderr


def test_a_folder_of_official_crops_and_dots_in_names(tmp_path: Path) -> None:
    root = tmp_path / "cropped_aligned"
    make_official(root / "10-60-1280x720", 1, 2)
    make_official(root / "10-60-1280x720_right", 3)
    make_official(root / "my.video", 2)
    (root / "empty").mkdir()
    out = tmp_path / "features"
    result = extract(root, "-o", out, "--modality", "visual")
    assert result.exit_code == 0, result.output
    names = ["10-60-1280x720", "10-60-1280x720_right", "my.video"]
    assert sorted(p.name for p in out.glob("*.safetensors")) == [f"{n}.safetensors" for n in names]
    assert [len(read_features(out / f"{n}.safetensors").frame) for n in names] == [2, 3, 2]
    assert "times of its frames are unknown" in result.stderr


def test_a_missing_folder_of_audio_is_reported_once(tmp_path: Path) -> None:
    for name in ("x", "y"):
        make_official(tmp_path / "crops" / name, 1)
    gone = tmp_path / "gone"
    result = extract(tmp_path / "crops", "-o", tmp_path / "out", "--audio-from", gone)
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
    message = f"no such folder: {gone}; --audio-from is the folder of the videos"
    assert result.stderr.count(message) == result.stderr.count("no such folder") == 1


@pytest.mark.parametrize("command", ["extract", "predict"])
def test_a_folder_of_audio_is_for_crops(command: str, dark: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = [command, str(dark), "-o", str(out), "--audio-from", str(tmp_path)]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 2 and not out.exists()
    assert "--audio-from is for folders of crops; other inputs have their own" in result.stderr


def test_layers_are_checked_also_where_they_are_not_used(dark: Path, tmp_path: Path) -> None:
    result = extract(dark, "-o", tmp_path, "--audio-layers", "top4", "--modality", "visual")
    assert result.exit_code == 2 and "'top4' is not last4, first4 or the like" in result.stderr


def test_two_folders_for_one_name(tmp_path: Path) -> None:
    roots = [tmp_path / "cropped_aligned", tmp_path / "cropped_aligned_new_50_vids"]
    for root in roots:
        make_official(root / "x", 1)
    result = extract(*roots, "-o", tmp_path)
    assert result.exit_code == 2
    assert "are both called x; give the folder above both, or run them apart" in result.stderr


def test_a_folder_with_nothing_in_it(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = extract(tmp_path / "empty", "-o", tmp_path / "out")
    assert result.exit_code == 1 and "empty has no" in result.stderr


def test_audio_files_with_their_modality(
    tmp_path: Path, dark: Path, voice: tuple[str, Path]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    dark.rename(folder / "dark.mkv")
    audio = AudioTrack([(0.0, make_clicks([0.1], 0.4, 16_000))], 16_000, "pcm_s16le")
    write_media(folder / "talk.wav", audio=audio)
    both = extract(folder, "-o", tmp_path / "f", "--modality", "audio", *voice, "--subject", "left")
    assert both.exit_code == 0, both.output
    assert "--subject left only names the rows" in both.stderr
    assert len(read_features(tmp_path / "f" / "dark.safetensors").frame) == 5
    assert len(read_features(tmp_path / "f" / "talk.safetensors").frame) == 10
    video = extract(folder, "-o", tmp_path / "g", *voice)
    assert video.exit_code == 0, video.output
    assert [p.name for p in (tmp_path / "g").glob("*.safetensors")] == ["dark.safetensors"]
    alone = extract(folder / "talk.wav", "-o", tmp_path / "g", *voice)
    assert alone.exit_code == 0, alone.output
    assert not read_features(tmp_path / "g" / "talk.safetensors").has_visual.any()


@pytest.mark.parametrize(
    ("option", "name", "code", "message"),
    [
        ("--visual", "compact-voice", 2, "compact-voice is an audio backbone; give it as --audio"),
        ("--audio", "compact-face", 2, "compact-face is a visual backbone; give it as --visual"),
        ("--visual", "table.csv", 1, "table.csv is no backbone; give the folder or hub name of a"),
        ("--audio", "table.csv", 1, "table.csv is no backbone; give the folder or hub name of a"),
    ],
)
def test_backbones_of_another_kind(
    option: str, name: str, code: int, message: str, dark: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text("video,frame\n")
    result = extract(dark, "-o", "out", option, name)
    assert result.exit_code == code and message in result.stderr
    assert not Path("out").exists()


def test_bad_backbones(tmp_path: Path, dark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = extract(dark, "-o", tmp_path, "--visual", "nobody/nothing", "--modality", "visual")
    assert result.exit_code == 1
    assert "hf download nobody/nothing --local-dir DIR" in result.stderr
    folder = save_vision_backbone(tmp_path / "eyes")
    result = extract(dark, "-o", tmp_path, "--audio", folder, "--modality", "audio")
    assert result.exit_code == 1 and "is no known audio backbone" in result.stderr
    result = extract(dark, "-o", tmp_path, "--modality", "smell")
    assert result.exit_code == 2


def test_one_bad_input_does_not_stop_the_others(tmp_path: Path, dark: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    result = extract(tmp_path / "text.mp4", dark, "-o", tmp_path / "f", "--modality", "visual")
    assert result.exit_code == 1 and "1 of 2 inputs failed" in result.stderr
    assert len(read_features(tmp_path / "f" / "dark.safetensors").frame) == 5


def test_features_are_not_written_to_other_names(dark: Path, tmp_path: Path) -> None:
    result = extract(dark, "-o", tmp_path / "features.csv")
    assert result.exit_code == 2 and "must end in .safetensors" in result.stderr
    assert not (tmp_path / "features.csv").exists()


def test_strategies_that_cannot_be(tmp_path: Path, dark: Path) -> None:
    rows = tmp_path / "strategy.csv"
    result = extract(dark, "-o", tmp_path / "f", "--strategy", tmp_path / "gone.csv")
    assert result.exit_code == 1 and "gone.csv" in result.stderr
    rows.write_text("video,strategy\nx,left\n")
    crops = make_official(tmp_path / "x", 1)
    result = extract(crops, "-o", tmp_path / "f", "--strategy", rows)
    assert result.exit_code == 2 and "leave out --strategy" in result.stderr
    rows.write_text("video,strategy\ndark_left,left\ndark_right,right\n")
    result = extract(dark, "-o", tmp_path / "f.safetensors", "--strategy", rows)
    assert result.exit_code == 2 and "cannot hold the outputs" in result.stderr
    rows.write_text("video,strategy,from\ndark,main,9\n")
    result = extract(dark, "-o", tmp_path / "f", "--strategy", rows)
    assert result.exit_code == 1 and "no frame 9" in result.stderr
    assert not list((tmp_path / "f").glob("*.safetensors"))


def test_one_video_with_two_rows(tmp_path: Path, dark: Path) -> None:
    rows = tmp_path / "strategy.csv"
    rows.write_text("video,strategy\ndark_left,\ndark_right,all\nother,main\n")
    result = extract(dark, "-o", tmp_path / "f", "--strategy", rows, "--modality", "visual")
    assert result.exit_code == 0 and "rows of" in result.stderr and "other" in result.stderr
    found = read_features(tmp_path / "f" / "dark_left.safetensors").metadata
    assert (found.video, found.subject) == ("dark_left", "left")
    assert (tmp_path / "f" / "dark_right").is_dir() and not list(tmp_path.rglob("*.jpg"))
    again = extract(dark, "-o", tmp_path / "f", "--strategy", rows, "--modality", "visual")
    assert again.exit_code == 0 and "already made" in again.stderr


def test_the_folder_of_all_subjects_is_named(tmp_path: Path) -> None:
    video = Path(__file__).parents[1] / "sample_videos" / "two_people.mp4"
    result = extract(video, "-o", tmp_path / "f.safetensors", "--subject", "all", "--modality",
                     "visual")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "f").glob("*.safetensors")} == {
        "subject0.safetensors", "subject1.safetensors",
    }  # fmt: skip
    assert "features in" in result.stderr and "f.safetensors" not in result.stderr
