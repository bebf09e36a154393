"""Valence and arousal, and action units, from features to a submission."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from sample_features import BACKBONES, SMALL_GATED, save_videos
from sample_tables import make_table
from test_subject_stream import AUDIO, VISUAL, make_frames, read_alone
from test_subject_stream import run as run_stream
from value_files import save_value_videos

from abawcli.cli import main
from abawcli.config import DualBranchHead, GatedHead, Smoothing
from abawcli.formats.strategy import SubjectSegment
from abawcli.formats.submission import HEADER
from abawcli.formats.tables import read_table, write_table
from abawcli.formats.task_submission import read_task_submission
from abawcli.models.dualbranch import DualBranch
from abawcli.models.ensemble import Ensemble
from abawcli.models.gated import GatedFusion
from abawcli.models.heads import Head, TrainedHead, build_head, save_head
from abawcli.models.metadata import HeadMetadata
from abawcli.models.output_forms import OUTPUT_FORMS
from abawcli.pipeline.prediction_columns import PredictionColumns
from abawcli.tasks import TASKS, Task

VA, AU = TASKS["va"], TASKS["au"]
BOTH = pytest.mark.parametrize("task", [VA, AU], ids=["va", "au"])


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def make_head(path: Path, task: str, seed: int = 0) -> Path:
    """Write a random head of a task."""
    torch.manual_seed(seed)
    head = build_head("gated", BACKBONES, SMALL_GATED, OUTPUT_FORMS[task].logits)
    save_head(path, head, HeadMetadata("gated", asdict(SMALL_GATED), BACKBONES, Smoothing(),
                                       task=task))  # fmt: skip
    return path


def make_sample(path: Path, task: Task, frames: dict[str, int]) -> Path:
    rows = [f"{v}/{k:05d}.jpg,{',' * (len(task.columns) - 1)}" for v in frames
            for k in range(1, frames[v] + 1)]  # fmt: skip
    path.write_text("\n".join([f"image_location,{task.header}", *rows]) + "\n")
    return path


@BOTH
def test_from_features_to_a_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Task
) -> None:
    monkeypatch.chdir(tmp_path)
    save_value_videos(tmp_path, ["a", "b", "c", "d_left", "d_right"], task, missing=0.4)
    name, fast = task.name, ["--device", "cpu", "--epochs", "5", "--batch-size", "120"]
    small = ["--lr", "0.02", "--gated-width", "16", "--window", "9"]
    run("train", "head", "features", "--labels", name, "--task", name, "-o", "run", *fast, *small)
    run("predict", "features", "-o", "raw", "--recipe", "run/head.safetensors", "--no-smooth")
    text = run("predict", "features", "-o", "labels", "--recipe", "run/head.safetensors")
    assert task.columns[0] in text and "segments" not in text
    run("smooth", "raw", "-o", "smooth")
    raw = read_table("raw/a.csv", name)
    for video in ("a", "d_left"):
        own, other = (read_table(f"{f}/{video}.csv", name) for f in ("labels", "smooth"))
        pd.testing.assert_frame_equal(own, other, atol=2e-6)  # csv has six digits
    made = json.loads(Path("labels/a.csv.provenance.json").read_text())["settings"]
    assert made["task"] == name and made["smoothing"]["window_frames"] == 9
    smooth = read_table("labels/a.csv", name)
    known = (raw["source"] != "none").to_numpy()
    assert not known.all() and (smooth["source"] != "none").all()  # gaps are filled
    faces = raw["source"].isin(["av", "visual"]).to_numpy()
    first, second = np.flatnonzero(faces)[:2]  # the window of the first row is the row itself
    outputs = list(task.outputs)
    np.testing.assert_array_equal(smooth.loc[first, outputs], raw.loc[first, outputs])
    assert (smooth.loc[second:, outputs] != raw.loc[second:, outputs]).to_numpy().any()
    score = json.loads(run("score", "labels", name, "--task", name, "--json"))
    text_score = json.loads(run("score", "raw", name, "--task", name, "--json"))
    assert score["mean"] > 0.4 and score["unpredicted"] == 0 < text_score["unpredicted"]
    sample = make_sample(Path("sample.txt"), task, {"a": 62, "d_right": 60})
    arguments = ("--template", sample, "--task", name)
    run("submit", "labels", *arguments, "-o", "p.txt")
    assert "would be accepted" in run("submit", "--check", "p.txt", *arguments)
    rows = read_task_submission("p.txt", task)
    given = rows[rows["video"] == "a"][list(task.columns)].to_numpy()
    mine = smooth[list(task.columns)].to_numpy()
    np.testing.assert_allclose(given, mine[[*range(60), 59, 59]], atol=1e-6)
    assert "already made" in run("submit", "labels", *arguments, "-o", "p.txt")


@BOTH
def test_a_table_is_read_as_it_was_written(tmp_path: Path, task: Task) -> None:
    table = make_table(np.array([0, 1, -1, 3]))
    values = np.array([[0.25], [1], [np.nan], [0.75]]) * np.ones(len(task.outputs))
    frame = table[["video", "frame", "time_s", "subject", "found", "face_score", *"xywh"]].assign(
        source=["av", "visual", "none", "audio"]
    )
    frame[list(task.outputs)] = values
    frame[list(task.columns)] = task.decide(values)
    for suffix in ("csv", "parquet"):
        write_table(frame, tmp_path / f"t.{suffix}", {})
    found = [read_table(tmp_path / f"t.{suffix}", task.name) for suffix in ("csv", "parquet")]
    pd.testing.assert_frame_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0][list(task.outputs)], values)
    decided = found[0][list(task.columns)].to_numpy()[:, 0].tolist()
    assert decided[:2] == ([0.25, 1] if task is VA else [0, 1]) and np.isnan(decided[2])


def make_value_table(path: Path, task: Task, video: str = "a", frames: int = 20) -> Path:
    """Write a table of one video with a face in every frame."""
    values = np.random.default_rng(3).uniform(0, 1, (frames, len(task.outputs))).round(6)
    table = make_table(np.zeros(frames, np.int64), video)
    table = table.drop(columns=[c for c in table if str(c).startswith("p_")])
    table = table.drop(columns=["label", "confidence"])
    columns = zip((*task.columns, *task.outputs), (*task.decide(values).T, *values.T), strict=True)
    write_table(table.assign(**dict(columns)), path, {})
    return path


VALUES = r"va.csv is a table of valence and arousal \(--task va\), not of expressions"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["segment", "va.csv", "-o", "out.csv"], VALUES),
        (["summarize", "va.csv", "-o", "out.csv"], VALUES),
        (["report", "va.csv", "-o", "out.html"], VALUES),
        (["plot", "va.csv", "-o", "out.png"], VALUES),
        (["render", "a.mp4", "va.csv", "-o", "out.mp4"], VALUES),
        (["export", "va.csv", "--to", "elan", "-o", "out.eaf"], VALUES),
        (["score", "va.csv", "expr/labels/a.txt"], VALUES),
        (["score", "va.csv", "expr/labels/a.txt", "--sweep"], VALUES),
        (["score", "expr.csv", "va.csv"], VALUES),
        (["agree", "va.csv", "expr.csv"], VALUES),
        (["submit", "va.csv", "--template", "expr.txt", "-o", "out.txt"], VALUES),
        (["train", "head", "features", "--labels", "va.csv", "-o", "out"], VALUES),
        (["predict", "features", "-o", "out", "--baseline", "va.csv"], VALUES),
        (["fuse", "va.csv", "expr.csv", "-o", "out.csv"], 
         r"va.csv is a table of valence .* and expr.csv of expressions .* fuse tables of one task"),
        (["fuse", "va.csv", "b.csv", "--confident", "0.9", "-o", "out.csv"],
         "confident predictions is for tables of expressions"),
        (["fuse", "va.csv", "b.csv", "--weights", "auto", "--labels", "va", "-o", "out.csv"],
         "error: va.csv is a table of valence and arousal .* not of expressions"),
        (["score", "expr.csv", "va", "--task", "va"], r"is a table of expressions \(--task expr"),
        (["score", "va.csv", "au", "--task", "au"], "not of action units"),
        (["submit", "va.csv", "--template", "au.txt", "--task", "au", "-o", "out.txt"],
         "not of action units"),
        (["submit", "va.csv", "--template", "au.txt", "--task", "va", "-o", "out.txt"],
         "au.txt, line 1: .* --task au"),
        (["smooth", "va.csv", "-o", "out.csv", "--smoothing", "vote"], "vote is for classes"),
        (["smooth", "va.csv", "-o", "out.csv", "--space", "logits"], "are for expressions"),
        (["smooth", "va.csv", "-o", "out.csv", "--bias", "0,0,0,0,0,0,0,1"], "are for expressions"),
        (["predict", "features", "-o", "out", "--recipe", "va.safetensors", "--no-smooth",
          "--logits"], "--logits is for expressions; va.safetensors is of --task va"),
        (["predict", "features", "-o", "out", "--recipe", "va.safetensors", "--space", "logits"],
         "are for expressions"),
        (["predict", "features", "-o", "out", "--recipe", "va.safetensors", "--baseline", "auto"],
         "--baseline is for expressions; va.safetensors is of --task va"),
        (["predict", "features", "-o", "out", "--recipe", "va.safetensors", "--recipe",
          "au.safetensors"], "va.safetensors is of --task va, au.safetensors of --task au"),
        (["calibrate", "va.safetensors", "features", "--labels", "expr/labels",
          "-o", "out.safetensors"],
         "va.safetensors is of --task va; only heads of expressions are calibrated"),
    ],
)  # fmt: skip
def test_what_is_of_another_task_is_named(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(workplace)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (1, 2), result.output
    said = " ".join(result.output.split())
    assert re.search(message, said), said
    assert not list(workplace.glob("out*/*.csv")) and not Path("out.csv").exists()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("values")
    save_value_videos(folder, ["a", "b"], VA, AU, frames=20)
    save_videos(folder / "expr", ["a", "b"], frames=20)
    for task in (VA, AU):
        make_head(folder / f"{task.name}.safetensors", task.name)
        make_sample(folder / f"{task.name}.txt", task, {"a": 20})
    make_value_table(folder / "va.csv", VA)
    make_value_table(folder / "b.csv", VA)
    write_table(make_table(np.zeros(20, np.int64), "a"), folder / "expr.csv", {})
    rows = [f"a/{k:05d}.jpg,0" for k in range(1, 21)]
    (folder / "expr.txt").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "a.mp4").write_bytes(b"")
    return folder


@BOTH
def test_tables_of_a_task_are_fused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Task
) -> None:
    monkeypatch.chdir(tmp_path)
    first = read_table(make_value_table(tmp_path / "x.csv", task), task.name)
    outputs = list(task.outputs)
    second = first.copy()
    second[outputs] = 1 - first[outputs] / 2
    second = second.assign(**dict(zip(task.columns, task.decide(second[outputs].to_numpy()).T,
                                      strict=True)))  # fmt: skip
    none = second.index < 5
    second.loc[none, list({*outputs, *task.columns})] = np.nan
    second.loc[none, "source"] = "none"
    write_table(second, "y.csv", {})
    run("fuse", "x.csv", "y.csv", "--weights", "3,1", "-o", "z.csv")
    fused = read_table("z.csv", task.name)
    expected = np.where(none[:, None], first[outputs], (3 * first[outputs] + second[outputs]) / 4)
    np.testing.assert_allclose(fused[outputs], expected, atol=2e-6)
    if task is AU:
        np.testing.assert_array_equal(fused[list(task.columns)], fused[outputs] >= 0.5)


def test_everybody_in_a_video_has_values() -> None:
    """Two heads of action units on a stream of frames: two people, one of them late."""
    heads: list[Head] = [
        GatedFusion(VISUAL, AUDIO, GatedHead(hidden=8), 12),
        DualBranch(VISUAL, AUDIO, DualBranchHead(8, 1, 2, 2, 0.0, 4, 2), 12),
    ]
    ensemble = Ensemble([TrainedHead(head, torch.device("cpu"), "au") for head in heads])
    frames = make_frames([{0}] * 6 + [{0, 1}] * 6, [True, False] * 6)
    columns = PredictionColumns("au").collect(run_stream(ensemble, frames, 5)[1])
    people = (SubjectSegment("all"),)
    table = columns.tabulate("v", columns.select(people, "v"), people)
    for subject, first in ((0, 1), (1, 7)):
        rows = table[(table["subject"] == str(subject)) & (table["frame"] >= first)]
        alone = read_alone(ensemble, frames, subject)[first - 1 :]
        np.testing.assert_allclose(rows[list(AU.outputs)], alone, atol=1e-6)
        np.testing.assert_array_equal(rows[list(AU.columns)], rows[list(AU.outputs)] >= 0.5)
    mean = np.mean([read_alone(h, frames, 0) for h in ensemble.heads], axis=0)
    np.testing.assert_allclose(read_alone(ensemble, frames, 0), mean, atol=1e-6)


def test_heads_are_cross_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_value_videos(tmp_path, ["a", "b", "c"], VA, frames=40)
    arguments = ("--task", "va", "--folds", "2", "--epochs", "2", "--batch-size", "60", "--lr",
                 "0.02", "--gated-width", "8", "--window", "5", "--device", "cpu")  # fmt: skip
    text = run("crossval", "features", "--labels", "va", "-o", "cv", *arguments, "--best-epoch")
    assert "mean CCC on held-out folds" in text and "CCC of arousal" in text
    described = json.loads(Path("cv/results.json").read_text())["gated"]
    folds = dict(line.split(",") for line in Path("cv/folds.csv").read_text().split()[1:])
    for fold in described["folds"]:
        held = [name for name, number in folds.items() if int(number) == fold["fold"]]
        assert fold["videos"] == len(held)
        for name in held:
            Path(f"only{fold['fold']}").mkdir(exist_ok=True)
            (Path(f"only{fold['fold']}") / f"{name}.txt").write_text(
                Path(f"va/{name}.txt").read_text()
            )
        score = json.loads(run("score", "cv/gated/predictions", f"only{fold['fold']}", "--task",
                               "va", "--json"))  # fmt: skip
        assert score["mean"] == pytest.approx(fold["raw"]["mean_ccc"], abs=1e-6)
        assert score["columns"]["arousal"] == pytest.approx(fold["raw"]["arousal"], abs=1e-6)
    values = [fold["smoothed"]["valence"] for fold in described["folds"]]
    assert described["smoothed"]["valence"]["mean"] == pytest.approx(np.mean(values))
    assert "--focal is not for --task va" in run(
        "crossval", "features", "--labels", "va", "-o", "x", "--task", "va", "--focal", "1", code=2
    )
