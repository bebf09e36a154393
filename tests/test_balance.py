"""Class biases: what they change, and the search for the best."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_tables import make_table

from abawcli.balance import apply_bias, find_bias
from abawcli.cli import main
from abawcli.config import Balancing, Smoothing
from abawcli.errors import UsageError
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import read_table, write_table
from abawcli.metrics import score_labels
from abawcli.stages.smooth import smooth_table


def make_rows(seed: int, rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (N, 8), some of them NaN, and labels (N,) of unequal classes."""
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.ones(8))
    labels = rng.choice(8, rows, p=prior)
    p = rng.dirichlet(np.full(8, 0.5), rows) + np.eye(8)[labels] * rng.uniform(0, 0.5)
    p /= p.sum(axis=1, keepdims=True)
    p[rng.random(rows) < 0.1] = np.nan
    return p, labels


def score(p: np.ndarray, labels: np.ndarray) -> float:
    none = np.isnan(p[:, 0])
    return score_labels(labels, np.where(none, -1, np.nan_to_num(p).argmax(axis=1))).macro_f1


def test_a_bias_is_a_factor_of_the_odds() -> None:
    p, _ = make_rows(0)
    bias = np.array([0, 1, -2, 0.5, 0, 0, 3, 0])
    changed = apply_bias(p, bias)
    known = ~np.isnan(p[:, 0])
    np.testing.assert_allclose(changed[known].sum(axis=1), 1)
    assert (np.isnan(changed[:, 0]) == ~known).all()
    odds = changed[known, 6] / changed[known, 0] / (p[known, 6] / p[known, 0])
    np.testing.assert_allclose(odds, np.exp(3))
    np.testing.assert_allclose(apply_bias(p, bias + 5), changed)
    np.testing.assert_allclose(apply_bias(p, np.zeros(8)), p)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_the_bias_that_is_found_is_never_worse_and_is_the_best_of_each_class(seed: int) -> None:
    p, labels = make_rows(seed)
    config = Balancing(grid=(-1.0, -0.5, 0.0, 0.5, 1.0), rounds=20)
    bias = find_bias(p, labels, config)
    best = score(apply_bias(p, bias), labels)
    assert best >= score(p, labels) - 1e-12
    for c in range(8):
        for value in config.grid:
            other = bias.copy()
            other[c] = value
            assert score(apply_bias(p, other), labels) <= best + 1e-12


def test_smooth_takes_a_bias(tmp_path: Path) -> None:
    path, output = tmp_path / "raw.csv", tmp_path / "out.csv"
    write_table(make_table(np.repeat([0, 4, 2], 20), "v"), path, {})
    bias = "-1,0,2.5,0,0,0,0,0"
    arguments = ["smooth", str(path), "-o", str(output), "--window", "5", "--bias", bias]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    plain = smooth_table(read_table(path), Smoothing(window_frames=5))
    expected = apply_bias(plain[PROBABILITIES].to_numpy(), np.array([-1, 0, 2.5, 0, 0, 0, 0, 0]))
    np.testing.assert_allclose(read_table(output)[PROBABILITIES], expected, atol=1e-5)
    settings = json.loads((tmp_path / "out.csv.provenance.json").read_text())["settings"]
    assert settings["bias"] == [-1, 0, 2.5, 0, 0, 0, 0, 0]
    assert Smoothing(**settings) == Smoothing("median", 5, bias=(-1, 0, 2.5, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("bias", "status", "message"),
    [
        ("1,2", 2, "a bias must be 8 numbers, one per class, not 1,2"),
        ("1,nan,0,0,0,0,0,0", 2, "a bias must be 8 numbers"),
        ("a,b", 2, "'a,b' is not a list of numbers"),
    ],
)
def test_a_bias_that_is_none(bias: str, status: int, message: str, tmp_path: Path) -> None:
    path = tmp_path / "raw.csv"
    write_table(make_table(np.zeros(9, np.int64), "v"), path, {})
    arguments = ["smooth", str(path), "-o", str(tmp_path / "x.csv"), "--bias", bias]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == status and message in result.stderr.replace("\n", " ")
    with pytest.raises(UsageError, match="a bias must be 8 numbers"):
        smooth_table(read_table(path), Smoothing(bias=(1.0,)))
