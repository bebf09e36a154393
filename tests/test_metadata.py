"""Metadata of files: what was written before is read, what is used is checked, the rest passes."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_checkpoints import read_raw, write_raw
from safetensors.numpy import save_file
from sample_features import BACKBONES, make_features

from abawcli.config import Smoothing
from abawcli.errors import CheckpointError, InputError
from abawcli.formats.crops import CropsMetadata
from abawcli.formats.features import TYPES, read_features, write_features
from abawcli.formats.metadata import (
    AudioBackboneMetadata,
    Backbones,
    FeaturesMetadata,
    FeatureSource,
    ImageBackboneMetadata,
    Preprocess,
)
from abawcli.formats.strategy import SubjectSegment, describe_choice
from abawcli.models.checkpoint import read_metadata
from abawcli.models.metadata import FaceEncoderMetadata, HeadMetadata, VoiceEncoderMetadata
from abawcli.models.recipes import WEIGHTS
from abawcli.models.training_metadata import (
    EpochResult,
    TrainingMetadata,
    TrainingState,
    Validation,
)

# As version 0.1.0 first wrote them.
FACE_SHA256 = "4f6b219590321b054a8e0a9be236db4e870ac71a574f8310a4ec73179238eeea"
OLD_VISUAL = {
    "backbone": "compact-face",
    "encoder": FACE_SHA256,
    "place": "compact-face",
    "dim": 3,
    "preprocess": {
        "resize": 48,
        "size": 44,
        "mean": [0.508],
        "std": [0.255],
        "crop_scales": [1.0],
    },
}
OLD_AUDIO = {
    "backbone": "models/wavlm",
    "encoder": None,
    "place": "/home/a/models/wavlm",
    "dim": 2,
    "layers": "last4",
    "normalise": True,
    "window_s": 0.5,
    "chunk_s": 20.0,
}
OLD_FEATURES = {
    "format": 1,
    "kind": "features",
    "abawcli": "0.1.0",
    "video": "v",
    "visual": OLD_VISUAL,
    "audio": OLD_AUDIO,
    "source": {"kind": "recording", "path": "/home/a/v.mp4", "computed_in": {"visual": "float32"}},
    "subject": "main",
}
CLASSES = ["Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other"]
OLD_RESULT = {
    "epoch": 4,
    "loss": 0.78,
    "accuracy": 0.75,
    "macro_f1": 0.72,
    "f1": dict.fromkeys(CLASSES, 0.72),
}
OLD_HEAD = {
    "format": 1,
    "kind": "head",
    "head": "gated",
    "network": {"hidden": 4, "dropout": 0.2, "visual_dropout": 0.2, "audio_dropout": 0.25},
    "classes": CLASSES,
    "training": {"epochs": 5, "sound_swap": 0.3},
    "data": {"train": {"videos": 78}, "valid": None},
    "visual": OLD_VISUAL,
    "audio": OLD_AUDIO,
    "command": "train head",
    "smoothing": {"method": "median", "window_frames": 25, "window_s": 2.0, "space": "logits"},
    "result": OLD_RESULT,
    "version": "0.1.0",
}
VISUAL = ImageBackboneMetadata(
    "compact-face", 3, FACE_SHA256, "compact-face", Preprocess(48, 44, (0.508,), (0.255,), (1.0,))
)
AUDIO = AudioBackboneMetadata(
    "models/wavlm", 2, None, "/home/a/models/wavlm", "last4", True, 0.5, 20.0
)
WEIGHTS_SHA256 = {  # of what the package ships
    "compact-dual-branch": "d9660c71f193585620d23b080c069912fc61a5c53eb3da04bfa0b85e446a6d44",
    "compact-face": "d83cd3ec81f9900fc8ae1b03a51951c1f38ad2b519f154f65a07cc99a4be5266",
    "compact-gated": "4a0a4317b729fc130f5563d50d343d424d0c5331325ac78a8eef4fedabb4a91c",
    "compact-voice": "0ec31615bb12b3dcfc673d67ccba025b1ced7d6c7b43685d464d3b5cc5100025",
}


def write_old_features(path: Path, metadata: dict[str, Any]) -> Path:
    """Write a feature file without `quality`, which came later."""
    shapes = {"visual": (4, 3), "audio": (4, 2), "box": (4, 4)}
    arrays = {
        name: np.zeros(shapes.get(name, (4,)), kind)
        for name, kind in TYPES.items()
        if name != "quality"
    }
    save_file(arrays | {"frame": np.arange(1, 5)}, path, {"abaw": json.dumps(metadata)})
    return path


def test_features_of_before_are_read(tmp_path: Path) -> None:
    found = read_features(write_old_features(tmp_path / "v.safetensors", OLD_FEATURES)).metadata
    source = FeatureSource("recording", computed_in={"visual": "float32"})
    assert found == FeaturesMetadata("v", "main", Backbones(VISUAL, AUDIO), source)
    assert found.backbones.to_json() == {  # and written as it was
        "visual": OLD_VISUAL | {"preprocess": VISUAL.preprocess and VISUAL.preprocess.to_json()},
        "audio": OLD_AUDIO,
    }


def test_a_head_of_before_is_read(tmp_path: Path) -> None:
    write_raw(tmp_path / "h.safetensors", {}, OLD_HEAD)
    found = read_metadata(tmp_path / "h.safetensors", HeadMetadata)
    validation = Validation(0.72, 0.75, dict.fromkeys(CLASSES, 0.72))
    assert found == HeadMetadata(
        "gated",
        OLD_HEAD["network"],  # type: ignore[arg-type]
        Backbones(VISUAL, AUDIO),
        Smoothing("median", None, 2.0, "logits"),  # seconds come before frames
        TrainingMetadata(
            "train head",
            {"train": {"videos": 78}, "valid": None},
            {"epochs": 5, "sound_swap": 0.3},
            EpochResult(4, 0.78, validation),
            "0.1.0",
        ),
    )


@pytest.mark.parametrize("name", sorted(WEIGHTS_SHA256))
def test_the_weights_of_the_package_are_as_they_were(name: str) -> None:
    path = WEIGHTS / f"{name}.safetensors"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == WEIGHTS_SHA256[name]
    _, written = read_raw(path)
    records = (FaceEncoderMetadata, VoiceEncoderMetadata, HeadMetadata)
    (record,) = (record for record in records if record.kind == written["kind"])
    found = json.loads(json.dumps(read_metadata(path, record).to_json()))
    assert {"format": 1} | found == written  # nothing that stands in them is lost


def test_the_audio_of_crops_is_read_by_its_old_key_too() -> None:
    source = FeatureSource("crops", "crops/a", audio="videos/a.mp4", scales=(1.0,))
    written = json.loads(json.dumps(source.to_json()))
    assert FeatureSource.from_json(written, "v") == source
    before = {"sound" if key == "audio" else key: value for key, value in written.items()}
    assert FeatureSource.from_json(before, "v") == source


@given(st.sampled_from(["visual", "audio"]), st.integers(), st.booleans())
def test_other_keys_pass(key: str, value: int, inside: bool) -> None:
    changed: dict[str, Any] = json.loads(json.dumps(OLD_FEATURES))
    (changed[key] if inside else changed)["later"] = value
    assert FeaturesMetadata.from_json(changed, "v") == FeaturesMetadata.from_json(OLD_FEATURES, "v")


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        ("video", None, "has no video, a text"),
        ("subject", 3, "has 3 as subject, which is not a text"),
        ("visual", [], r"has \[\] as visual, which is not an object"),
        ("visual.dim", "3", "has '3' as dim, which is not a whole number"),
        ("visual.dim", True, "has True as dim, which is not a whole number"),
        ("visual.backbone", None, "has no backbone"),
        ("visual.preprocess.mean", 0.5, "has 0.5 as mean, which is not a list"),
        ("visual.preprocess.std", ["x"], "has 'x' as std, which is not a number"),
        ("audio.encoder", 7, "has 7 as encoder, which is not a text"),
        ("audio.layers", "x" * 99, None),
        ("audio.window_s", "long", "has 'long' as window_s, which is not a number"),
        ("source.name", {}, r"has \{\} as name"),
    ],
)
def test_what_is_used_is_checked(keys: str, value: Any, said: str | None, tmp_path: Path) -> None:
    changed: dict[str, Any] = json.loads(json.dumps(OLD_FEATURES))
    *outer, last = keys.split(".")
    inner = changed
    for key in outer:
        inner = inner[key]
    inner[last] = value
    path = write_old_features(tmp_path / "v.safetensors", changed)
    if said is None:
        read_features(path)
        return
    with pytest.raises(InputError, match=rf"v\.safetensors: its metadata {said}"):
        read_features(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": None}, "has no network, an object"),
        ({"smoothing": {"method": 3}}, "has 3 as method"),
        ({"smoothing": {"method": "mean"}}, "has no space"),
        ({"audio": {"dim": 2}}, "has no backbone"),
        ({"result": {"epoch": "last"}}, "has 'last' as epoch"),
        ({"face_only": 3}, "has 3 as face_only"),
        ({"face_only": "voice"}, "has 'voice' as face_only, not head or encoder"),
    ],
)
def test_a_damaged_head_is_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_raw(tmp_path / "h.safetensors", {}, OLD_HEAD | change)
    with pytest.raises(CheckpointError, match=rf"h\.safetensors: its metadata {said}"):
        read_metadata(tmp_path / "h.safetensors", HeadMetadata)


figures = st.floats(0, 1)
validations = st.builds(
    Validation, figures, figures, st.dictionaries(st.sampled_from(CLASSES), figures),
    st.none() | st.dictionaries(st.text("aé", max_size=2), figures, max_size=3),
    st.none() | figures,
)  # fmt: skip


@given(
    st.lists(st.builds(EpochResult, st.integers(1), figures, st.none() | validations), max_size=3)
)
def test_results_are_read_as_they_were_written(history: list[EpochResult]) -> None:
    state = TrainingState(history)
    assert TrainingState.from_json(json.loads(json.dumps(state.to_json())), "last") == state


@pytest.mark.parametrize("confidence", [None, 0.45])
def test_the_reliable_confidence_of_a_voice_encoder_is_kept(confidence: float | None) -> None:
    values = VoiceEncoderMetadata({}, reliable_confidence=confidence).to_json()
    assert ("reliable_confidence" in values) == (confidence is not None)
    assert VoiceEncoderMetadata.from_json(values, "v").reliable_confidence == confidence


def test_a_training_state_that_cannot_be() -> None:
    for history in (None, 3, [3], [{"epoch": 1}]):
        with pytest.raises(InputError, match="run/last: its metadata has"):
            TrainingState.from_json({"history": history}, "run/last")


# Provenance of crops as version 0.1.0 first wrote it: inputs were paths alone.
OLD_CROPS = {
    "command": "crop",
    "inputs": ["/home/a/v.mp4"],
    "files": {"/home/a/v.mp4": [1, 2]},
    "settings": {"subject": "strategy", "scales": [1.0], "stretches": [["left", 3, None]]},
}


def test_crops_of_before_are_read() -> None:
    expected = CropsMetadata("strategy", (("left", 3, None),))
    assert CropsMetadata.from_json(OLD_CROPS, "faces.parquet") == expected
    assert CropsMetadata.from_json({}, "faces.parquet") == CropsMetadata("main")


@pytest.mark.parametrize(
    ("choice", "named", "shortened"),
    [
        ((SubjectSegment("track 1"),), "track 1", "track 1"),
        (
            (SubjectSegment("left", 3, 9), SubjectSegment("top", 12)),
            "left 3-9, top 12-",
            "left 3-9, ...",
        ),
    ],
)
def test_what_crops_show_is_read_as_it_was_written(
    choice: tuple[SubjectSegment, ...], named: str, shortened: str
) -> None:
    settings = json.loads(json.dumps(describe_choice(choice)))
    found = CropsMetadata.from_json({"settings": settings | {"rotate": 90}}, "faces.parquet")
    assert found.rotate == 90
    assert (found.name_subject(9), found.name_subject(1)) == (named, shortened)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"settings": {"subject": 3}}, "has 3 as subject"),
        ({"settings": {"rotate": "left"}}, "has 'left' as rotate"),
        ({"settings": {"segments": [["left"]]}}, "has no from"),
        ({"settings": {"segments": [7]}}, "has 7 as segments"),
        ({"inputs": "v.mp4"}, "has 'v.mp4' as inputs"),
    ],
)
def test_damaged_provenance_of_crops_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"faces.parquet: its metadata {said}"):
        CropsMetadata.from_json(values, "faces.parquet")


def test_features_keep_their_metadata(tmp_path: Path) -> None:
    source = FeatureSource("crops", "crops/v", "v.mp4", (0.9, 1.2), {"audio": "bfloat16"})
    made = make_features(np.arange(4), backbones=BACKBONES)
    made = replace(made, metadata=replace(made.metadata, source=source))
    write_features(made, tmp_path / "v.safetensors", {})
    assert read_features(tmp_path / "v.safetensors").metadata == made.metadata


def test_resampling_is_written_where_it_is_not_our_own() -> None:
    own = Preprocess(48, 44, (0.5,), (0.2,))
    values = json.loads(json.dumps(own.to_json()))
    assert "resample" not in values and Preprocess.from_json(values, "f") == own
    bicubic = replace(own, resample="bicubic")
    assert Preprocess.from_json(json.loads(json.dumps(bicubic.to_json())), "f") == bicubic
    mirrored = replace(own, flip=True)
    assert Preprocess.from_json(json.loads(json.dumps(mirrored.to_json())), "f") == mirrored
    with pytest.raises(InputError, match="f: unknown resampling 'sinc'"):
        Preprocess.from_json(values | {"resample": "sinc"}, "f")
