"""Feature files: what is written is read, and what is no features is refused by name."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from abawcli.errors import InputError, OutputError
from abawcli.formats.features import (
    Features,
    read_features,
    write_features,
)
from abawcli.formats.hashing import hash_file
from abawcli.formats.metadata import (
    AudioBackboneMetadata,
    Backbones,
    FeaturesMetadata,
    ImageBackboneMetadata,
)
from abawcli.formats.provenance import read_provenance

VISUAL = ImageBackboneMetadata("compact-face", 3, "ab")
AUDIO = AudioBackboneMetadata("compact-voice", 2, "cd")
BACKBONES = Backbones(VISUAL, AUDIO)


def make_features(rows: int = 5, backbones: Backbones = BACKBONES) -> Features:
    rng = np.random.default_rng(0)
    has_visual, has_audio = np.arange(rows) > 0, np.arange(rows) < rows - 1
    return Features(
        frame=np.arange(1, rows + 1),
        time_s=np.arange(rows) / 25,
        visual=(rng.normal(size=(rows, 3)) * has_visual[:, None]).astype(np.float16),
        audio=(rng.normal(size=(rows, 2)) * has_audio[:, None]).astype(np.float16),
        has_visual=has_visual,
        has_audio=has_audio,
        box=np.where(has_visual[:, None], 1, np.nan).repeat(4, axis=1).astype(np.float32),
        face_score=np.where(has_visual, 0.9, np.nan).astype(np.float32),
        quality=np.where(has_visual[:, None], 0.5, np.nan).repeat(4, axis=1).astype(np.float32),
        metadata=FeaturesMetadata("v", "main", backbones),
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made, path = make_features(), tmp_path / "deep" / "v.safetensors"
    write_features(made, path, {"command": "extract"})
    found = read_features(path)
    for field in fields(Features):
        if field.name != "metadata":
            value = getattr(found, field.name)
            np.testing.assert_array_equal(value, getattr(made, field.name))
            assert value.dtype == getattr(made, field.name).dtype
    assert found.metadata == made.metadata
    assert read_provenance(path) == {"command": "extract", "output": hash_file(path)}


def test_one_modality_alone_is_of_width_0(tmp_path: Path) -> None:
    made = make_features(backbones=Backbones(VISUAL))
    made = replace(made, audio=np.zeros((5, 0), np.float16), has_audio=np.zeros(5, bool))
    write_features(made, tmp_path / "v.safetensors", {})
    found = read_features(tmp_path / "v.safetensors")
    assert found.audio.shape == (5, 0) and found.metadata.backbones.audio is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("visual", None, "has no array visual"),
        ("frame", np.arange(1, 4), "time_s has 5 rows and frame 3"),
        ("frame", np.arange(5), "frames must be numbers from 1"),
        ("frame", np.array([1, 2, 2, 3, 4]), "in ascending order"),
        ("audio", np.zeros((5, 2)), "audio is float64 .*not float16"),
        ("audio", np.zeros(5, np.float16), "not float16 of 2 dimensions"),
        ("audio", np.zeros((5, 7), np.float16), "audio is 7 wide, in its metadata 2"),
        ("box", np.zeros((5, 3), np.float32), "box has 3 columns"),
        (
            "visual",
            np.array([[0] * 3] * 3 + [[0, np.nan, 0], [np.inf] * 3], np.float16),
            r"visual features of frame 4 are no finite numbers \(2 such rows\)",
        ),
    ],
)
def test_arrays_that_cannot_be_are_named(
    tmp_path: Path, name: str, value: Any, message: str
) -> None:
    path = tmp_path / "v.safetensors"
    write_features(make_features(), path, {})
    arrays = load_file(path) | {name: value}
    with safe_open(path, framework="np") as file:
        header = file.metadata()
    save_file({k: v for k, v in arrays.items() if v is not None}, path, header)
    with pytest.raises(InputError, match=message):
        read_features(path)


def test_no_rows(tmp_path: Path) -> None:
    write_features(make_features(rows=0), tmp_path / "v.safetensors", {})
    with pytest.raises(InputError, match="holds no rows"):
        read_features(tmp_path / "v.safetensors")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "has no metadata of abaw; features come from `abaw extract`"),
        ({"abaw": "{"}, "damaged metadata"),
        ({"abaw": "[]"}, "damaged metadata"),
        ({"abaw": '{"kind": "encoder", "format": 1}'}, "holds 'encoder'"),
        ({"abaw": '{"kind": "features", "format": 9}'}, "format 9, this version reads up to 1"),
    ],
)
def test_other_safetensors_are_refused(
    tmp_path: Path, header: dict[str, str] | None, message: str
) -> None:
    save_file({"frame": np.arange(3)}, tmp_path / "x.safetensors", header)
    with pytest.raises(InputError, match=message):
        read_features(tmp_path / "x.safetensors")


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_features(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no table")
    with pytest.raises(InputError, match="is not a safetensors file"):
        read_features(tmp_path / "text.safetensors")
    with pytest.raises(InputError, match="it is a folder"):
        read_features(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="not a folder"):
        write_features(make_features(), tmp_path / "file" / "v.safetensors", {})


def test_features_of_other_layers_are_another_backbones() -> None:
    one = AudioBackboneMetadata("w", 8, "a" * 64, layers="last4")
    assert one.identity != replace(one, layers="first4").identity
    assert Backbones(None, one).find_difference(Backbones()) == "audio"
    assert str(one) == "w (8 wide, aaaaaaaaaaaa, layers last4)"
    assert Backbones().name("audio") == "none"


def test_a_backbone_is_its_weights_and_not_its_name() -> None:
    one = AudioBackboneMetadata("models/w", 8, "a" * 64, "/a/models/w")
    moved = replace(one, name="/b/w", path="/b/w")
    assert one.identity == moved.identity
    assert one.to_settings() == moved.to_settings()
    assert not {"backbone", "place"} & one.to_settings().keys()
    assert one.identity != replace(one, sha256="b" * 64).identity
    for unknown in (replace(one, sha256=None), replace(moved, sha256=None)):
        assert one.identity != unknown.identity
        assert unknown.to_settings() == unknown.to_json()


@pytest.mark.parametrize("name", ["visual", "audio"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_never_written(
    tmp_path: Path, name: str, value: float
) -> None:
    features = make_features()
    values = getattr(features, name).copy()
    row = int(getattr(features, f"has_{name}").argmax())
    values[row, 0] = value
    bad = replace(features, **{name: values})
    message = f"the {name} features of frame {features.frame[row]} are no finite numbers"
    with pytest.raises(InputError, match=message):
        write_features(bad, tmp_path / "v.safetensors", {})
    assert not list(tmp_path.iterdir())
