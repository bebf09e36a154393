"""Runs over many inputs: manifest, summary, limits, dry runs, and several processes."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from chores import Chores
from click.testing import CliRunner, Result
from media_files import write_media
from sample_clips import cut_clip

from abawcli.cli import main
from abawcli.cli.scale import Scale, _read_slurm
from abawcli.config import SHOWN_FAILURES
from abawcli.engines import run
from abawcli.errors import CheckpointError
from abawcli.formats.run_manifest import read_run_manifest
from abawcli.jobs import Failure, Job, Outcome, Where

EMPTY = np.full((48, 64, 3), 90, np.uint8)


def predict(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["predict", "--device", "cpu", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


def read_outputs(folder: Path) -> dict[str, bytes]:
    """Return all files but the manifest, whose lines come in any order."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.jsonl"
    }


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two videos and a file that is none, as `in` of the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("in/sub").mkdir(parents=True)
    write_media(Path("in/a.mkv"), [EMPTY] * 6)
    Path("in/b.mp4").write_text("no video")
    whole = write_media(Path("in/sub/c.mkv"), [EMPTY] * 60).read_bytes()
    Path("in/sub/c.mkv").write_bytes(whole[:-700])
    return tmp_path


def test_of_many_failures_the_manifest_names_all(study: Path) -> None:
    Path("many").mkdir()
    for k in range(SHOWN_FAILURES + 3):
        Path(f"many/{k:02}.mp4").write_text("no video")
    lines = predict("many", "-o", "out", status=1).stderr.splitlines()
    assert lines[-1] == "abaw:   and 3 others; out/manifest.jsonl has all inputs"
    assert lines[-2].startswith(f"abaw:   {SHOWN_FAILURES - 1:02}: ")
    assert len(read_run_manifest("out/manifest.jsonl")) == SHOWN_FAILURES + 3


def test_a_run_its_manifest_and_a_rerun(study: Path) -> None:
    plans = json.loads(predict("in", "-o", "out", "--dry-run", "--json").stdout)
    assert [(row["input"], row["action"]) for row in plans] == [
        ("a", "make"), ("b", "make"), ("sub/c", "make")
    ]  # fmt: skip
    assert not Path("out").exists()
    first = predict("in", "-o", "out", status=1)
    lines = read_run_manifest("out/manifest.jsonl")
    assert list(lines) == ["a.mkv", "b.mp4", "sub/c.mkv"]
    assert [line["state"] for line in lines.values()] == ["done", "failed", "done"]
    a, b, c = lines.values()
    assert (a["frames"], a["faces"], a["labelled"], a["error"]) == (6, 0, 0, None)
    assert (a["outputs"], a["size"]) == (["a.csv"], os.path.getsize("in/a.mkv"))
    assert b["frames"] is None and "in/b.mp4" in b["error"]
    assert c["outputs"] == ["sub/c.csv"] and any("in/sub/c.mkv" in text for text in c["warnings"])
    end = ["abaw: 3 inputs: 2 done, 0 kept, 1 failed", "abaw: 1 of 3 inputs failed:"]
    assert [line for line in first.stderr.splitlines() if line in end] == end
    assert first.stderr.splitlines()[-1] == f"abaw:   b: {b['error']}"

    again = predict("in", "-o", "out", status=1)
    assert "abaw: 3 inputs: 0 done, 2 kept, 1 failed" in again.stderr.splitlines()
    assert [line for line in again.stderr.splitlines() if "│" in line or "warning" in line] == [
        line for line in first.stderr.splitlines() if "│" in line or "warning" in line
    ]
    kept = read_run_manifest("out/manifest.jsonl")
    assert [line["state"] for line in kept.values()] == ["kept", "failed", "kept"]
    same = ("input", "size", "sha256", "outputs", "frames", "faces", "labelled", "warnings")
    assert all(kept[name][key] == lines[name][key] for name in lines for key in same)
    Path("out/sub/c.csv").write_text("by hand")
    plans = predict("in", "in/gone.mp4", "-o", "out", "--dry-run").stdout
    found = {line.split("│")[1].strip(): line for line in plans.splitlines() if "│" in line}
    assert "keep" in found["a"] and "make" in found["b"]
    assert "fail" in found["sub/c"] and "fail" in found["gone"] and "No such file" in plans


def test_the_first_failure_may_end_a_run(study: Path) -> None:
    stopped = predict("in", "-o", "out", "--fail-fast", status=1)
    assert "abaw: 3 inputs: 1 done, 0 kept, 1 failed, 1 not begun" in stopped.stderr.splitlines()
    assert list(read_run_manifest("out/manifest.jsonl")) == ["a.mkv", "b.mp4"]
    assert predict("in/a.mkv", "-o", "a.csv") and not Path("manifest.jsonl").exists()


