"""`abaw calibrate` from the shell."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from sample_features import BACKBONES, SMALL_DUAL, SMALL_GATED, make_features, save_videos
from torch import nn

from abawcli.cli import main
from abawcli.config import COMPACT_FACE, ENCODER, CompactFaceShape, Smoothing
from abawcli.formats.hashing import hash_file
from abawcli.labels import CLASSES
from abawcli.models.calibration import calibrate_logits
from abawcli.models.checkpoint import read_metadata, save_checkpoint
from abawcli.models.classifier import EncoderClassifier
from abawcli.models.encoder import load_encoder
from abawcli.models.heads import Head, WithEncoders, add_encoders, build_head, load_head, save_head
from abawcli.models.image_backbones import build_backbone
from abawcli.models.metadata import FaceEncoderMetadata, HeadMetadata

CPU = torch.device("cpu")
NAMES = ["a", "b_left", "b_right", "c"]
LABELS = ["--labels", "labels"]
CALIBRATE_HEAD = ["calibrate", "head.safetensors", "features", *LABELS, "-o", "new.safetensors"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_head(kind: str = "gated", face_only: bool = False) -> None:
    """Write an untrained head, which is too sure."""
    torch.manual_seed(0)
    settings = SMALL_DUAL if kind == "dual-branch" else SMALL_GATED
    head = build_head(kind, BACKBONES, settings)
    with torch.no_grad():
        head.classifier.linear.weight.mul_(4)
    own = EncoderClassifier(nn.Linear(10, 8)) if face_only else None
    whole: Head | WithEncoders = add_encoders(head, own)
    metadata = HeadMetadata(kind, asdict(settings), BACKBONES, Smoothing())
    if face_only:
        metadata = replace(metadata, face_only=ENCODER)
    save_head("head.safetensors", whole, metadata)


def run(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, [*arguments, "--device", "cpu"])
    assert result.exit_code == status, result.output
    return result


def answer(path: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the probabilities of a head for frames, and which have a face and no speech."""
    found = make_features(np.arange(80) % 8, seed=7)
    arrays = found.visual, found.audio, found.has_visual, found.has_audio
    return load_head(path, CPU)[0].classify(*arrays)[0], found.has_visual & ~found.has_audio


def test_annotations_of_one_name_in_two_folders() -> None:
    make_head()
    save_videos(Path(), ["x/a", "y/a", "y/b"])
    assert json.loads(run(*CALIBRATE_HEAD, "--json").stdout)["groups"] == 3


@pytest.mark.parametrize(("kind", "face_only"), [("gated", True), ("dual-branch", False)])
def test_head_is_calibrated_and_its_own_file_kept(kind: str, face_only: bool) -> None:
    make_head(kind, face_only)
    save_videos(Path(), NAMES)
    before = hash_file("head.safetensors")
    done = json.loads(run(*CALIBRATE_HEAD, "--json").stdout)
    assert hash_file("head.safetensors") == before
    assert done["groups"] == 3 and done["temperature"] > 1
    assert (done["left_out"] > 0) == face_only
    shown = " ".join(run(*CALIBRATE_HEAD).output.split())
    assert ("are left out: an encoder's classifier labels them" in shown) == face_only
    figures = [done[key]["calibration_error"]["value"] for key in ("before", "after")]
    assert figures[1] < figures[0] / 2
    for key in ("before", "after"):
        for figure in ("calibration_error", "log_loss", "accuracy", "macro_f1"):
            estimate = done[key][figure]
            assert estimate["low"] <= estimate["high"]
    old, alone = answer("head.safetensors")
    new, _ = answer("new.safetensors")
    known = ~np.isnan(old[:, 0])
    if face_only:
        np.testing.assert_array_equal(new[alone], old[alone])
        how = read_metadata("new.safetensors", HeadMetadata).calibration
        assert how is not None and how.temperature == done["temperature"]
        logits = torch.from_numpy(calibrate_logits(np.log(old[~alone & known]), how))
        np.testing.assert_allclose(new[~alone & known], logits.softmax(dim=1), atol=1e-4)
    assert np.nanmean(new.max(axis=1)) < np.nanmean(old.max(axis=1))


def test_calibrations_add_up_and_finished_work_is_kept() -> None:
    make_head()
    save_videos(Path(), NAMES)
    run(*CALIBRATE_HEAD, "--temperature", "2", "--plot", "r.svg")
    written = hash_file("new.safetensors")
    assert "<svg" in Path("r.svg").read_text()
    run(*CALIBRATE_HEAD, "--temperature", "2", "--plot", "r.svg")
    assert hash_file("new.safetensors") == written
    twice = ["calibrate", "new.safetensors", "features", *LABELS, "-o", "third.safetensors"]
    run(*twice, "--temperature", "1.5")
    calibration = read_metadata("third.safetensors", HeadMetadata).calibration
    assert calibration is not None and calibration.temperature == 3


