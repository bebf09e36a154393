"""Logits: outputs restore them, tables keep them; smoothing, fusing and sweeps use them."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from sample_features import BACKBONES, SMALL_DUAL, SMALL_GATED, make_features, save_videos
from scipy import special

from abawcli.cli import main
from abawcli.config import Smoothing
from abawcli.errors import InputError
from abawcli.formats.features import write_features
from abawcli.formats.table_schemas import COLUMNS, LOGITS, PROBABILITIES
from abawcli.formats.tables import read_table
from abawcli.fusion import average_outputs
from abawcli.logits import log_softmax, make_outputs, restore_logits, softmax
from abawcli.models.ensemble import Ensemble
from abawcli.models.heads import TrainedHead, build_head, save_head
from abawcli.models.metadata import HeadMetadata
from abawcli.smoothing import smooth_probabilities
from abawcli.stages.fuse import fuse_tables
from abawcli.stages.sweep import sweep_files

CPU = torch.device("cpu")
FRAMES = 120


def make_logits(rows: int = FRAMES, seed: int = 0) -> np.ndarray:
    """Return logits (T, 8) whose level differs from row to row, as those of real heads."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, (rows, 8)) + rng.normal(0, 8, (rows, 1))


def make_head(path: Path, smoothing: Smoothing | None, name: str = "gated") -> TrainedHead:
    """Save a head of random weights, some of them large; return it."""
    settings = SMALL_DUAL if name == "dual-branch" else SMALL_GATED
    torch.manual_seed(3)
    network = build_head(name, BACKBONES, settings)
    for parameter in network.parameters():
        parameter.data = (3 * parameter.data).half().float()
    save_head(path, network, HeadMetadata(name, asdict(settings), BACKBONES, smoothing))
    return TrainedHead(network, CPU)


def abaw(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_outputs_restore_the_logits() -> None:
    z = make_logits()
    outputs = make_outputs(z).astype(np.float32)
    np.testing.assert_allclose(outputs[:, :8], special.softmax(z, axis=1), atol=1e-6)
    np.testing.assert_allclose(restore_logits(outputs), z, atol=1e-4)
    mean = average_outputs([outputs, np.roll(outputs, 1, axis=0)])
    p = special.softmax(restore_logits(mean), axis=1)
    np.testing.assert_allclose(p, mean[:, :8], atol=1e-6)
    np.testing.assert_allclose(restore_logits(average_outputs([outputs] * 3)), z, atol=1e-4)


@pytest.mark.parametrize("size", [0.01, 3, 300])
def test_our_softmax_is_that_of_scipy(size: float) -> None:
    """Of logits that are alike, far apart or missing, and of no rows at all."""
    z = size * make_logits(40)
    z[:5, 2:] = z[:5].max(axis=1, keepdims=True)
    z[5] = np.nan
    for rows in (z, z.astype(np.float32), z[:0]):
        p, log_p = special.softmax(rows, axis=1), special.log_softmax(rows, axis=1)
        np.testing.assert_allclose(softmax(rows), p, rtol=1e-6, strict=True)
        np.testing.assert_allclose(log_softmax(rows), log_p, rtol=1e-6, atol=1e-7, strict=True)
    scale = special.logsumexp(z, axis=1)
    np.testing.assert_allclose(make_outputs(z)[:, 8], scale, rtol=1e-14)


@pytest.mark.parametrize("name", ["gated", "dual-branch"])
def test_the_logits_of_a_head_are_its_own(name: str, tmp_path: Path) -> None:
    head = make_head(tmp_path / "h.safetensors", None, name)
    features = make_features(np.arange(12) % 8, missing=0.2)  # one window
    arrays = features.visual, features.audio, features.has_visual, features.has_audio
    with torch.inference_mode():
        v, a, has_v, has_a = (torch.from_numpy(x)[None] for x in arrays)
        if name == "gated":  # a head of single frames
            v, a, has_v, has_a = (x[0][:, None] for x in (v, a, has_v, has_a))
        exact = head.head(v.float(), a.float(), has_v, has_a).reshape(-1, 8)
    found = restore_logits(head.find_outputs(*arrays)[0])
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)
    both = restore_logits(Ensemble([head, head]).find_outputs(*arrays)[0])
    np.testing.assert_allclose(both, exact, rtol=1e-4, atol=1e-4)


def test_the_median_is_that_of_the_logits() -> None:
    z = make_logits()
    frame, valid = np.arange(1, FRAMES + 1), np.ones(FRAMES, bool)
    config = Smoothing("median", 11, None, "logits")
    p = special.softmax(z, axis=1)
    found = smooth_probabilities(p, valid, frame, frame / 25, config=config, logits=z)
    for row in range(5, FRAMES - 5):
        expected = np.median(z[row - 5 : row + 6], axis=0)
        np.testing.assert_allclose(found[row], special.softmax(expected), atol=1e-12)
    centred = smooth_probabilities(p, valid, frame, frame / 25, config=config)
    assert (centred.argmax(axis=1) != found.argmax(axis=1)).any()  # why the scale is kept


