"""Classifiers of other people through the commands, files only."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sample_clips import abaw, copy_labels, thin_clip
from tiny_classifiers import save_face_classifier, save_onnx_classifier, save_voice_classifier

from abawcli.cli import main
from abawcli.formats.features import read_features, write_features
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import read_table
from abawcli.models import hub
from abawcli.models.image_backbones import load_weights
from abawcli.pipeline.frame_predictor import FramePredictor

CLIP, OTHER = "rotated_phone", "other"
CPU = ("--device", "cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extract features of a clip by a classifier of faces and one of speech."""
    work = tmp_path_factory.mktemp("classifiers")
    save_face_classifier(work / "face")
    save_voice_classifier(work / "voice")
    save_onnx_classifier(work / "enet_b0_8.onnx")
    copy_labels(work / "labels")
    abaw("extract", thin_clip(CLIP), "-o", work / "features",
         "--visual", f"hf:{work}/face", "--audio", f"hf:{work}/voice", *CPU)  # fmt: skip
    # A head needs a second video: the same under the name of another one.
    found = read_features(work / "features" / f"{CLIP}.safetensors")
    again = replace(found, metadata=replace(found.metadata, video=OTHER))
    write_features(again, work / "features" / f"{OTHER}.safetensors", {})
    (work / "labels" / f"{OTHER}.txt").write_bytes((work / "labels" / f"{CLIP}.txt").read_bytes())
    return work


def both(run: Path) -> tuple[str, ...]:
    return "--recipe", f"hf:{run}/face", "--recipe", f"hf:{run}/voice"


def test_a_video_and_its_features_get_the_same_probabilities(run: Path) -> None:
    abaw("predict", thin_clip(CLIP), "-o", run / "video.csv", *both(run), *CPU)
    abaw("predict", run / "features" / f"{CLIP}.safetensors", "-o", run / "features.csv",
         *both(run), *CPU)  # fmt: skip
    video, features = (read_table(run / f"{name}.csv") for name in ("video", "features"))
    np.testing.assert_allclose(video[PROBABILITIES], features[PROBABILITIES], atol=1e-5)
    assert (video["source"] == features["source"]).all()
    spoken = read_features(run / "features" / f"{CLIP}.safetensors").has_audio
    assert (video["source"][video["found"] & spoken] == "av").all()
    known = video[video["label"] >= 0]
    assert len(known) and not known["p_other"].any()  # neither has a label for it
    np.testing.assert_allclose(known[PROBABILITIES].sum(axis=1), 1, atol=1e-5)
    settings = json.loads((run / "video.csv.provenance.json").read_text())["settings"]
    assert settings["recipe"] == "face, voice" and settings["visual"]["preprocess"]["size"] == 28
    assert str(run) not in (run / "video.csv.provenance.json").read_text()


def test_networks_are_loaded_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def load(kind: Any, name: str, spare: Any) -> Any:
        loaded.append(Path(name).name)
        return load_weights(kind, name, spare)

    monkeypatch.setattr(hub, "load_weights", load)
    recipes = [f"hf:{run}/face", f"hf:{run}/voice"]
    predictor = FramePredictor(recipes, "cpu")
    assert predictor.extractor.encoder and loaded == ["face", "voice"]
    assert FramePredictor(recipes, "cpu", modality="visual").extractor.audio_encoder is None


def test_labels_and_temperature_change_the_probabilities(run: Path) -> None:
    features = run / "features" / f"{CLIP}.safetensors"
    face = ("--recipe", f"hf:{run}/face", "--modality", "visual", "--no-smooth", *CPU)
    abaw("predict", features, "-o", run / "plain.csv", *face)
    abaw("predict", features, "-o", run / "mapped.csv", *face, "--label-map", "sad=Other")
    abaw("predict", features, "-o", run / "warm.csv", *face, "--temperatures", "50")
    plain, mapped, warm = (read_table(run / f"{n}.csv") for n in ("plain", "mapped", "warm"))
    np.testing.assert_allclose(mapped["p_other"], plain["p_sadness"], atol=2e-6)
    assert not mapped["p_sadness"].any()
    assert (warm["confidence"] < plain["confidence"])[plain["found"]].all()


