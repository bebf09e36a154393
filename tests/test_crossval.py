"""Cross-validation: folds, figures, resuming."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sample_features import NAMES, save_videos, small_network

from abawcli.config import HeadTraining, Smoothing
from abawcli.datasets.annotated import read_annotated
from abawcli.datasets.folds import read_folds, write_folds
from abawcli.errors import OutputError, UsageError
from abawcli.formats.abaw import read_annotation
from abawcli.formats.tables import has_logits, read_table
from abawcli.metrics import choose_labels, score_labels
from abawcli.models.heads import load_head
from abawcli.stages.crossval import Results, cross_validate, describe_results
from abawcli.stages.smooth import smooth_table

FAST = HeadTraining(
    epochs=2,
    batch_frames=200,
    lr=1e-2,
    smoothing=Smoothing("median", 5),
)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return save_videos(tmp_path, NAMES)


def run(
    folders: tuple[Path, Path], out: Path, heads: tuple[str, ...] = ("gated",), **options: Any
) -> Results:
    files = sorted(folders[0].glob("*.safetensors")), sorted(folders[1].glob("*.txt"))
    config = options.pop("config", FAST)
    configs = {head: replace(config, network=small_network(head)) for head in heads}
    folds = options.pop("folds", 3)
    return cross_validate(*files, out, heads, folds=folds, configs=configs, device="cpu", **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    """Return a folder with the run of two heads in `run` and its data, and the run's results."""
    work = tmp_path_factory.mktemp("crossval")
    return work, run(save_videos(work, NAMES), work / "run", ("gated", "dual-branch"))


def test_every_head_gets_the_same_folds(finished: tuple[Path, Results]) -> None:
    work, results = finished
    folds = read_folds(work / "run/folds.csv")
    assert set(folds) == set(NAMES) and folds["d_left"] == folds["d_right"]
    assert list(results) == ["gated", "dual-branch"]
    for scores in results.values():
        assert [s.fold for s in scores] == [1, 2, 3]
        assert [s.videos for s in scores] == [list(folds.values()).count(k) for k in (1, 2, 3)]
    same = [[s.raw.support.tolist() for s in scores] for scores in results.values()]
    assert same[0] == same[1]
    for k in (1, 2, 3):
        assert (work / f"run/dual-branch/fold{k}/head.safetensors").exists()


def test_a_fold_is_scored_by_the_head_that_never_saw_it(finished: tuple[Path, Results]) -> None:
    work, results = finished
    result = results["gated"][1]
    folds = read_folds(work / "run/folds.csv")
    held = [name for name, fold in folds.items() if fold == 2]
    head, metadata = load_head(work / "run/gated/fold2/head.safetensors", torch.device("cpu"))
    assert metadata.training and metadata.training.data and metadata.training.result
    assert metadata.training.data["train"]["videos"] == len(NAMES) - len(held)
    assert metadata.training.data["valid"] is None and metadata.training.result.epoch == 2
    data = read_annotated(
        [work / f"features/{name}.safetensors" for name in held],
        [work / f"labels/{name}.txt" for name in held],
    )
    p, _ = head.classify(data.visual, data.audio, data.has_visual, data.has_audio)
    score = score_labels(data.labels, choose_labels(p))
    assert result.raw.macro_f1 == score.macro_f1
    np.testing.assert_array_equal(result.raw.confusion, score.confusion)


def test_smoothing_fills_and_helps(tmp_path: Path) -> None:
    folders = save_videos(tmp_path, NAMES[:4])
    for space in ("probabilities", "logits"):
        config = replace(FAST, epochs=4, smoothing=Smoothing("median", 7, None, space))
        for score in run(folders, tmp_path / space, config=config, folds=2)["gated"]:
            assert score.smoothed.accuracy > score.raw.accuracy
            assert score.raw.confusion.sum() < score.raw.frames  # frames without either modality
            assert score.smoothed.confusion.sum() == score.smoothed.frames


