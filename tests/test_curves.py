"""Training curves, drawn from the metrics that runs write."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from sample_features import NAMES, SMALL_GATED, save_videos

from abawcli.cli import main
from abawcli.config import HeadTraining
from abawcli.errors import InputError, UsageError
from abawcli.stages.train_head import train_fusion_head
from abawcli.views.curves import draw_curves, find_training_runs, plot_runs, read_metrics


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a head, of three and two epochs."""
    work = tmp_path_factory.mktemp("runs")
    features, labels = save_videos(work, NAMES)
    files = sorted(features.glob("*.safetensors")), sorted(labels.glob("*.txt"))
    config = HeadTraining(epochs=3, batch_frames=200, network=SMALL_GATED, lr=1e-2)
    train_fusion_head(files, work / "cv" / "a", config=config, device="cpu")
    train_fusion_head(files, work / "cv" / "b", config=replace(config, epochs=2), device="cpu")
    return work / "cv"


def test_curves_are_the_metrics(runs: Path) -> None:
    paths = find_training_runs([runs])
    assert [path.parent.name for path in paths] == ["a", "b"]
    rows = {path.parent.name: read_metrics(path) for path in paths}
    loss, score, rate = draw_curves(rows).axes
    found = {str(line.get_label()): line.get_xydata().tolist() for line in loss.lines}
    assert set(found) == {"a", "a, valid_loss", "b", "b, valid_loss"}
    assert found["a"] == [[row["epoch"], row["loss"]] for row in rows["a"]]
    assert found["b, valid_loss"] == [[row["epoch"], row["valid_loss"]] for row in rows["b"]]
    assert [len(line.get_xydata().tolist()) for line in score.lines] == [3, 2]
    assert rate.lines[0].get_ydata().tolist() == [row["lr"] for row in rows["a"]]


def test_plot_takes_run_folders(runs: Path, tmp_path: Path) -> None:
    output = tmp_path / "curves.png"
    result = CliRunner().invoke(main, ["plot", str(runs), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert (
        output.read_bytes().startswith(b"\x89PNG") and "curves of 2 training runs" in result.stderr
    )
    before = output.stat().st_mtime_ns
    assert CliRunner().invoke(main, ["plot", str(runs), "-o", str(output)]).exit_code == 0
    assert output.stat().st_mtime_ns == before


def test_tables_and_folders_without_a_run_are_not_passed_over(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for others in (["labels.csv"], [str(tmp_path / "empty"), "labels.csv"]):
        call = ["plot", str(runs), *others, "-o", str(tmp_path / "x.png")]
        result = CliRunner().invoke(main, call)
        assert result.exit_code == 2 and f"{others[0]} " in result.stderr
        assert "has no training run" in result.stderr and "apart" in result.stderr
    assert not (tmp_path / "x.png").exists()


def test_metrics_that_cannot_be_drawn(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    path.parent.mkdir()
    for text in ("", "{", '{"a": 1}\n', "[]"):
        path.write_text(text)
        with pytest.raises(InputError, match="has no metrics of a training run"):
            plot_runs([path], tmp_path / "x.png")
    with pytest.raises(UsageError, match="11 runs are too many"):
        plot_runs([path] * 11, tmp_path / "x.png")
