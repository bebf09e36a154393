"""Prediction with several heads at once: what each says, averaged."""

from dataclasses import asdict
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import torch
from loaded_networks import load_predictor
from raw_checkpoints import read_raw, write_raw
from sample_clips import thin_clip
from sample_features import small_network

from abawcli.config import Smoothing
from abawcli.errors import UsageError
from abawcli.formats.hashing import hash_file
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.models.heads import build_head, save_head
from abawcli.models.metadata import HeadMetadata
from abawcli.models.recipes import RECIPES, join_recipes
from abawcli.stages.extract import extract_features
from abawcli.stages.fuse import fuse_tables
from abawcli.stages.predict import Predictor
from abawcli.stages.smooth import smooth_table

LEAVES = "leaves_and_returns_vfr"
COLUMNS = ["frame", "time_s", "found", "source", "label", *PROBABILITIES]


@pytest.fixture(scope="module")
def compact() -> Predictor:
    return load_predictor()


@pytest.fixture(scope="module")
def features(compact: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of a clip: he speaks until just before he leaves."""
    path = tmp_path_factory.mktemp("features") / "f.safetensors"
    extract_features(thin_clip(LEAVES), path, compact.extractor)
    return path


@pytest.fixture(scope="module")
def folds(compact: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random heads on the embedded backbones."""
    folder, extractor = tmp_path_factory.mktemp("folds"), compact.extractor
    other = Smoothing(window_frames=5)
    for seed, (name, kind, smoothing) in enumerate(
        [("gated", "gated", Smoothing()), ("again", "gated", Smoothing()),
         ("dual", "dual-branch", other), ("seen", "visual", Smoothing())]
    ):  # fmt: skip
        torch.manual_seed(seed)
        network = small_network(kind)
        head = build_head(kind, extractor.backbones, network)
        metadata = HeadMetadata(kind, asdict(network), extractor.backbones, smoothing)
        save_head(folder / f"{name}.safetensors", head, metadata)
    return folder


def load_folds(folder: Path, *names: str) -> Predictor:
    return Predictor([str(folder / f"{name}.safetensors") for name in names], device="cpu")


@cache
def predict_alone(folder: Path, name: str, features: Path) -> pd.DataFrame:
    return load_folds(folder, name).predict_video(features, smooth=False)


@pytest.mark.parametrize(
    "names", [["gated", "again"], ["dual", "gated"], ["gated", "seen"], ["dual", "again", "seen"]]
)
def test_several_heads_say_what_their_tables_say_fused(
    folds: Path, features: Path, names: list[str]
) -> None:
    predictor = load_folds(folds, *names)
    found = predictor.predict_video(features, smooth=False)
    alone = {name: predict_alone(folds, name, features) for name in names}
    pd.testing.assert_frame_equal(found[COLUMNS], fuse_tables(alone)[COLUMNS], atol=1e-6)
    smooth = predictor.predict_video(features)
    config = Smoothing(window_frames=5) if names[0] == "dual" else Smoothing()
    pd.testing.assert_frame_equal(smooth, smooth_table(found, config))


@pytest.mark.parametrize("names", [["gated", "again"], ["gated", "dual"]])
def test_several_heads_say_the_same_of_video_and_features(
    folds: Path, features: Path, names: list[str]
) -> None:
    predictor = load_folds(folds, *names)
    direct, later = (
        predictor.predict_video(path, smooth=False)[COLUMNS]
        for path in (thin_clip(LEAVES), features)
    )
    pd.testing.assert_frame_equal(direct, later, atol=1e-5)


def test_one_head_by_two_names_counts_once() -> None:
    path = str(RECIPES["compact"])
    names = ["compact-dual-branch", "compact", path]
    assert join_recipes(names).describe() == join_recipes(names[:2]).describe()


def test_one_recipe_given_twice_is_that_recipe(folds: Path) -> None:
    once, twice = load_folds(folds, "gated"), load_folds(folds, "gated", "gated")
    assert once.describe("main", Smoothing()) == twice.describe("main", Smoothing())
    assert len(twice.head.heads) == 1


def test_provenance_names_every_head(folds: Path) -> None:
    metadata = load_folds(folds, "gated", "dual").describe("main", Smoothing())
    paths = [folds / f"{name}.safetensors" for name in ("gated", "dual")]
    assert metadata["heads_sha256"] == [hash_file(path) for path in paths]
    assert metadata["recipe"] == f"{paths[0].name}, {paths[1].name}"


def test_heads_that_smooth_differently(folds: Path, caplog: pytest.LogCaptureFixture) -> None:
    predictor = load_folds(folds, "gated", "dual", "again")
    assert predictor.recipe.smoothing == Smoothing()
    gated, dual = (folds / f"{name}.safetensors" for name in ("gated", "dual"))
    message = f"{dual} has another smoothing than {gated}; their mean is smoothed as the latter"
    assert caplog.messages == [message]
    caplog.clear()
    load_folds(folds, "gated", "again")
    assert not caplog.messages


def test_heads_on_other_backbones_are_not_joined(folds: Path, tmp_path: Path) -> None:
    gated, other = folds / "gated.safetensors", tmp_path / "other.safetensors"
    tensors, metadata = read_raw(gated)
    metadata["audio"] |= {"encoder": "e" * 64}
    write_raw(other, tensors, metadata)
    message = (
        rf"{gated} was trained on audio features of compact-voice .*, {other} on those of "
        r"compact-voice \(.*, eeeeeeeeeeee.*\); predict with each and join .* `abaw fuse`$"
    )
    with pytest.raises(UsageError, match=message):
        Predictor([str(gated), str(other)], device="cpu")
    # What a head does not look at does not matter.
    assert join_recipes([str(folds / "seen.safetensors"), str(other)]).backbones.audio


def test_an_encoder_without_a_head_is_not_averaged(folds: Path) -> None:
    for names in (["compact-face", "compact"], ["compact", "compact-face"]):
        with pytest.raises(UsageError, match="compact-face has no head to average with; predict"):
            Predictor(names, device="cpu")
    assert not Predictor(["compact-face"], device="cpu").recipe.heads
