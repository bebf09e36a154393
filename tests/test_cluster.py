"""Runs on a Ray cluster: two nodes on this machine, one of which is lost on the way."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chores import LoadedChores
from click.testing import CliRunner
from forked_commands import NewProcess
from sample_clips import thin_clip
from test_signals import LIMIT_S, list_arguments, stop, write_inputs

from abawcli.cli import main
from abawcli.cluster import _Pool
from abawcli.config import RAY_ATTEMPTS
from abawcli.engines import run
from abawcli.errors import AbawError, CheckpointError, InputError, UsageError
from abawcli.formats.summary import Result
from abawcli.jobs import Job, Outcome, Where
from abawcli.progress import Progress

ROOT = Path(__file__).parents[1]


class Chores(LoadedChores):
    """Work without networks: a task is what happens to the input."""

    def do(self, path: Path, task: str, progress: Progress) -> list[Result]:
        path.with_suffix(".begun").touch()
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "hang":
            time.sleep(60)
        if task == "fail":
            raise InputError(f"{path} is broken")
        if task == "slow":
            time.sleep(1.0)
        with path.with_suffix(".done").open("a") as file:
            file.write(f"{Path.cwd()}\n")
        return []


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of two cores, whose processes find the package and this module."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        patch.setenv("RAY_worker_niceness", "0")  # else they wait for other tests
        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 0})
        started.add_node(num_cpus=2, num_gpus=0)
        yield started
        started.shutdown()


def make_jobs(folder: Path, tasks: dict[str, str]) -> list[Job]:
    for name in tasks:
        (folder / name).touch()
    return [Job(folder / name, name, task, (folder / name,)) for name, task in tasks.items()]


def run_all(cluster: Any, folder: Path, tasks: dict[str, str], **where: Any) -> dict[str, Outcome]:
    place = Where(jobs=0, engine="ray", address=cluster.address, **where)
    outcomes = list(run(make_jobs(folder, tasks), Chores(), place))
    assert len(outcomes) == len({outcome.job.name for outcome in outcomes})
    return {outcome.job.name: outcome for outcome in outcomes}


def read_outputs(folder: str) -> dict[str, bytes]:
    """Return all files but the manifest, whose lines come in any order."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name != "manifest.jsonl"
    }


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Five videos of faces and a file that is no video, as `in` of the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    clips = [thin_clip("rotated_phone"), thin_clip("two_people")]
    for k, name in enumerate("abcde"):
        shutil.copy(clips[k % 2], f"in/{name}.mp4")
    Path("in/f.mp4").write_text("no video")
    return [*(f"{name}.mp4" for name in "abcde")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["predict --device cpu", "crop --subject all", "extract --device cpu"]
)
def test_a_cluster_that_loses_a_node_gives_the_files_of_this_machine(
    cluster: Any, videos: list[str], command: str
) -> None:
    call, node = [*command.split(), "in"], cluster.add_node(num_cpus=2, num_gpus=0)

    def lose_node() -> None:
        while not Path("there/manifest.jsonl").exists():
            time.sleep(0.02)
        cluster.remove_node(node, allow_graceful=False)

    assert CliRunner().invoke(main, [*call, "-o", "here"]).exit_code == 1
    thread = threading.Thread(target=lose_node, daemon=True)
    thread.start()
    ray = ["--engine", "ray", "--ray-address", cluster.address]
    assert CliRunner().invoke(main, [*call, "-o", "there", *ray]).exit_code == 1
    thread.join()
    here, there = read_outputs("here"), read_outputs("there")
    assert here == there and len(here) >= len(videos)
    lines = [json.loads(line) for line in Path("there/manifest.jsonl").read_text().splitlines()]
    states = {line["input"]: line["state"] for line in lines}
    assert states == dict.fromkeys(videos, "done") | {"f.mp4": "failed"}
    assert len(lines) == len(states)  # each was done once


@pytest.mark.slow
def test_ctrl_c_ends_a_run_on_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    write_inputs(tmp_path, "wav")
    arguments = list_arguments(tmp_path, "predict --modality audio --engine ray")
    run = NewProcess(tmp_path, *arguments)
    stderr, seconds = stop(run, signal.SIGINT, tmp_path / "out" / "a.csv.provenance.json", 300)
    assert run.poll() == 130 and seconds < LIMIT_S
    last = "abaw: interrupted; 1 of 2 inputs are done and kept, and the same command continues"
    assert stderr.splitlines()[-1].startswith(last)
    assert "Traceback" not in stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"a.csv", "a.csv.provenance.json", "manifest.jsonl"}


@pytest.mark.slow
def test_failures_and_limits_on_a_cluster(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcomes = run_all(
        cluster, tmp_path, {"a": "die", "b": "fine", "c": "hang", "d": "fail"}, timeout_s=2.0
    )
    reasons = {name: o.failure and o.failure.message for name, o in outcomes.items()}
    assert reasons == {
        "a": f"{tmp_path}/a: the process that worked on it ended, 3 times",
        "b": None,
        "c": f"{tmp_path}/c: it took longer than 2 s (--timeout)",
        "d": f"{tmp_path}/d is broken",
    }
    assert Path("b.done").read_text() == f"{tmp_path}\n"  # its working folder is that of the driver
    where = Where(engine="ray", address=cluster.address)
    with pytest.raises(CheckpointError, match="^no weights$"):
        list(run(make_jobs(tmp_path, {"a": "fine"}), Chores(fails=True), where))


@pytest.mark.slow
def test_what_a_lost_node_had_is_done_by_another(cluster: Any, tmp_path: Path) -> None:
    tasks = {f"{k:02d}": "slow" for k in range(8)}
    node = cluster.add_node(num_cpus=2, num_gpus=0)

    def lose_node() -> None:
        while len(list(tmp_path.glob("*.begun"))) < 4:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=lose_node, daemon=True)
    thread.start()
    outcomes = run_all(cluster, tmp_path, tasks)
    thread.join()
    assert outcomes.keys() == tasks.keys()
    assert not any(outcome.failure for outcome in outcomes.values())
    done = {path.stem: path.read_text().splitlines() for path in tmp_path.glob("*.done")}
    assert done.keys() == tasks.keys() and all(len(lines) == 1 for lines in done.values())


class LostActors:
    """Ray, where every actor is lost while it starts."""

    def __init__(self) -> None:
        self.exceptions, self.made = SimpleNamespace(RayError=OSError), 0
        self.remote = lambda actor: SimpleNamespace(options=self.options)

    def options(self, **options: Any) -> Any:
        return SimpleNamespace(remote=self.make)

    def make(self, *arguments: Any) -> Any:
        self.made += 1
        return SimpleNamespace(start=SimpleNamespace(remote=object))

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Resources": {"CPU": 4}, "Alive": True}]

    def wait(self, calls: list[object], timeout: float) -> tuple[list[object], list[object]]:
        return calls[:1], calls[1:]

    def get(self, call: object) -> None:
        raise OSError("The actor died.\n  Traceback:\nNo module named 'abawcli'\n")


def test_a_cluster_without_the_package_ends_the_run(tmp_path: Path) -> None:
    ray = LostActors()
    pool = _Pool(ray, make_jobs(tmp_path, {"a": "fine", "b": "fine"}), Chores(), Where(0))
    with pytest.raises(AbawError, match="^no actor could start; the last one ended: No module nam"):
        list(pool.run())
    assert ray.made == 2 * RAY_ATTEMPTS + 1


def test_a_machine_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"--engine ray needs Ray: pip install 'abawcli\[ray\]'"):
        list(run(make_jobs(tmp_path, {"a": "fine"}), Chores(), Where(engine="ray")))