def test_an_output_that_is_removed_meanwhile_fails_its_input(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("abawcli.cli.runs.note_kept", lambda *counts: shutil.rmtree("out"))
    removed = predict("in/a.mkv", "in/b.mp4", "-o", "out", status=1)
    reason = "out/a.csv was removed while the run went on; run it again"
    assert f"abaw: error: {reason}" in removed.stderr.splitlines()
    assert "abaw: 2 inputs: 0 done, 0 kept, 2 failed" in removed.stderr.splitlines()
    assert read_run_manifest("out/manifest.jsonl")["a.mkv"]["error"] == reason


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--shard", "0/2", "'0/2' is not I/N"),
        ("--shard", "3/2", "'3/2' is not I/N"),
        ("--shard", "slurm", "this is no task of SLURM"),
        ("--jobs", "0", "'0' is neither a number from 1 on nor auto"),
        ("--timeout", "1e9", "1000000000.0 is not in the range 0<x<=1000000.0"),
        ("--batch-size", "1025", "1025 is not in the range 1<=x<=1024"),
        ("--bias", "1,2", "a bias must be 8 numbers, one per class, not 1,2"),
    ],
)
def test_values_that_mean_nothing(
    option: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    assert message in " ".join(predict("x", "-o", "out", option, value, status=2).stderr.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ray-address", "auto"], "--ray-address is only for --engine ray"),
        (["--ray-address", "auto", "--dry-run"], "--ray-address is only for --engine ray"),
        (["--label-all", "--modality", "visual"], "--label-all labels by audio, which"),
        (["--baseline", "auto", "--modality", "audio"], "--baseline is of faces, which"),
    ],
)
def test_options_without_effect(options: list[str], message: str, study: Path) -> None:
    assert message in predict("in/a.mkv", "-o", "a.csv", *options, status=2).stderr
    assert not Path("a.csv").exists()


