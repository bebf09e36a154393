"""`abaw predict` as a user calls it, results read from the files written."""

import json
import shutil
import wave
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from loaded_networks import load_predictor
from media_files import AudioTrack, make_clicks, write_media
from PIL import Image
from raw_checkpoints import read_raw, write_raw
from sample_clips import thin_clip
from sample_features import AUDIO, SMALL_GATED, VISUAL, save_videos
from sample_tables import make_table

from abawcli.cli import main
from abawcli.cli.predict import COLUMNS
from abawcli.config import Smoothing
from abawcli.formats.metadata import Backbones
from abawcli.formats.provenance import describe_input, read_provenance
from abawcli.formats.tables import read_table
from abawcli.models.heads import build_head, save_head
from abawcli.models.metadata import HeadMetadata
from abawcli.models.recipes import RECIPES
from abawcli.stages.extract import extract_features
from abawcli.stages.predict_summary import summarise_predictions
from abawcli.stages.smooth import count_segments, smooth_table

EMPTY = np.full((48, 64, 3), 90, np.uint8)


def predict(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["predict", "--device", "cpu", *map(str, arguments)])


@pytest.fixture
def video(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return write_media(tmp_path / "in" / "empty room.mp4", [EMPTY] * 12)


def one_line(result: Result) -> str:
    """Return the error of a run that said one thing and nothing else."""
    assert "Traceback" not in result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("abaw: error")]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_no_face_is_no_error(video: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"labels{suffix}"
    result = predict(video, "-o", output)
    assert result.exit_code == 0, result.output
    table = read_table(output)
    assert len(table) == 12
    assert set(table["source"]) == {"none"} and not table["found"].any()
    assert "0%" in result.stderr  # the summary says it
    assert result.stdout == ""


def test_provenance_stands_beside_the_table(video: Path, tmp_path: Path) -> None:
    predict(video, "-o", tmp_path / "labels.csv")
    made = json.loads((tmp_path / "labels.csv.provenance.json").read_text())
    assert made["command"] == "predict" and made["inputs"] == [describe_input(video)]
    assert made["settings"]["recipe"] == "compact"
    assert [len(sha256) for sha256 in made["settings"]["heads_sha256"]] == [64]
    assert len(made["settings"]["visual"]["encoder"]) == 64
    assert len(made["settings"]["detector"]["sha256"]) == 64
    assert {"detection", "tracking", "smoothing"} <= made["settings"].keys()


def test_several_inputs_go_to_a_folder_and_a_bad_one_stops_none(
    video: Path, tmp_path: Path
) -> None:
    second = write_media(tmp_path / "in" / "b.mkv", [EMPTY] * 3)
    text = tmp_path / "in" / "text.mp4"
    text.write_text("not a video")
    (tmp_path / "in" / "zero.mp4").touch()
    result = predict(tmp_path / "in", tmp_path / "absent.mp4", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert len(read_table(tmp_path / "out" / "empty room.csv")) == 12
    assert len(read_table(tmp_path / "out" / f"{second.stem}.csv")) == 3
    assert "3 of 5 inputs failed" in result.stderr
    for name in ("text.mp4", "zero.mp4", "absent.mp4"):
        assert name in result.stderr
    assert {p.suffix for p in (tmp_path / "out").iterdir()} == {".csv", ".json", ".jsonl"}


def test_picture_is_one_row(tmp_path: Path) -> None:
    path = write_media(tmp_path / "p.png", [EMPTY], codec="png", pixel_format="rgb24",
                       container="image2")  # fmt: skip
    assert predict(path, "-o", tmp_path / "p.csv").exit_code == 0
    assert read_table(tmp_path / "p.csv")["frame"].tolist() == [1]


def test_animated_pictures_of_a_folder_have_a_row_a_frame(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    first, *others = (Image.fromarray(EMPTY + 9 * k) for k in range(5))
    for name in ("a.avif", "b.webp"):
        first.save(folder / name, save_all=True, append_images=others, duration=200)
    result = predict(folder, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for name in ("a", "b"):
        table = read_table(tmp_path / "out" / f"{name}.csv")
        assert table["time_s"].tolist() == [0, 0.2, 0.4, 0.6, 0.8]


def test_a_picture_has_no_audio(tmp_path: Path) -> None:
    Image.fromarray(EMPTY).save(tmp_path / "p.webp")
    result = predict(tmp_path / "p.webp", "--modality", "audio", "-o", tmp_path / "t.csv")
    assert result.exit_code == 1
    assert "p.webp is a picture, without audio; use --modality visual" in one_line(result)


def test_audio_alone_is_of_all_people(tmp_path: Path) -> None:
    audio = AudioTrack([(0.0, make_clicks([0.1], 1.0, 16_000))], 16_000, "pcm_s16le")
    clip = write_media(tmp_path / "talk.wav", audio=audio)
    result = predict(clip, "--modality", "audio", "--subject", "left", "-o", tmp_path / "t.csv")
    assert result.exit_code == 0, result.output
    warning = "no face is detected: --subject left only names the rows, and the speech of all"
    assert warning in result.stderr
    assert set(read_table(tmp_path / "t.csv")["subject"]) == {"left"}
    plain = predict(clip, "--modality", "audio", "--subject", "main", "-o", tmp_path / "m.csv")
    assert "names the rows" not in plain.stderr


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    path = tmp_path / "p.jpg"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    result = predict(path, "-o", tmp_path / "t.csv")
    assert result.exit_code == 0
    assert "warning: " in result.stderr and "p.jpg is damaged" in result.stderr
    assert len(read_table(tmp_path / "t.csv")) == 1


def test_finished_work_is_kept_stale_work_is_done_again(video: Path, tmp_path: Path) -> None:
    output = tmp_path / "labels.csv"
    predict(video, "-o", output)
    before = output.stat().st_mtime_ns
    again = predict(video, "-o", output)
    assert again.exit_code == 0 and "already" in again.stderr
    assert output.stat().st_mtime_ns == before
    other = predict(video, "-o", output, "--no-smooth")
    assert other.exit_code == 0
    assert output.stat().st_mtime_ns > before


def test_a_file_of_somebody_else_is_in_the_way(video: Path, tmp_path: Path) -> None:
    output = tmp_path / "labels.csv"
    output.write_text("precious")
    result = predict(video, "-o", output)
    assert result.exit_code == 1 and "--overwrite" in one_line(result)
    assert output.read_text() == "precious"
    assert predict(video, "-o", output, "--overwrite").exit_code == 0
    assert len(read_table(output)) == 12


def test_audio_only(tmp_path: Path) -> None:
    clicks = make_clicks([0.1], 0.5, 48_000)
    path = write_media(tmp_path / "s.wav", audio=AudioTrack([(0.0, clicks)], codec="pcm_s16le"))
    result = predict(path, "-o", tmp_path / "v.csv", "--modality", "visual")
    assert result.exit_code == 1 and "no video" in one_line(result)
    assert not (tmp_path / "v.csv").exists()
    assert predict(path, "-o", tmp_path / "s.csv").exit_code == 0
    table = read_table(tmp_path / "s.csv")  # half a second, and clicks are no voice
    assert len(table) in (12, 13) and set(table["source"]) == {"none"}


def test_folder_without_videos(tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    result = predict(tmp_path / "void", "-o", tmp_path / "out")
    assert result.exit_code == 1 and "void" in one_line(result)


def test_unwritable_output(video: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = predict(video, "-o", tmp_path / "file" / "labels.csv")
    assert result.exit_code == 1 and "cannot write" in one_line(result)


def test_wrong_usage_is_exit_2(video: Path, tmp_path: Path) -> None:
    assert predict(video, video.with_name("b"), "-o", tmp_path / "x.csv").exit_code == 2
    assert predict(video, "-o", tmp_path / "x.txt").exit_code == 2
    assert predict(video, "-o", tmp_path / "x.csv", "--recipe", "grand").exit_code == 2
    assert predict(video, "-o", tmp_path / "x.csv", "--subject", "tallest").exit_code == 2
    both = ["--recipe", "compact", "--recipe", "compact-face"]
    result = predict(video, "-o", tmp_path / "x.csv", *both)
    assert result.exit_code == 2 and "compact-face has no head to average with" in one_line(result)
    assert not (tmp_path / "x.csv").exists()


def test_wrong_checkpoint(video: Path, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_text("no weights")
    result = predict(video, "-o", tmp_path / "x.csv", "--recipe", tmp_path / "w.safetensors")
    assert result.exit_code == 1 and "w.safetensors" in one_line(result)


def test_features_in_a_folder_are_inputs(video: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["extract", str(video), "-o", str(tmp_path / "features")])
    assert result.exit_code == 0, result.output
    assert predict(tmp_path / "features", "-o", tmp_path / "out").exit_code == 0
    assert len(read_table(tmp_path / "out" / "empty room.csv")) == 12
    (tmp_path / "features/empty room.safetensors").rename(tmp_path / "features/2.SAFETENSORS")
    assert predict(tmp_path / "features", "-o", tmp_path / "two").exit_code == 0
    assert len(read_table(tmp_path / "two" / "2.csv")) == 12


def test_audio_without_a_sample_is_an_error(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "empty.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
    result = predict(tmp_path / "empty.wav", "-o", tmp_path / "s.csv")
    assert result.exit_code == 1 and "empty.wav" in one_line(result)
    assert not (tmp_path / "s.csv").exists()


def test_smoothing_later_is_smoothing_at_once(tmp_path: Path) -> None:
    """The same rows, sources included, as far as the six digits of a csv go."""
    clip, raw = tmp_path / "clip.safetensors", tmp_path / "raw.csv"
    extractor = load_predictor().extractor
    extract_features(thin_clip("leaves_and_returns_vfr"), clip, extractor)
    assert predict(clip, "-o", raw, "--no-smooth").exit_code == 0
    for options in ([], ["--window", "9", "--smoothing", "mean"]):
        once, later = tmp_path / "once.csv", tmp_path / "later.csv"
        assert predict(clip, "-o", once, *options).exit_code == 0
        result = CliRunner().invoke(main, ["smooth", str(raw), "-o", str(later), *options])
        assert result.exit_code == 0, result.output
        pd.testing.assert_frame_equal(read_table(once), read_table(later), atol=5e-6)


def test_a_recipes_own_smoothing_is_what_smooth_does_by_default(
    video: Path, tmp_path: Path
) -> None:
    """A head that a user trained carries its smoothing; those of the package do not count."""
    tensors, metadata = read_raw(RECIPES["compact"])
    own = {"method": "mean", "window_frames": 7, "window_s": None, "space": "logits"}
    write_raw(tmp_path / "own.safetensors", tensors, metadata | {"smoothing": own})
    for recipe, expected in (
        ("compact", Smoothing().to_json()),
        (str(RECIPES["compact"]), Smoothing().to_json()),
        (str(tmp_path / "own.safetensors"), own),
    ):
        for name, option in (("raw", "--no-smooth"), ("once", "--subject=main")):
            output = tmp_path / f"{name}.csv"
            assert predict(video, "-o", output, "--recipe", recipe, option).exit_code == 0
        command = ["smooth", str(tmp_path / "raw.csv"), "-o", str(tmp_path / "later.csv")]
        assert CliRunner().invoke(main, command).exit_code == 0
        later = read_provenance(tmp_path / "later.csv")["settings"]
        assert {key: later[key] for key in expected} == expected
        assert read_provenance(tmp_path / "once.csv")["settings"]["smoothing"] == expected
        raw = read_provenance(tmp_path / "raw.csv")["settings"]
        assert (raw["smoothing"], raw["to_smooth"]) == (None, expected)


def test_no_smoothing_and_how_to_smooth_exclude_each_other(video: Path, tmp_path: Path) -> None:
    result = predict(video, "-o", tmp_path / "x.csv", "--no-smooth", "--window", "1s")
    assert result.exit_code == 2
    assert "--no-smooth excludes --smoothing, --window, --space and --bias" in result.stderr


def test_the_summary_keeps_faces_apart_from_voices_and_filled_rows() -> None:
    labels = [4] * 6 + [0] + [4] * 5 + [6] * 4 + [-1] * 2 + [5] * 6
    raw = make_table(labels)
    raw.loc[12:, "source"] = ["none"] * 6 + ["audio"] * 6
    raw.loc[12:15, "label"] = -1
    smooth = smooth_table(raw, Smoothing("median", 7))
    removed, runs = count_segments(raw, smooth)
    summary = summarise_predictions(smooth, runs, removed)
    row = {heading: value(summary) for heading, value in COLUMNS.items()}
    assert row["labels of faces"] == "Happiness 100%"
    assert row["labels without a face"] == "audio 6 (Sadness 100%), filled 3 (Happiness 100%)"
    assert row["labelled"] == "88%"  # 21 of 24
    assert row["segments smoothed away"] == "1 of 4"


def test_videos_of_one_name_in_two_folders_are_told_apart(video: Path, tmp_path: Path) -> None:
    for folder in ("control", "treatment"):
        (tmp_path / "in" / folder).mkdir()
        shutil.copy(video, tmp_path / "in" / folder / "P01.mp4")
    video.unlink()
    result = predict(tmp_path / "in", "-o", tmp_path / "out", "--json")
    names = [row["input"] for row in json.loads(result.stdout)]
    assert names == ["control/P01.mp4", "treatment/P01.mp4"]


def test_summaries_as_json_are_those_of_the_run_that_made_the_table(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cut = tmp_path / "in" / "cut.mkv"
    write_media(tmp_path / "whole.mkv", [EMPTY] * 60)
    cut.write_bytes((tmp_path / "whole.mkv").read_bytes()[:-700])
    first = predict(tmp_path / "in", "-o", tmp_path / "out", "--json", "-q")
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert [(row["input"], row["made"]) for row in told] == [
        ("cut.mkv", True), ("empty room.mp4", True)
    ]  # fmt: skip
    assert told[1]["output"] == str(tmp_path / "out" / "empty room.csv")
    assert (told[1]["frames"], told[1]["faces"], told[1]["labelled"]) == (12, 0, 0)
    assert told[1]["rows"] == {"face": 0, "audio": 0, "filled": 0}
    assert any("in/cut.mkv" in warning for warning in told[0]["warnings"])
    assert str(tmp_path) not in "".join(told[0]["warnings"])
    again = predict(tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert json.loads(again.stdout) == [row | {"made": False} for row in told]
    assert all(warning in again.stderr for warning in told[0]["warnings"])


def test_feature_files_need_only_the_head(tmp_path: Path) -> None:
    """The backbone of the head is not there; a video needs it, and says so."""
    folder, _ = save_videos(tmp_path, ["a", "b"], frames=20)
    backbones = Backbones(replace(VISUAL, path="/gone/tiny-face"), AUDIO)
    head = build_head("gated", backbones, SMALL_GATED)
    recipe = tmp_path / "head.safetensors"
    save_head(recipe, head, HeadMetadata("gated", asdict(SMALL_GATED), backbones, Smoothing()))
    result = predict(folder, "-o", tmp_path / "out", "--recipe", recipe)
    assert result.exit_code == 0, result.output
    assert len(read_table(tmp_path / "out" / "a.csv")) == 20
    settings = read_provenance(tmp_path / "out" / "a.csv")["settings"]
    assert settings["visual"]["encoder"] == "f" * 64 and "detector" not in settings
    video = write_media(tmp_path / "v.mp4", [EMPTY] * 3)
    result = predict(video, folder, "-o", tmp_path / "both", "--recipe", recipe)
    assert result.exit_code == 1 and "tiny-face" in one_line(result)


def test_the_summary_of_values_counts_rows_without_shares_of_labels() -> None:
    table = make_table([0] * 6).drop(columns="label").assign(valence=0.5, arousal=-0.25)
    table["source"] = ["av"] * 3 + ["audio"] + ["filled"] * 2
    summary = summarise_predictions(table, 0, 0)
    assert COLUMNS["labels without a face"](summary) == "audio 1, filled 2"
