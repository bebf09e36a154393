"""`abaw train face` and `abaw train voice` from the shell."""

import json
from pathlib import Path
from typing import Any

import pytest
from audio_files import save_audio_set
from click.testing import CliRunner
from tiny_models import save_image_set, save_whisper

from abawcli.cli import main
from abawcli.config import VoiceTraining, default_voice_training

pytestmark = pytest.mark.usefixtures("one_bank")
FEW: dict[str, Any] = {"train": 8, "valid": 2}
SMALL = ["--stem", "4", "--widths", "8", "--blocks", "1"]


def test_train_a_face_encoder(tmp_path: Path) -> None:
    manifest = save_image_set(tmp_path / "images", **FEW)
    arguments = ["train", "face", "--images", str(tmp_path / "images"), "--manifest"]
    arguments += [str(manifest), "-o", str(tmp_path / "run"), "--epochs", "1", "--no-moe"]
    arguments += ["--batch-size", "8", "--padaug", "0.5", "--targets", "hard", "--device", "cpu"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "macro-F1" in result.stderr
    training = json.loads((tmp_path / "run/config.json").read_text())["training"]
    assert training["moe"] is None
    assert training["augmentation"]["padaug_p"] == 0.5
    assert training["soft_labels"] is False
    assert CliRunner().invoke(main, [*arguments, "-q"]).output == ""
    assert 1e6 < (tmp_path / "run/encoder.safetensors").stat().st_size < 8e6  # it has to ship


def test_missing_manifest_is_one_line(tmp_path: Path) -> None:
    arguments = ["train", "face", "--images", str(tmp_path), "--manifest"]
    result = CliRunner().invoke(main, [*arguments, "no.csv", "-o", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and "no.csv" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("kind", "files"), [("face", "--images"), ("voice", "--recordings")])
def test_a_run_folder_is_not_named_like_a_file(kind: str, files: str, tmp_path: Path) -> None:
    output = tmp_path / "encoder.safetensors"
    call = ["train", kind, files, str(tmp_path), "--manifest", "m.csv", "-o", str(output)]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 2
    assert f"{output} is named like a file, and -o is a folder here" in result.stderr
    assert not output.exists()


def test_parts_of_the_augmentation(tmp_path: Path) -> None:
    manifest = save_image_set(tmp_path / "images", **FEW)
    arguments = ["train", "face", "--images", str(tmp_path / "images"), "--manifest"]
    arguments += [str(manifest), "-o", str(tmp_path / "run"), "--epochs", "1", "--batch-size", "8"]
    parts = [*SMALL, "--flip", "0", "--crop-area", "0.7", "0.9", "--rotate", "3", "--ema", "0.5"]
    result = CliRunner().invoke(main, [*arguments, *parts, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    training = json.loads((tmp_path / "run/config.json").read_text())["training"]
    chosen = {k: training["augmentation"][k] for k in ("flip_p", "crop_scale", "rotate_degrees")}
    assert chosen == {"flip_p": 0, "crop_scale": [0.7, 0.9], "rotate_degrees": 3}
    assert training["ema_decay"] == 0.5 and training["precision"] in ("float32", "bfloat16")
    both = CliRunner().invoke(main, [*arguments, *parts, "--no-augment"])
    assert both.exit_code == 2 and "--no-augment" in both.stderr


def test_a_teacher_and_a_student_of_another_shape(tmp_path: Path) -> None:
    manifest = save_image_set(tmp_path / "images", **FEW)
    arguments = ["train", "face", "--images", str(tmp_path / "images"), "--manifest"]
    arguments += [str(manifest), "--epochs", "1", "--batch-size", "8", "--device", "cpu"]
    arguments += ["--no-moe", "-o", str(tmp_path / "run")]
    shape = ["--stem", "4", "--widths", "8,16", "--blocks", "1,2"]
    result = CliRunner().invoke(main, [*arguments[:-1], str(tmp_path / "teacher"), *shape])
    assert result.exit_code == 0, result.output
    teacher = str(tmp_path / "teacher/encoder.safetensors")
    taught = ["--teacher", teacher, "--temperature", "3", "--teacher-weight", "0.5"]
    student = [*SMALL, "--feature-weight", "1", "--teacher-images", "clean"]
    result = CliRunner().invoke(main, [*arguments, *taught, *student])
    assert result.exit_code == 0, result.output
    training = json.loads((tmp_path / "run/config.json").read_text())["training"]
    expected = {"temperature": 3, "weight": 0.5, "feature_weight": 1, "images": "clean"}
    assert training["distillation"] == expected
    assert training["shape"] == {"stem": 4, "widths": [8], "blocks": [1]}
    for wrong, message in (
        (["--temperature", "3"], "need a --teacher"),
        (["--widths", "8,x"], "no list of whole numbers from 8"),
        (["--widths", "4"], "no list of whole numbers from 8"),
        (["--widths", "8,16"], "2 widths and 3 numbers of blocks"),
    ):
        refused = CliRunner().invoke(main, [*arguments[:-1], str(tmp_path / "no"), *wrong])
        assert refused.exit_code == 2 and message in refused.stderr, refused.output


def test_fine_tuning_takes_the_backbone_of_its_encoder(tmp_path: Path) -> None:
    images = save_image_set(tmp_path)
    arguments = ["train", "face", "--images", str(tmp_path), "--manifest", str(images)]
    arguments += ["--init", "compact-face", "--backbone", "compact", "-o", str(tmp_path / "run")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code != 0
    assert "--init excludes --backbone: the encoder has one" in result.stderr
    assert not (tmp_path / "run").exists()


def test_train_a_voice_encoder(tmp_path: Path) -> None:
    manifest = save_audio_set(tmp_path / "recordings", train=8)
    arguments = ["train", "voice", "--recordings", str(tmp_path / "recordings"), "--manifest"]
    arguments += [str(manifest), "-o", str(tmp_path / "run"), "--device", "cpu"]
    small = ["--epochs", "1", "--epoch-batches", "1", "--batch-size", "4", "--no-augment"]
    result = CliRunner().invoke(main, [*arguments, *small])
    assert result.exit_code == 0, result.output
    assert "macro-F1 a" in result.stderr
    training = json.loads((tmp_path / "run/config.json").read_text())["training"]
    assert training["augmentation"]["noise_p"] == 0 and training["epoch_batches"] == 1
    assert (tmp_path / "run/encoder.safetensors").stat().st_size < 4e6
    assert CliRunner().invoke(main, [*arguments, *small, "-q"]).output == ""
    refused = CliRunner().invoke(main, [*arguments, "--no-moe"])
    assert refused.exit_code == 2 and "--no-moe" in refused.stderr


def test_train_a_voice_encoder_from_a_whisper(tmp_path: Path) -> None:
    manifest = save_audio_set(tmp_path / "recordings", train=8)
    arguments = ["train", "voice", "--recordings", str(tmp_path / "recordings"), "--manifest"]
    arguments += [str(manifest), "-o", str(tmp_path / "run"), "--device", "cpu", "--layers", "1"]
    alone = CliRunner().invoke(main, arguments)
    assert alone.exit_code == 2 and "--layers needs --init" in alone.stderr
    arguments += ["--init", str(save_whisper(tmp_path / "whisper")), "--epochs", "1"]
    small = ["--epoch-batches", "1", "--batch-size", "4", "--head-lr", "0.002"]
    result = CliRunner().invoke(main, [*arguments, *small])
    assert result.exit_code == 0, result.output
    settings = json.loads((tmp_path / "run/config.json").read_text())
    assert settings["layers"] == 1 and settings["init"] == "whisper"
    assert settings["training"]["head_lr"] == 0.002
    expected = default_voice_training(pretrained=True).backbone_lr
    assert settings["training"]["backbone_lr"] == expected != VoiceTraining().backbone_lr


def test_the_old_name_of_both_still_works(tmp_path: Path) -> None:
    """`train encoder --images` is `train face`, `train encoder --audio` is `train voice`."""
    images = save_image_set(tmp_path / "a", **FEW)
    recordings = save_audio_set(tmp_path / "b", train=8)
    face = ["--images", str(tmp_path / "a"), "--manifest", str(images), "--labels", "hard"]
    voice = ["--audio", str(tmp_path / "b"), "--manifest", str(recordings)]
    small = ["--epochs", "1", "--batch-size", "4", "--device", "cpu"]
    for given, name, key in ((face, "face", "images"), (voice, "voice", "audio")):
        more = ["--epoch-batches", "1"] if name == "voice" else SMALL
        out = tmp_path / name
        arguments = ["train", "encoder", *given, *small, *more, "-o", str(out)]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        assert f"`train encoder` is now called `train {name}`" in result.stderr
        assert key in json.loads((out / "config.json").read_text())
    training = json.loads((tmp_path / "face/config.json").read_text())["training"]
    assert training["soft_labels"] is False