def test_variables_of_slurm() -> None:
    array = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "11"}
    assert _read_slurm(array) == (5, 9)
    assert _read_slurm(array | {"SLURM_ARRAY_TASK_COUNT": "9"}) == (5, 9)
    assert _read_slurm(array | {"SLURM_ARRAY_TASK_STEP": "4"}) == (2, 3)
    with pytest.raises(click.BadParameter, match="job array has gaps"):  # --array=3,7,11
        _read_slurm(array | {"SLURM_ARRAY_TASK_COUNT": "3"})
    assert _read_slurm({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) == (1, 4)


def test_parts_of_the_inputs() -> None:
    inputs = dict.fromkeys("abcde", 0)
    for shard, limit, selected in (
        (None, None, "abcde"), (None, 2, "ab"), ((1, 2), None, "ace"), ((2, 2), 1, "b"),
        ((6, 6), None, ""),
    ):  # fmt: skip
        chosen = Scale(1, None, limit, shard, False, False).select(inputs)
        assert "".join(chosen) == selected


def test_jobs_fit_the_cores_the_memory_and_the_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(jobs: int | None, inputs: int, engine: str = "local") -> int:
        scale = Scale(jobs, None, None, None, False, False, engine=engine)
        return scale.choose_where(inputs).jobs

    monkeypatch.setenv("ABAW_CORES", "3")
    monkeypatch.setattr("abawcli.cli.scale._count_fitting", lambda: 100)
    assert [count(0, 10), count(0, 2), count(8, 10), count(8, 0)] == [3, 2, 8, 1]
    assert [count(None, 10), count(None, 10, "ray"), count(5, 2, "ray")] == [1, 0, 5]
    monkeypatch.setattr("abawcli.cli.scale._count_fitting", lambda: 0)
    assert count(0, 10) == 1


def make_jobs(folder: Path, tasks: dict[str, str]) -> Iterator[Job]:
    for name, task in tasks.items():
        (folder / name).touch()
        yield Job(folder / name, name, task, (folder / f"{name}.csv",))


def test_a_process_that_dies_or_hangs_fails_its_input_and_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABAW_CORES", "4")
    tasks = {"a": "die", "b": "fine", "c": "hang", "d": "fail", "e": "exit", "f": "fine"}
    write_media(tmp_path / "g.mkv", [EMPTY] * 2)
    tasks["g.mkv"] = "crash"
    seen: list[tuple[Any, ...]] = []
    where = Where(jobs=2, timeout_s=1.0)
    outcomes: dict[str, Outcome] = {
        outcome.job.name: outcome
        for outcome in run(
            list(make_jobs(tmp_path, tasks)), Chores(), where, lambda *now: seen.append(now)
        )
    }
    reasons = {
        name: outcome.failure and outcome.failure.message for name, outcome in outcomes.items()
    }
    worked = "the process that worked on it"
    crashed = "was ended by SIGSEGV: a library crashed on this input"
    assert reasons == {
        "a": f"{tmp_path}/a: {worked} was ended by SIGKILL: probably, memory ran out; "
        "use fewer --jobs",
        "b": None,
        "c": f"{tmp_path}/c: it took longer than 1 s (--timeout)",
        "d": f"{tmp_path}/d is broken",
        "e": f"{tmp_path}/e: {worked} ended with exit status 3",
        "f": None,
        "g.mkv": f"{tmp_path}/g.mkv: {worked} {crashed}",
    }
    assert 1 <= outcomes["c"].seconds < 5
    assert {job.name for job, *_ in seen} and seen[0][1:] == (3, 5, "things")
    done = {path.name: path.read_text() for path in tmp_path.glob("*.done")}
    assert done == dict.fromkeys(("b.done", "f.done"), "2 ['2', '2']")  # half of the cores
    assert not list(tmp_path.glob(".abaw-*"))  # the half-written output of the first


def test_an_idle_process_that_dies_is_replaced(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, {"a": "after b.begun", "b": "after end"})
    failures = {}
    for outcome in run(list(jobs), Chores(), Where(jobs=2)):
        failures[outcome.job.name] = outcome.failure
        if outcome.job.name == "a":
            os.kill(int((tmp_path / "a.process").read_text()), signal.SIGKILL)
            threading.Timer(1.0, (tmp_path / "end").touch).start()
    assert failures == {"a": None, "b": None}


def write_damaged(path: Path) -> Path:
    """Write a video of nine frames, of which the first is damaged."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 48, 64, 3)).astype(np.uint8)
    write_media(path, [*noise], codec="mpeg2video")
    whole = bytearray(path.read_bytes())
    start = whole.index(b"\x1f\x43\xb6\x75") + 500  # of a part of the first packet
    whole[start : start + 200] = bytes(200)
    path.write_bytes(whole)
    return path


def test_only_damaged_files_are_decoded_in_a_second_process(tmp_path: Path) -> None:
    paths = [write_damaged(tmp_path / f"{name}.mkv") for name in "ab"]
    paths += [write_media(tmp_path / "c.mkv", [EMPTY] * 2), tmp_path / "d.srt"]
    paths[3].write_text("1\n00:00:00,000 --> 00:00:01,000\nneither video nor audio\n")
    tasks = dict(zip(paths, ("crash", "fine", "fine", "fine"), strict=True))
    tasks[Path(shutil.copy(paths[1], tmp_path / "e.safetensors"))] = "fine"  # as features are named
    jobs = [Job(path, path.stem, task, (path.with_suffix(".csv"),)) for path, task in tasks.items()]
    outcomes = {outcome.job.name: outcome.failure for outcome in run(jobs, Chores(), Where())}
    assert list(outcomes) == ["c", "d", "e", "a", "b"]
    assert outcomes.pop("a") == Failure(
        f"{paths[0]}: the process that worked on it was ended by SIGSEGV: "
        "a library crashed on this input"
    )
    assert not any(outcomes.values())
    here = {path.stem: int(path.read_text()) == os.getpid() for path in tmp_path.glob("*.process")}
    assert here == {"b": False, "c": True, "d": True, "e": True}


def test_networks_that_cannot_be_loaded_end_the_run(tmp_path: Path) -> None:
    jobs = list(make_jobs(tmp_path, {"a": "fine", "b": "fine"}))
    for count in (1, 2):
        with pytest.raises(CheckpointError, match="^no weights$"):
            list(run(jobs, Chores(fails=True), Where(count)))


def test_results_do_not_depend_on_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a limit of time, a process of its own does all, as each of several with --jobs.

    For the compact recipe, it imports neither transformers nor the compiler.
    """
    Path(tmp_path, "in").mkdir()
    shutil.copy(cut_clip(tmp_path / "in" / "a.mkv"), tmp_path / "in" / "b.mkv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABAW_CORES", "1")
    predict("in", "-o", "here")
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # to its stderr
    predict("in", "-o", "there", "--timeout", "600")
    imported = {line.split()[-1] for line in capfd.readouterr().err.splitlines() if "|" in line}
    assert "torch" in imported  # an import by name shows only as the imports in its modules
    assert not [n for n in imported if n.startswith(("transformers", "torch._dynamo", "sympy"))]
    assert read_outputs(Path("here")) == read_outputs(Path("there"))
    assert read_run_manifest("there/manifest.jsonl").keys() == {"a.mkv", "b.mkv"}


def test_a_shard_without_inputs_is_no_error(study: Path) -> None:
    """A job array may have more tasks than inputs."""
    message = "abaw: --shard 2/2 has no input; nothing is to be done\n"
    assert predict("in/a.mkv", "-o", "a.csv", "--shard", "2/2").stderr == message
    assert predict("in/a.mkv", "-o", "a.csv", "--shard", "2/2", "--json").stdout == "[]\n"
    assert predict("in/a.mkv", "-o", "a.csv", "--shard", "2/2", "-q").output == ""
    assert not Path("a.csv").exists()


def test_a_list_of_one_name_without_a_video_is_named(study: Path) -> None:
    Path("names.txt").write_text("nobody\n")
    result = CliRunner().invoke(main, ["crop", "in/a.mkv", "-o", "out", "--names", "names.txt"])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[1:] == [
        "abaw: error: names.txt, line 1: no input video is called nobody"
    ]
