"""The two-stage system of arXiv 2603.12221 whole, on tiny backbones: every command, files only."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sample_clips import abaw, copy_labels, thin_clip
from tiny_models import save_audio_backbone, save_vision_backbone

from abawcli.cli import main
from abawcli.formats.features import read_features
from abawcli.formats.hashing import hash_file
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import read_table
from abawcli.models.image_backbones import hash_pretrained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crop, extract and train on sample clips; return the folder with everything."""
    work = tmp_path_factory.mktemp("two-stage")
    save_vision_backbone(work / "dino", "dinov2")
    save_audio_backbone(work / "wav", "wav2vec2")
    copy_labels(work / "labels")
    videos = [thin_clip(clip) for clip in ("expressions", "rotated_phone")]
    scales = [part for scale in (0.9, 1.2, 1.5) for part in ("--scale", scale)]
    abaw("crop", *videos, "-o", work / "crops", *scales, "--size", "64")
    backbones = ["--visual", work / "dino", "--audio", work / "wav", "--audio-layers", "last2"]
    abaw("extract", work / "crops", "-o", work / "features", *backbones, "--device", "cpu")
    abaw("train", "head", work / "features", "--labels", work / "labels", "-o", work / "run",
         "--epochs", "2", "--window", "25", "--gated-width", "16", "--device", "cpu")  # fmt: skip
    return work


def test_features_are_of_three_scales_and_every_frame(run: Path) -> None:
    found = read_features(run / "features" / "expressions.safetensors")
    assert len(found.frame) == 60 and found.has_visual.all() and found.has_audio.all()
    visual, audio = found.metadata.backbones.visual, found.metadata.backbones.audio
    assert visual and visual.preprocess and visual.preprocess.crop_scales == (0.9, 1.2, 1.5)
    assert audio and audio.layers == "last2"


def test_the_head_is_a_recipe_that_finds_its_backbones(run: Path) -> None:
    for source in (thin_clip("expressions"), run / "features" / "expressions.safetensors"):
        output = run / f"{source.suffix[1:]}.csv"
        abaw("predict", source, "-o", output, "--recipe", run / "run" / "head.safetensors",
             "--device", "cpu")  # fmt: skip
        table = read_table(output)
        assert len(table) == 60 and set(table["source"]) == {"av"}
        score = json.loads(abaw("score", output, run / "labels" / "expressions.txt", "--json"))
        assert score["frames"] == 55 and 0 <= score["macro_f1"] <= 1  # without passages
    settings = json.loads((run / "mp4.csv.provenance.json").read_text())["settings"]
    assert settings["smoothing"]["window_frames"] == 25
    assert settings["visual"]["encoder"] == hash_pretrained(str(run / "dino"))
    assert str(run) not in (run / "mp4.csv.provenance.json").read_text()


def test_a_backbone_that_changed_is_not_the_heads(run: Path, tmp_path: Path) -> None:
    weights = run / "dino" / "model.safetensors"
    before = weights.read_bytes()
    data = bytearray(before)
    data[-4:] = np.float32(0.5).tobytes()
    weights.write_bytes(bytes(data))
    try:
        head = run / "run" / "head.safetensors"
        arguments = ["predict", thin_clip("expressions"), "-o", tmp_path / "x.csv"]
        result = CliRunner().invoke(main, [*map(str, arguments), "--recipe", str(head)])
        assert result.exit_code == 1 and "the head was trained on" in result.stderr
        assert result.stderr.count("\n") == 1
    finally:
        weights.write_bytes(before)


def test_the_heads_of_folds_label_a_video_together(run: Path, tmp_path: Path) -> None:
    out = abaw("crossval", run / "features", "--labels", run / "labels", "-o", run / "cv",
               "--folds", "2", "--epochs", "1", "--gated-width", "16", "--json",
               "--device", "cpu")  # fmt: skip
    assert [len(head["folds"]) for head in json.loads(out).values()] == [2]
    heads = [run / "cv" / "gated" / f"fold{k}" / "head.safetensors" for k in (1, 2)]
    video = run / "features" / "rotated_phone.safetensors"
    for name, chosen in (("both", heads), ("one", heads[:1]), ("two", heads[1:])):
        recipes = [part for head in chosen for part in ("--recipe", head)]
        abaw("predict", video, "-o", tmp_path / f"{name}.csv", *recipes, "--no-smooth",
             "--device", "cpu")  # fmt: skip
    abaw("fuse", tmp_path / "one.csv", tmp_path / "two.csv", "-o", tmp_path / "fused.csv")
    both, fused = (read_table(tmp_path / f"{name}.csv") for name in ("both", "fused"))
    assert (both["source"] == fused["source"]).all() and both["found"].any()
    np.testing.assert_allclose(both[PROBABILITIES], fused[PROBABILITIES], atol=2e-6)
    settings = json.loads((tmp_path / "both.csv.provenance.json").read_text())["settings"]
    assert settings["heads_sha256"] == [hash_file(head) for head in heads]