@pytest.fixture
def features(tmp_path: Path) -> Path:
    path = tmp_path / "v.safetensors"
    write_features(make_features(np.repeat(np.arange(8), 15), "v", noise=2.0), path, {})
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_predict_then_smooth_is_predict(features: Path, tmp_path: Path, suffix: str) -> None:
    recipe = tmp_path / "h.safetensors"
    head = make_head(recipe, Smoothing("median", 11, None, "logits"))
    raw, once, twice = (tmp_path / f"{name}{suffix}" for name in ("raw", "once", "twice"))
    abaw("predict", features, "-o", raw, "--recipe", recipe, "--no-smooth")
    abaw("predict", features, "-o", once, "--recipe", recipe)
    abaw("smooth", raw, "-o", twice)
    table = read_table(raw)
    arrays = make_features(np.repeat(np.arange(8), 15), "v", noise=2.0)
    outputs, _ = head.find_outputs(arrays.visual, arrays.audio, arrays.has_visual, arrays.has_audio)
    np.testing.assert_allclose(table[LOGITS], restore_logits(outputs), atol=1e-4)
    one, other = read_table(once), read_table(twice)
    assert list(one) == list(other) == COLUMNS  # smoothed rows have no logits
    assert (one["label"] == other["label"]).all()
    np.testing.assert_allclose(one[PROBABILITIES], other[PROBABILITIES], atol=2e-5)
    config = Smoothing("median", 11, None, "logits")
    z = table[LOGITS].to_numpy()
    at = table["source"].isin(["av", "visual"]).to_numpy()
    frame = table["frame"].to_numpy()
    p = table[PROBABILITIES].to_numpy()
    expected = smooth_probabilities(p, at, frame, frame / 25, config=config, logits=z)
    np.testing.assert_allclose(one[PROBABILITIES], expected, atol=2e-5)


def test_tables_have_logits_only_where_they_are_needed(features: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "h.safetensors"
    make_head(recipe, Smoothing())
    plain, asked = tmp_path / "plain.csv", tmp_path / "asked.csv"
    abaw("predict", features, "-o", plain, "--recipe", recipe, "--no-smooth")
    abaw("predict", features, "-o", asked, "--recipe", recipe, "--no-smooth", "--logits")
    assert list(read_table(plain)) == COLUMNS
    assert list(read_table(asked)) == [*COLUMNS, *LOGITS]
    provenance = json.loads((tmp_path / "asked.csv.provenance.json").read_text())
    assert provenance["settings"]["logits"] is True
    arguments = ["predict", features, "-o", tmp_path / "x.csv", "--recipe", recipe, "--logits"]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 2 and "--logits needs --no-smooth" in result.stderr


def read_raw_table(features: Path, tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    recipe, raw = tmp_path / "h.safetensors", tmp_path / "raw.csv"
    make_head(recipe, Smoothing("median", 11, None, "logits"))
    abaw("predict", features, "-o", raw, "--recipe", recipe, "--no-smooth")
    return raw, read_table(raw)


def test_fused_tables_keep_logits_if_all_have_them(features: Path, tmp_path: Path) -> None:
    _, table = read_raw_table(features, tmp_path)
    same = fuse_tables({"a": table, "b": table}, [2, 1])
    np.testing.assert_allclose(same[LOGITS], table[LOGITS], atol=1e-4)
    assert list(fuse_tables({"a": table, "b": table[COLUMNS]})) == COLUMNS


def test_a_sweep_smooths_logits(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    folder, labels = save_videos(tmp_path, names, noise=1.0, missing=0.0)
    recipe = tmp_path / "h.safetensors"
    make_head(recipe, Smoothing("median", 11, None, "logits"))
    abaw("predict", folder, "-o", tmp_path / "raw", "--recipe", recipe, "--no-smooth")
    tables = sorted((tmp_path / "raw").glob("*.csv"))
    annotations = sorted(labels.glob("*.txt"))
    with_logits = sweep_files(tables, annotations)
    for path in tables:
        read_table(path)[COLUMNS].to_csv(path, index=False)
    without = sweep_files(tables, annotations)
    for one, score, other in zip(
        with_logits.candidates, with_logits.macro_f1, without.macro_f1, strict=True
    ):
        assert one.space == "logits" or score == other
    assert (with_logits.macro_f1 != without.macro_f1).any()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("z_anger", None, "has the column z_neutral, but not z_anger"),
        ("z_anger", "", "line 2: logits must be empty where source is none, and only there"),
        ("z_anger", "99", "line 2: the softmax of the logits z_* must be the probabilities p_*"),
    ],
)
def test_logits_that_cannot_be_are_refused(
    features: Path, tmp_path: Path, column: str, value: str | None, message: str
) -> None:
    raw, _ = read_raw_table(features, tmp_path)
    table = pd.read_csv(raw, dtype=str, keep_default_na=False)
    if value is None:
        table = table.drop(columns=column)
    else:
        table.loc[0, column] = value
    table.to_csv(raw, index=False)
    with pytest.raises(InputError, match=re.escape(message)):
        read_table(raw)