def save_faces(count: int, classes: int = 8) -> None:
    """Write grey images whose brightness is their class, and an untrained encoder."""
    rng = np.random.default_rng(0)
    Path("faces").mkdir()
    labels = np.arange(count) % classes
    for k, label in enumerate(labels):
        level = 30 * label + rng.integers(0, 30, (8, 8, 3))
        Image.fromarray(level.astype(np.uint8)).save(f"faces/{k}.png")
    names = [f"{k}.png" for k in range(count)]
    pd.DataFrame({"file": names, "label": [CLASSES[k] for k in labels]}).to_csv(
        "faces.csv", index=False
    )
    torch.manual_seed(0)
    backbone = build_backbone(COMPACT_FACE, CompactFaceShape(4, (8,), (1,)))
    network = nn.ModuleDict({"backbone": backbone, "classifier": nn.Linear(backbone.dim, 8)})
    save_checkpoint("encoder.safetensors", network.state_dict(), backbone.describe())


FACES = ["calibrate", "encoder.safetensors", "--images", "faces", "--manifest", "faces.csv"]
FACES += ["-o", "new.safetensors"]


def test_encoder_is_calibrated_on_images() -> None:
    save_faces(104)
    result = run(*FACES, "--biases", "yes")
    assert "104 examples" in result.stdout and "log loss" in result.stdout
    assert "temperature" in result.stderr
    quiet = run(*FACES, "--biases", "yes", "-q")
    assert (quiet.stdout, quiet.stderr) == (result.stdout, "")
    metadata = read_metadata("new.safetensors", FaceEncoderMetadata)
    assert metadata.calibration and metadata.neutral
    encoder, _ = load_encoder("new.safetensors", CPU)
    faces = np.stack([np.asarray(Image.open(f"faces/{k}.png").resize((48, 48))) for k in (0, 8)])
    p = encoder.classify(faces[:, None].astype(np.uint8))
    assert np.abs(np.log(p).mean(axis=0) - metadata.neutral).max() < 1  # both are Neutral


def test_only_one_split_is_calibrated_on() -> None:
    save_faces(112)
    table = pd.read_csv("faces.csv")
    table["split"] = np.where(table.index < 104, "valid", "test")
    table.to_csv("faces.csv", index=False)
    assert "104 examples" in run(*FACES).stdout
    assert "no labelled image in split 'held'" in run(*FACES, "--split", "held", status=1).stderr


def test_class_without_an_example_gets_no_bias() -> None:
    save_faces(105, classes=7)
    assert "no example of Other: the temperature alone" in run(*FACES).stderr
    metadata = read_metadata("new.safetensors", FaceEncoderMetadata)
    assert metadata.calibration and metadata.calibration.bias == (0.0,) * 8
    refused = run(*FACES, "--biases", "yes", status=1)
    assert "no example of Other: a bias needs some of each class" in refused.stderr


def test_too_few_images_are_refused() -> None:
    save_faces(16)
    assert "16 labelled examples are too few" in run(*FACES, status=1).stderr
    assert not Path("new.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["head.safetensors", "features", "-o", "n.safetensors"], 2, "FEATURES and --labels"),
        (["head.safetensors", *LABELS, "-o", "n.safetensors"], 2, "FEATURES and --labels"),
        (["compact-face", "features", *LABELS, "-o", "n.safetensors"], 2, "give --images and"),
        (["head.safetensors", "features", *LABELS, "-o", "n.bin"], 2, "must end in .safetensors"),
        (["head.safetensors", "features", *LABELS, "-o", "head.safetensors"], 2, "is an input"),
        (["features/a.safetensors", "-o", "n.safetensors"], 2, "'features' weights"),
        (["gone.safetensors", "-o", "n.safetensors"], 1, "gone.safetensors"),
        (
            ["head.safetensors", "features/a.safetensors", *LABELS, "-o", "n.safetensors"],
            2, "two annotated source videos or more, and there is a",
        ),
        (
            ["head.safetensors", "features", *LABELS, "-o", "n.safetensors", "--plot", "r.txt"],
            2, "no picture name",
        ),
        (
            ["head.safetensors", "features", *LABELS, "-o", "n.safetensors", "--temperature", "2",
             "--biases", "yes"],
            2, "excludes",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_calibrated_is_refused(
    arguments: list[str], status: int, message: str
) -> None:
    make_head()
    save_videos(Path(), ["a", "b"], frames=16)
    assert message in run("calibrate", *arguments, status=status).stderr
    assert not Path("n.safetensors").exists()
