"""The dual-branch system of arXiv 2603.08034 whole, on tiny backbones: a tuned BEiT, WavLM."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from raw_checkpoints import read_raw
from sample_clips import CLIPS, abaw, copy_labels, thin_clip
from tiny_models import save_audio_backbone, save_image_set, save_vision_backbone

from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import read_table


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tune BEiT, extract and train on the sample clips; return the folder with everything."""
    work = tmp_path_factory.mktemp("dual-branch")
    images = save_image_set(work / "images", train=8)
    save_vision_backbone(work / "beit", "beit")
    save_audio_backbone(work / "wavlm", "wavlm")
    copy_labels(work / "labels")
    abaw("train", "face", "--images", work / "images", "--manifest", images, "-o",
         work / "encoder", "--backbone", work / "beit", "--epochs", "1", "--batch-size", "8",
         "--frozen-blocks", "1", "--device", "cpu")  # fmt: skip
    backbones = ["--visual", work / "encoder" / "encoder.safetensors", "--audio", work / "wavlm"]
    videos = [thin_clip(clip) for clip in CLIPS]
    abaw("extract", *videos, "-o", work / "features", *backbones, "--device", "cpu")
    abaw("train", "head", work / "features", "--labels", work / "labels", "-o", work / "run",
         "--head", "dual-branch", "--hidden", "16", "--layers", "2", "--epochs", "1",
         "--device", "cpu")  # fmt: skip
    return work


def test_the_head_is_of_the_published_kind(run: Path) -> None:
    _, metadata = read_raw(run / "run" / "head.safetensors")
    assert metadata["head"] == "dual-branch"
    assert (metadata["network"]["window_frames"], metadata["network"]["stride_frames"]) == (64, 32)
    assert (
        metadata["training"]["focal_gamma"] == 2 and metadata["training"]["modality_dropout"] == 0.1
    )
    assert metadata["audio"]["backbone"] == str(run / "wavlm")
    assert metadata["smoothing"]["method"] == "median" and metadata["smoothing"]["window_s"] == 1.0


def test_the_head_is_a_recipe_for_videos_and_features(run: Path) -> None:
    tables = []
    for source in (thin_clip("expressions"), run / "features" / "expressions.safetensors"):
        output = run / f"{source.suffix[1:]}.parquet"
        abaw("predict", source, "-o", output, "--recipe", run / "run" / "head.safetensors",
             "--device", "cpu")  # fmt: skip
        tables.append(read_table(output))
        score = json.loads(abaw("score", output, run / "labels" / "expressions.txt", "--json"))
        assert score["frames"] == 55 and 0 <= score["macro_f1"] <= 1  # without passages
    assert set(tables[0]["source"]) == {"av"}
    pd.testing.assert_frame_equal(tables[0][PROBABILITIES], tables[1][PROBABILITIES], atol=1e-3)


def test_a_face_that_leaves_is_read_from_what_is_there(run: Path) -> None:
    clip = thin_clip("leaves_and_returns_vfr")
    output = run / "leaves.csv"
    abaw("predict", clip, "-o", output, "--recipe", run / "run" / "head.safetensors",
         "--no-smooth", "--device", "cpu")  # fmt: skip
    table = read_table(output)
    assert not table["found"].all() and (table["label"] >= 0).all()
    assert set(table.loc[~table["found"], "source"]) == {"audio"}  # all of it is speech


def test_cross_validation_of_both_systems(run: Path) -> None:
    out = abaw("crossval", run / "features", "--labels", run / "labels", "-o", run / "cv",
               "--folds", "3", "--head", "gated", "--head", "dual-branch", "--epochs", "1",
               "--hidden", "16", "--layers", "1", "--gated-width", "16", "--json",
               "--device", "cpu")  # fmt: skip
    report = json.loads(out)
    assert list(report) == ["gated", "dual-branch"]
    for head in report.values():
        assert len(head["folds"]) == 3
        assert np.isfinite(head["smoothed"]["macro_f1"]["mean"])
