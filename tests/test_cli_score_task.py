"""`abaw score --task`."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import f1_score
from test_tasks import find_direct_ccc
from value_files import write_values

from abawcli.cli import main
from abawcli.tasks import TASKS, Task


def make_videos(folder: Path, task: Task, lengths: dict[str, int], late: int = 0) -> None:
    """Write annotations and predictions of videos; the latter are `late` frames late."""
    rng = np.random.default_rng(1)
    for name, frames in lengths.items():
        y = rng.uniform(-1, 1, (frames, len(task.columns))).round(3)
        p = np.clip(y + rng.normal(0, 0.1, y.shape), -1, 1).round(3)
        if task.whole:
            y, p = (y > 0).astype(float), (p > 0).astype(float)
        y[3] = np.nan
        write_values(folder / "truth" / f"{name}.txt", task, y)
        write_values(folder / "pred" / f"{name}.txt", task, np.roll(p, late, axis=0))


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize("name", ["va", "au"])
def test_videos_are_pooled_and_ignored_frames_left_out(tmp_path: Path, name: str) -> None:
    task = TASKS[name]
    make_videos(tmp_path, task, {"a": 40, "b": 60})
    out = tmp_path / "s.json"
    text = run("score", tmp_path / "pred", tmp_path / "truth", "--task", name, "-o", out)
    score = json.loads(out.read_text())
    y, p = (
        np.concatenate(
            [np.loadtxt(tmp_path / kind / f"{v}.txt", delimiter=",", skiprows=1) for v in "ab"]
        )
        for kind in ("truth", "pred")
    )
    for k, column in enumerate(task.columns):
        known = y[:, k] != task.ignore
        direct = f1_score if task.whole else find_direct_ccc
        assert score["columns"][column] == pytest.approx(direct(y[known, k], p[known, k]))
        assert score["frames"][column] == 98
    assert score["mean"] == pytest.approx(np.mean(list(score["columns"].values())))
    assert f"{score['mean']:.4f}" in text and set(score["videos"]) == {"a", "b"}
    assert max(score["shifts"], key=score["shifts"].get) == "0"
    assert score["interval"][0] <= score["mean"] <= score["interval"][1]


def test_predictions_that_are_late_are_reported(tmp_path: Path) -> None:
    make_videos(tmp_path, TASKS["va"], {name: 40 for name in "abcdef"}, late=1)
    text = run("score", tmp_path / "pred", tmp_path / "truth", "--task", "va")
    assert "predictions that are 1 frame later score" in text


def test_annotations_with_a_row_more_are_counted_and_one_is_named(tmp_path: Path) -> None:
    for name, rows in (("a", 3), ("b", 4)):
        write_values(tmp_path / "t" / f"{name}.txt", TASKS["va"], np.full((rows, 2), 0.5))
        write_values(tmp_path / "p" / f"{name}.txt", TASKS["va"], np.full((3, 2), 0.5))
    text = run("score", tmp_path / "p", tmp_path / "t", "--task", "va")
    assert "1 of 2 annotations have one or two rows more" in text and "as b: 4 and 3)" in text


def test_a_submission_is_scored_and_what_it_lacks_counts_as_zero(tmp_path: Path) -> None:
    write_values(tmp_path / "t" / "x_left.txt", TASKS["va"], np.array([[0.5, 0.1], [1, -1]]))
    pred = tmp_path / "p.txt"
    pred.write_text("image_location,valence,arousal\nx_left/00002.jpg,1,-1\n")
    score = json.loads(run("score", pred, tmp_path / "t", "--task", "va", "--json"))
    assert score["unpredicted"] == 2
    text = run("score", pred, tmp_path / "t", "--task", "va")
    assert "2 annotated values have no prediction (x_left); they count as predicted 0" in text
    x, y = np.array([0.5, 1.0]), np.array([0.0, 1.0])
    assert score["columns"]["valence"] == pytest.approx(find_direct_ccc(x, y))


def test_the_only_predictions_are_scored_whatever_their_name(tmp_path: Path) -> None:
    make_videos(tmp_path, TASKS["va"], {"a": 40})
    pred = (tmp_path / "pred" / "a.txt").rename(tmp_path / "b.txt")
    text = run("score", pred, tmp_path / "truth" / "a.txt", "--task", "va")
    assert "the predictions of b are scored against a: names differ" in text


def test_a_video_without_annotated_values_is_not_the_worst(tmp_path: Path) -> None:
    va = TASKS["va"]
    make_videos(tmp_path, va, {"a": 40, "b": 40, "empty": 10})
    write_values(tmp_path / "truth" / "empty.txt", va, np.full((10, 2), np.nan))
    arguments = ("score", tmp_path / "pred", tmp_path / "truth", "--task", "va")
    text, score = run(*arguments), json.loads(run(*arguments, "--json"))
    assert "videos, all, by mean CCC" in text and "empty" not in text
    assert score["videos"]["empty"] is None and score["videos"]["a"] > 0.9


def test_other_lengths_tasks_and_options_are_refused(tmp_path: Path) -> None:
    va = TASKS["va"]
    make_videos(tmp_path, va, {"a": 40})
    pred, truth = tmp_path / "pred", tmp_path / "truth"
    assert "--task va" in run("score", pred, truth, "--task", "au", code=1)
    assert "only for --task expr" in run("score", pred, truth, "--task", "va", "--sweep", code=2)
    write_values(truth / "a.txt", va, np.zeros((43, 2)))
    message = "the annotation has 43 rows and the video 40 frames"
    assert message in run("score", pred, truth, "--task", "va", code=1)
    write_values(truth / "a.txt", va, np.full((40, 2), np.nan))
    assert "no annotated frame to score" in run("score", pred, truth, "--task", "va", code=1)
