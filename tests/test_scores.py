"""What is said beside the score: interval, calibration, shifts, videos."""

import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_tables import make_table
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from abawcli.cli import main
from abawcli.formats.abaw import write_annotation
from abawcli.formats.submission import write_submission
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import write_table
from abawcli.metrics import (
    count_confusion,
    find_calibration_error,
    find_macro_f1,
    resample_videos,
)
from abawcli.stages.score import Scoring, describe_scoring, score_files

CLASSES = list(range(8))


def make_labels(seed: int, frames: int = 400) -> np.ndarray:
    """Return labels in runs, one in ten not annotated."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.integers(-1, 8, frames), rng.integers(3, 9, frames))[:frames]


def save(folder: Path, name: str, truth: np.ndarray, predicted: np.ndarray) -> None:
    write_annotation(truth, folder / "truth" / f"{name}.txt")
    write_annotation(predicted, folder / "preds" / f"{name}.txt")


def score(folder: Path) -> Scoring:
    names = sorted(path.name for path in (folder / "truth").iterdir())
    return score_files([folder / "preds" / n for n in names], [folder / "truth" / n for n in names])


def test_known_answers_are_those_of_scikit_learn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truths, answers = [], []
    for k in range(6):
        truth = make_labels(k)
        wrong = rng.random(len(truth)) < 0.3
        predicted = np.where(wrong, rng.integers(0, 8, len(truth)), np.maximum(truth, 0))
        save(tmp_path, f"v{k}", truth, predicted)
        truths.append(truth)
        answers.append(predicted)
    found = score(tmp_path)
    y, p = (np.concatenate(parts) for parts in (truths, answers))
    y, p = y[y >= 0], p[np.concatenate(truths) >= 0]
    assert found.overall.macro_f1 == pytest.approx(f1_score(y, p, labels=CLASSES, average="macro"))
    assert found.overall.accuracy == pytest.approx(accuracy_score(y, p))
    np.testing.assert_array_equal(found.overall.confusion, confusion_matrix(y, p, labels=CLASSES))
    assert found.shifts[0] == pytest.approx(found.overall.macro_f1)
    for video, truth, predicted in zip(found.videos, truths, answers, strict=True):
        kept = truth >= 0
        expected = f1_score(truth[kept], predicted[kept], average="macro", zero_division=0)
        assert video.macro_f1 == pytest.approx(expected)
        assert video.accuracy == pytest.approx(accuracy_score(truth[kept], predicted[kept]))
        assert video.frames == kept.sum()
    assert found.interval is not None
    assert found.interval[0] < found.overall.macro_f1 < found.interval[1]


def test_the_interval_of_videos_that_are_alike_has_no_width(tmp_path: Path) -> None:
    truth = make_labels(1)
    predicted = np.maximum(np.roll(truth, 7), 0)
    for name in "abc":
        save(tmp_path, name, truth, predicted)
    found = score(tmp_path)
    assert found.interval == pytest.approx((found.overall.macro_f1,) * 2)


def test_one_video_has_no_interval(tmp_path: Path) -> None:
    save(tmp_path, "a", make_labels(1), np.maximum(make_labels(1), 0))
    found = score(tmp_path)
    assert found.interval is None and found.better_shift is None


def test_tracks_of_one_video_are_drawn_together(tmp_path: Path) -> None:
    truth = np.maximum(make_labels(1), 0)
    good, bad = truth, np.roll(truth, 60)
    for source in ("x", "y", "z_b"):  # each has the same frames in all, its tracks have not
        save(tmp_path, f"{source}_left", truth, good)
        save(tmp_path, f"{source}_right", truth, bad)
    found = score(tmp_path)
    assert found.interval == pytest.approx((found.overall.macro_f1,) * 2)
    for path in [*tmp_path.glob("*/y_*"), *tmp_path.glob("*/z_*")]:
        path.unlink()
    assert score(tmp_path).interval is None


def test_videos_without_an_annotated_frame_are_not_drawn(tmp_path: Path) -> None:
    truth = make_labels(1)
    for name in "ab":
        save(tmp_path, name, truth, np.maximum(truth, 0))
    save(tmp_path, "c", np.full(9, -1), np.zeros(9, np.int64))
    found = score(tmp_path)
    assert found.interval == pytest.approx((found.overall.macro_f1,) * 2)
    assert [video.frames for video in found.videos] == [(truth >= 0).sum()] * 2 + [0]


def write_forms(folder: Path, labels: dict[str, np.ndarray]) -> dict[str, list[Path]]:
    """Write the same predictions in every form; rows of tables and submissions in disorder."""
    rows = pd.concat([make_table(part, name) for name, part in labels.items()])
    rows = rows.sample(frac=1, random_state=0)
    write_table(rows, folder / "all.csv", {})
    write_table(rows, folder / "all.parquet", {})
    write_submission(rows, folder / "all.txt", {})
    for name, part in labels.items():
        write_annotation(part, folder / "texts" / f"{name}.txt")
        write_table(make_table(part, f"{name}.mp4"), folder / "tables" / f"{name}.csv", {})
    first, *others = labels
    mixed = [folder / "tables" / f"{first}.csv"]
    mixed += [folder / "texts" / f"{name}.txt" for name in others]
    whole = {suffix: [folder / f"all.{suffix}"] for suffix in ("csv", "parquet", "txt")}
    texts, tables = sorted(folder.glob("texts/*.txt")), sorted(folder.glob("tables/*.csv"))
    return whole | {"texts": texts, "tables": tables, "mixed": mixed}


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_neither_form_nor_order_matters(seed: int, random: Random) -> None:
    rng = np.random.default_rng(seed)
    names = ("a", "b_left", "b_right", "10-60-1280x720")
    truth = {name: rng.integers(-1, 8, rng.integers(9, 30)) for name in names}
    if not any((part >= 0).any() for part in truth.values()):
        return
    wrong = {name: rng.random(len(part)) < 0.4 for name, part in truth.items()}
    labels = {n: np.where(wrong[n], rng.integers(-1, 8, len(t)), t) for n, t in truth.items()}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, part in truth.items():
            write_annotation(part, folder / "truth" / f"{name}.txt")
        annotations = [folder / "truth" / f"{name}.txt" for name in names]
        forms = write_forms(folder, labels)
        first = describe_without_faces(score_files(forms["texts"], annotations))
        for files in forms.values():
            random.shuffle(files)
            random.shuffle(annotations)
            assert describe_without_faces(score_files(files, annotations)) == first


def describe_without_faces(scoring: Scoring) -> dict[str, Any]:
    """Return what every form of predictions says."""
    described = describe_scoring(scoring)
    return {k: v for k, v in described.items() if k not in ("with_face", "calibration_error")}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10_000))
def test_draws_are_resamplings_of_whole_videos(videos: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = np.stack(
        [count_confusion(rng.integers(-1, 8, 50), rng.integers(-1, 8, 50)) for _ in range(videos)]
    )
    drawn = find_macro_f1(resample_videos(counts, 40, seed))
    assert drawn.shape == (40,) and (drawn >= 0).all() and (drawn <= 1).all()
    np.testing.assert_array_equal(drawn, find_macro_f1(resample_videos(counts, 40, seed)))
    alike = np.repeat(counts[:1], videos, axis=0)
    np.testing.assert_allclose(
        find_macro_f1(resample_videos(alike, 40, seed)), find_macro_f1(counts[0])
    )


def calibrate_slowly(confidence: np.ndarray, right: np.ndarray, bins: int) -> float:
    error = 0.0
    for k in range(bins):
        inside = (confidence >= k / bins) & ((confidence < (k + 1) / bins) | (k == bins - 1))
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    return float(error)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_calibration_error_is_that_of_its_definition(frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, right = rng.random(frames), rng.random(frames) < 0.5
    found = find_calibration_error(confidence, right, 16)  # bins with exact bounds
    assert found == pytest.approx(calibrate_slowly(confidence, right, 16))
    assert find_calibration_error(np.ones(frames), np.ones(frames, bool), 15) == 0


def test_calibration_needs_probabilities(tmp_path: Path) -> None:
    table = make_table([0, 1, 2, 3], "a")
    write_table(table, tmp_path / "a.parquet", {})
    write_annotation(np.array([0, 1, 2, 2]), tmp_path / "a.txt")
    found = score_files([tmp_path / "a.parquet"], [tmp_path / "a.txt"])
    confidence = table[PROBABILITIES].to_numpy().max(axis=1)
    expected = calibrate_slowly(confidence, np.array([1, 1, 1, 0]), 15)
    assert found.calibration_error == pytest.approx(expected)
    assert score_files([tmp_path / "a.txt"], [tmp_path / "a.txt"]).calibration_error is None


@pytest.mark.parametrize("late", [-2, -1, 1, 2])
def test_predictions_that_are_off_by_a_frame_are_found_out(tmp_path: Path, late: int) -> None:
    for k in range(8):
        truth = make_labels(k)
        save(tmp_path, f"v{k}", truth, np.roll(np.maximum(truth, 0), late))
    found = score(tmp_path)
    assert found.better_shift == late
    assert found.shifts[late] == max(found.shifts.values()) > found.shifts[0]
    arguments = ["score", str(tmp_path / "preds"), str(tmp_path / "truth"), "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["better_shift"] == late
    way = {-2: "2 frames earlier", -1: "1 frame earlier", 1: "1 frame later", 2: "2 frames later"}
    assert f"warning: predictions that are {way[late]} score 0." in result.stderr
    assert "check that both sides count frames from 1" in result.stderr


def test_a_shift_that_gains_by_chance_is_not_warned_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(8):
        save(tmp_path, f"v{k}", rng.integers(0, 8, 100), rng.integers(0, 8, 100))
    found = score(tmp_path)
    assert max(found.shifts.values()) > found.shifts[0] + 0.005
    assert found.better_shift is None


def test_everything_is_in_the_json_and_the_worst_videos_on_the_terminal(tmp_path: Path) -> None:
    for k in range(12):
        truth = np.maximum(make_labels(k), 0)
        predicted = truth.copy()
        predicted[: 20 * k] = (truth[: 20 * k] + 1) % 8
        save(tmp_path, f"v{k:02d}", truth, predicted)
    arguments = ["score", str(tmp_path / "preds"), str(tmp_path / "truth")]
    described = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert list(described["videos"]) == [f"v{k:02d}" for k in range(12)]
    assert described["videos"]["v11"]["accuracy"] == pytest.approx(1 - 220 / 400)
    assert list(described["shifts"]) == ["-2", "-1", "0", "1", "2"]
    low, high = described["macro_f1_interval"]
    assert low < described["macro_f1"] < high
    shown = CliRunner().invoke(main, arguments).stdout
    assert "the 10 worst of 12 (-v: all)" in shown and "v11" in shown and "v00" not in shown
    shown = CliRunner().invoke(main, [*arguments, "-v"]).stdout
    assert "videos, all, by accuracy" in shown and "v11" in shown and "v00" in shown
    assert "95 % bootstrap CI" in shown