def test_a_head_on_their_features_is_a_recipe(run: Path, tmp_path: Path) -> None:
    abaw("train", "head", run / "features", "--labels", run / "labels", "-o", tmp_path / "run",
         "--epochs", "1", *CPU)  # fmt: skip
    head = tmp_path / "run" / "head.safetensors"
    for source in (thin_clip(CLIP), run / "features" / f"{CLIP}.safetensors"):
        output = tmp_path / f"{source.suffix[1:]}.csv"
        abaw("predict", source, "-o", output, "--recipe", head, *CPU)
    video, features = (read_table(tmp_path / f"{n}.csv") for n in ("mp4", "safetensors"))
    np.testing.assert_allclose(video[PROBABILITIES], features[PROBABILITIES], atol=1e-5)
    folds = abaw("crossval", run / "features", "--labels", run / "labels", "-o", tmp_path / "cv",
                 "--folds", "2", "--epochs", "1", "--json", *CPU)  # fmt: skip
    assert len(json.loads(folds)["gated"]["folds"]) == 2


def test_features_of_a_classifier_are_not_those_of_its_backbone(run: Path) -> None:
    plain = ("--recipe", "compact")
    arguments = [
        "predict",
        run / "features" / f"{CLIP}.safetensors",
        "-o",
        run / "x.csv",
        *plain,
    ]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 1 and "the head was trained on" in result.stderr
    backbone = read_features(run / "features" / f"{CLIP}.safetensors").metadata.backbones.visual
    assert backbone and backbone.name.startswith("hf:") and backbone.identity[-1] is True


def test_an_onnx_file_is_fused_with_our_own(run: Path) -> None:
    clip = thin_clip(CLIP)
    abaw("predict", clip, "-o", run / "onnx.csv", "--recipe", run / "enet_b0_8.onnx", *CPU)
    abaw("predict", clip, "-o", run / "own.csv", "--modality", "visual", *CPU)
    abaw("fuse", run / "onnx.csv", run / "own.csv", "-o", run / "fused.csv")
    onnx, fused = read_table(run / "onnx.csv"), read_table(run / "fused.csv")
    assert (onnx["found"] == fused["found"]).all() and onnx["p_other"].any()  # contempt
    settings = json.loads((run / "onnx.csv.provenance.json").read_text())["settings"]
    assert settings["recipe"] == "enet_b0_8.onnx"


@pytest.mark.parametrize(
    ("options", "code", "problem"),
    [
        (["--recipe", "hf:{run}/nowhere"], 1, "no such backbone folder"),
        (["--recipe", "hf:{run}/face", "--label-map", "sad"], 2, "'sad' is no label and class"),
        (["--recipe", "hf:{run}/face", "--temperatures", "x"], 2, "is not a list of numbers"),
        (["--recipe", "hf:{run}/face", "--temperatures", "-1"], 2, "give a positive number"),
        (["--recipe", "hf:{run}/face", "--recipe", "compact"], 2, "is no hf: or .onnx classifier"),
        (["--temperatures", "2"], 2, "--label-map, --temperatures and --onnx-input are for hf:"),
        (["--recipe", "hf:{run}/face", "--onnx-input", "mbf"], 2, "--onnx-input is for ONNX files"),
        (
            ["--recipe", "hf:{run}/voice", "--onnx-input", "mbf"],
            2,
            "--onnx-input is for ONNX files",
        ),
        (["--recipe", "{run}/none.onnx"], 2, "does not say what its input is"),
        (["--recipe", "{run}/enet_b0.onnx"], 1, "no such file"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    run: Path, tmp_path: Path, options: list[str], code: int, problem: str
) -> None:
    arguments = ["predict", str(thin_clip(CLIP)), "-o", str(tmp_path / "x.csv"), *CPU]
    result = CliRunner().invoke(main, [*arguments, *(text.format(run=run) for text in options)])
    assert result.exit_code == code and problem in result.stderr
    assert len([line for line in result.stderr.splitlines() if "error" in line.lower()]) == 1


@pytest.mark.parametrize("visual", ["compact-face", "hf:{run}/face"])
def test_the_input_of_a_backbone_that_is_no_onnx_file(
    run: Path, tmp_path: Path, visual: str
) -> None:
    visual, output = visual.format(run=run), tmp_path / "out"
    arguments = ["extract", str(thin_clip(CLIP)), "-o", str(output), "--visual", visual, *CPU]
    result = CliRunner().invoke(main, [*arguments, "--onnx-input", "mbf"])
    assert result.exit_code == 2
    assert f"--onnx-input is for ONNX files, and {visual} is none; leave it out" in result.stderr
    assert not output.exists()


def test_an_audio_backbone_is_no_onnx_file(run: Path, tmp_path: Path) -> None:
    arguments = ["extract", thin_clip(CLIP), "-o", tmp_path, "--audio", "a.onnx", *CPU]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 2 and "ONNX files are classifiers of faces" in result.stderr
