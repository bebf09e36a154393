"""Work without networks, whose tasks are what happens to an input: for tests of where work runs.

Each process of a run imports this module, and so it imports little.
"""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from abawcli.cores import count_cores
from abawcli.errors import CheckpointError, InputError
from abawcli.formats.atomic import name_temporary
from abawcli.formats.provenance import Plan
from abawcli.formats.summary import Result
from abawcli.progress import Progress


@dataclass(frozen=True)
class LoadedChores:
    """What all such work has in common."""

    fails: bool = False
    device: str = "cpu"

    def load(self) -> Self:
        if self.fails:
            raise CheckpointError("no weights")
        return self

    def plan(self, path: Path, task: str) -> list[Plan]:
        return []


class Chores(LoadedChores):
    """What may happen in a process of this machine."""

    def do(self, path: Path, task: str, progress: Progress) -> list[Result]:
        progress(3, 5, "things")
        path.with_suffix(".begun").touch()
        if task.startswith("after "):
            while not path.with_name(task.removeprefix("after ")).exists():
                time.sleep(0.01)
        if task == "die":
            path.with_name(f".abaw-{find_prefix()}-0123456789ab.half").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "hang":
            time.sleep(60)
        if task == "exit":
            os._exit(3)
        if task == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if task == "fail":
            raise InputError(f"{path} is broken")
        path.with_suffix(".process").write_text(str(os.getpid()))
        threads = [os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")]
        path.with_suffix(".done").write_text(f"{count_cores()} {threads}")
        return []


def find_prefix() -> str:
    return "-".join(name_temporary("x").name.split(".")[1].split("-")[1:3])