def test_described_results_have_mean_and_deviation(finished: tuple[Path, Results]) -> None:
    described = describe_results(finished[1])["gated"]
    values = [fold["smoothed"]["macro_f1"] for fold in described["folds"]]
    assert described["smoothed"]["macro_f1"]["mean"] == pytest.approx(np.mean(values))
    assert described["smoothed"]["macro_f1"]["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert sum(fold["frames"] for fold in described["folds"]) > 400


def test_the_best_epoch_stands_beside_the_last(folders: tuple[Path, Path], tmp_path: Path) -> None:
    config = replace(FAST, epochs=4, lr=0.1)  # too fast, so that the last epoch is not the best
    last = run(folders, tmp_path / "last", config=config)["gated"]
    both = run(folders, tmp_path / "both", config=config, best_epoch=True)["gated"]
    figures = [[score.raw.macro_f1 for score in part] for part in (both, last)]
    assert figures[0] == figures[1]  # looking at the fold has no influence
    assert any(score.best_epoch != 4 for score in both)
    for score in both:
        lines = (tmp_path / f"both/gated/fold{score.fold}/metrics.jsonl").read_text().splitlines()
        curve = [json.loads(line)["macro_f1"] for line in lines]
        assert score.best_raw and score.best_epoch and len(curve) == 4
        assert curve[score.best_epoch - 1] == max(curve)
        assert score.best_raw.macro_f1 == pytest.approx(max(curve), abs=0.02)  # saved in float16
    described = json.loads((tmp_path / "both/results.json").read_text())["gated"]
    assert described == describe_results({"gated": both})["gated"]
    values = [fold["best_raw"]["macro_f1"] for fold in described["folds"]]
    deviation = described["best_raw"]["macro_f1"]["population_deviation"]
    assert deviation == pytest.approx(np.std(values))
    assert "best_raw" not in json.loads((tmp_path / "last/results.json").read_text())["gated"]


def test_out_of_fold_predictions_are_those_that_are_scored(
    finished: tuple[Path, Results], tmp_path: Path
) -> None:
    work = Path(shutil.copytree(finished[0], tmp_path / "work"))
    folders = work / "features", work / "labels"
    folds = read_folds(work / "run/folds.csv")
    tables = {name: read_table(work / f"run/gated/predictions/{name}.parquet") for name in folds}
    for score in finished[1]["gated"]:
        held = [name for name, fold in folds.items() if fold == score.fold]
        labels = [read_annotation(folders[1] / f"{name}.txt") for name in held]
        predicted = [tables[name]["label"].to_numpy() for name in held]
        found = score_labels(np.concatenate(labels), np.concatenate(predicted))
        np.testing.assert_array_equal(found.confusion, score.raw.confusion)
        smooth = [smooth_table(tables[name], FAST.smoothing)["label"] for name in held]
        found = score_labels(np.concatenate(labels), np.concatenate(smooth))
        np.testing.assert_array_equal(found.confusion, score.smoothed.confusion)
        assert all(has_logits(tables[name]) for name in held)
    path = work / "run/gated/predictions/a.parquet"
    before = path.stat().st_mtime_ns
    run(folders, work / "run")
    assert path.stat().st_mtime_ns == before  # finished work is kept
    (work / "run/results.json").write_text("mine")
    with pytest.raises(OutputError, match="results.json was changed after it was made"):
        run(folders, work / "run")


def test_finished_folds_are_not_trained_again(
    finished: tuple[Path, Results], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    whole = describe_results({"gated": finished[1]["gated"]})

    def stop(done: int, total: int | None, what: str) -> None:
        if what.startswith("gated, fold 2/3, epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folders, tmp_path / "cut", progress=stop)
    work = []
    again = run(folders, tmp_path / "cut", progress=lambda done, total, what: work.append(what))
    assert describe_results(again) == whole
    assert {what.split(", loss")[0] for what in work} == {
        "gated, fold 2/3, epoch 2/2", "gated, fold 3/3, epoch 1/2", "gated, fold 3/3, epoch 2/2",
    }  # fmt: skip


def test_folds_that_are_there_are_used(folders: tuple[Path, Path], tmp_path: Path) -> None:
    folds = {"a": 1, "b": 2, "c": 2, "d_left": 1, "d_right": 1, "e": 2, "f": 2}
    write_folds(folds, tmp_path / "run/folds.csv")
    once = replace(FAST, epochs=1)
    found = run(folders, tmp_path / "run", folds=2, config=once)["gated"]
    assert [s.videos for s in found] == [3, 4]
    run(folders, tmp_path / "run", folds=2, config=once, overwrite=True)
    assert read_folds(tmp_path / "run/folds.csv") == folds
    with pytest.raises(
        OutputError, match="has 2 folds of 7 .*, not 3 of these 7; give --folds 2 to"
    ):
        run(folders, tmp_path / "run")
    (folders[1] / "a.txt").unlink()
    with pytest.raises(OutputError, match="2 folds of 7 annotations, not 2 of these 6; choose"):
        run(folders, tmp_path / "run", folds=2)
    run(folders, tmp_path / "run", folds=2, config=once, overwrite=True)
    assert len(read_folds(tmp_path / "run/folds.csv")) == 6


def test_bad_input(
    finished: tuple[Path, Results], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="unknown head 'giant'"):
        run(folders, tmp_path / "run", ("giant",))
    with pytest.raises(
        UsageError, match="6 annotated source videos cannot be split into 7 folds; use from 2 to 6"
    ):
        run(folders, tmp_path / "run", folds=7)
    with pytest.raises(OutputError, match="other settings"):
        run(folders, finished[0] / "run", config=replace(FAST, epochs=1))
