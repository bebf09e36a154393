"""Features of several backbones in one head: joining, training, prediction, what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sample_features import AUDIO, VISUAL, make_features, save_videos

from abawcli.cli import main
from abawcli.errors import InputError
from abawcli.formats.feature_sets import match_feature_sets, read_joined_features
from abawcli.formats.features import read_features, write_features
from abawcli.formats.metadata import Backbones, ImageBackboneMetadata
from abawcli.formats.provenance import read_provenance
from abawcli.formats.tables import read_table
from abawcli.models.checkpoint import read_metadata
from abawcli.models.metadata import HeadMetadata

OTHER = ImageBackboneMetadata("other-face", 4, "e" * 64)
SECOND = Backbones(OTHER, AUDIO)
NAMES = ["a", "b", "c"]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of two backbones and annotations in the working directory."""
    monkeypatch.chdir(tmp_path)
    save_videos(tmp_path / "one", NAMES, 40, missing=0)
    save_videos(tmp_path / "two", NAMES, 40, missing=0, backbones=SECOND)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--device", "cpu"])


def train(*arguments: str) -> Result:
    fast = ["--epochs", "1", "--gated-width", "8", "--batch-size", "50"]
    return invoke("train", "head", *arguments, "--labels", "one/labels", "-o", "run", *fast)


FIRST_THEN_SECOND = "--features", "one/features", "--features", "two/features"
HEAD = "run/head.safetensors"


def test_features_are_concatenated_frame_by_frame() -> None:
    ((one, two),) = match_feature_sets({
        "one": [Path("one/features/a.safetensors")], "two": [Path("two/features/a.safetensors")],
    })  # fmt: skip
    joined, parts = read_joined_features((one, two)), [read_features(one), read_features(two)]
    assert np.array_equal(joined.visual, np.hstack([part.visual for part in parts]))
    assert np.array_equal(joined.audio, parts[0].audio)  # of one backbone: once
    visual = joined.metadata.backbones.visual
    assert visual and visual.dim == 14 and visual.parts == (VISUAL, OTHER)


def test_a_row_has_features_only_if_it_has_those_of_all_backbones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = Path("two/features/a.safetensors")
    features = read_features(path)
    features.has_visual[5:8] = False
    features.visual[5:8] = 0
    write_features(features, path, {})
    joined = read_joined_features((Path("one/features/a.safetensors"), path))
    assert np.flatnonzero(~joined.has_visual).tolist() == [5, 6, 7]
    assert not joined.visual[5:8].any()
    assert "3 frames have visual features of some backbones only" in caplog.text


def test_train_and_predict() -> None:
    result = train(*FIRST_THEN_SECOND)
    assert result.exit_code == 0, result.output
    visual = read_metadata(HEAD, HeadMetadata).backbones.visual
    assert visual and [(part.sha256, part.name, part.dim) for part in visual.parts] == [
        ("f" * 64, "tiny-face", 10), ("e" * 64, "other-face", 4),
    ]  # fmt: skip
    result = invoke("predict", *FIRST_THEN_SECOND, "--recipe", HEAD, "-o", "out")
    assert result.exit_code == 0, result.output
    table = read_table("out/a.csv")
    assert len(table) == 40 and (table["label"] >= 0).all()
    assert [Path(i["name"]).parts[0] for i in read_provenance("out/a.csv")["inputs"]] == ["one"]
    # The second set is an input too: when it changes, the table is made again.
    path = Path("two/features/a.safetensors")
    features = read_features(path)
    write_features(replace(features, visual=-features.visual), path, {})
    result = invoke("predict", *FIRST_THEN_SECOND, "--recipe", HEAD, "-o", "out", "--json")
    assert [row["made"] for row in json.loads(result.stdout)] == [True, False, False]


def test_crossval_predicts_from_all_backbones() -> None:
    result = invoke(
        "crossval", "one/features", "--features", "two/features", "--labels", "one/labels",
        "-o", "cv", "--folds", "2", "--epochs", "1", "--gated-width", "8",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert len(read_table("cv/gated/predictions/b.parquet")) == 40


def test_what_predict_refuses() -> None:
    assert train(*FIRST_THEN_SECOND).exit_code == 0

    def predict(*arguments: str) -> str:
        result = invoke("predict", *arguments, "--recipe", HEAD, "-o", "out/")
        assert result.exit_code in (1, 2) and not list(Path().glob("out/*.csv"))
        return result.stderr

    swapped = predict("two/features", "--features", "one/features")
    assert "number 1 is to be of tiny-face" in swapped and "is of other-face" in swapped
    how = "features of the first as inputs, and those of each further one by --features"
    assert how in swapped
    assert "two/features/a.safetensors + one/features/a.safetensors" in swapped
    missing = predict("one/features")
    assert "number 2 is to be of other-face" in missing and "is missing" in missing
    Path("v.mp4").write_bytes(b"")
    video = predict("v.mp4")
    assert (
        how in video
        and "2 backbones" in video
        and "`abaw extract`" in video
        and "tiny-face, other-face" in video
    )
    assert "v.mp4 is none" in predict("v.mp4", "--features", "two/features")
    assert "Missing argument 'INPUT...'" in predict()


def test_sets_that_do_not_fit() -> None:
    assert "both hold visual features of tiny-face" in train(
        "one/features", "--features", "one/features/a.safetensors"
    ).stderr  # fmt: skip
    assert "twice" in train("one/features", "--features", "one/features").stderr
    result = train(*FIRST_THEN_SECOND, "--valid-features", "x", "--valid-labels", "one/labels")
    assert "1 --valid-features for features of 2 backbones" in result.stderr
    assert "Missing argument 'FEATURES...'" in train().stderr
    Path("two/features/b.safetensors").unlink()
    missing = train(*FIRST_THEN_SECOND).stderr
    assert "two/features has no features of b, subject main, and one/features has" in missing
    assert not Path("run").exists()


def test_files_of_other_frames() -> None:
    path = Path("two/features/a.safetensors")
    write_features(make_features(np.zeros(39, np.int64), "a", backbones=SECOND), path, {})
    assert "a.safetensors has 39 frames and one/features" in train(*FIRST_THEN_SECOND).stderr
    features = make_features(np.zeros(40, np.int64), "a", backbones=SECOND)
    write_features(replace(features, frame=features.frame + 1), path, {})
    with pytest.raises(InputError, match="have different frames"):
        read_joined_features((Path("one/features/a.safetensors"), path))
