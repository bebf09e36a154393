"""`abaw crossval` from the shell."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sample_features import NAMES, save_videos

from abawcli.cli import main


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features and annotations in the working directory."""
    monkeypatch.chdir(tmp_path)
    save_videos(tmp_path, NAMES[:3])


def crossval(*arguments: str) -> Result:
    fast = ["--epochs", "1", "--gated-width", "16", "--device", "cpu", "--folds", "2"]
    return CliRunner().invoke(
        main, ["crossval", "features", "--labels", "labels", "-o", "run", *arguments, *fast]
    )


def test_heads_stand_side_by_side() -> None:
    result = crossval("--head", "gated", "--head", "visual", "--window", "5")
    assert result.exit_code == 0, result.output
    header = next(line for line in result.stdout.splitlines() if "fold" in line and "┃" in line)
    cells = [cell.strip() for cell in header.strip("┃ ").split("┃")]
    names = ["gated", "gated, smoothed", "visual", "visual, smoothed"]
    assert cells == ["fold", "videos", "frames", *names]
    for title in ("macro-F1 on held-out folds", "accuracy on held-out folds"):
        assert title in result.stdout
    assert result.stdout.count("mean") == result.stdout.count("sample deviation") == 2
    assert result.stdout.count("population deviation") == 2
    assert Path("run/folds.csv").read_text().startswith("name,fold\n")


def test_the_best_epoch_is_named() -> None:
    result = crossval("--best-epoch", "--window", "5")
    assert result.exit_code == 0, result.output
    assert "best epoch" in result.stdout and Path("run/gated/fold1/best.safetensors").is_file()
    assert json.loads(Path("run/results.json").read_text())["gated"]["folds"][0]["best_epoch"] == 1


def test_json_is_all_there_is_on_stdout() -> None:
    result = crossval("--json")
    assert result.exit_code == 0, result.output
    described = json.loads(result.stdout)
    assert list(described) == ["gated"] and len(described["gated"]["folds"]) == 2
    again = crossval("--json")
    assert json.loads(again.stdout) == described


def test_bad_calls() -> None:
    assert crossval("--head", "giant").exit_code == 2
    assert crossval("--window", "4").exit_code == 2
    result = CliRunner().invoke(
        main, ["crossval", "features", "--labels", "labels", "-o", "run", "--folds", "9"]
    )
    assert result.exit_code == 2 and "cannot be split into 9 folds" in result.stderr
