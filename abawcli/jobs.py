"""Jobs, what does them and what comes of them, wherever they run: see `engines`."""

import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol

from abawcli.errors import AbawError, describe_error
from abawcli.formats.inputs import check_input
from abawcli.formats.provenance import Plan
from abawcli.formats.summary import Result, collect_warnings
from abawcli.progress import Progress

LOG = logging.getLogger("abawcli")
ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Job:
    """The work on one input."""

    path: Path
    name: str  # in messages and in the manifest
    task: Any  # of the stage, such as the paths of outputs
    outputs: tuple[Path, ...]


@dataclass(frozen=True)
class Failure:
    """The reason why a job failed."""

    message: str
    exit_code: int = 1
    details: str = ""  # the traceback

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Describe an error."""
        code = error.exit_code if isinstance(error, AbawError) else 1
        details = "".join(traceback.format_exception(error)).rstrip()
        return cls(describe_error(error), code, details)


@dataclass(frozen=True)
class Outcome:
    """The result of one job."""

    job: Job
    results: tuple[Result, ...] = ()
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None


def failed(job: Job, reason: str, seconds: float = 0.0) -> Outcome:
    """Return the outcome of a job that was ended from outside."""
    return Outcome(job, seconds=seconds, failure=Failure(f"{job.path}: {reason}"))


class Worker(Protocol):
    """Networks in memory, for any number of inputs."""

    def do(self, path: Path, task: Any, progress: Progress) -> list[Result]:
        """Make the outputs of one input."""

    def plan(self, path: Path, task: Any) -> list[Plan]:
        """Return what `do` would do, without doing it."""


class Work(Protocol):
    """The settings of a command; they are sent to each process."""

    @property
    def device(self) -> str:
        """The device that networks run on, as `device.choose_device` takes it."""

    def load(self) -> Worker:
        """Load the networks.

        Raises:
            AbawError: they cannot be loaded; the run ends.
        """


@dataclass(frozen=True)
class StageWork:
    """The work of a stage, whose module is imported where the networks are loaded, only there."""

    worker: str  # the class that does it, as `pkgutil.resolve_name` takes it
    settings: Any  # of the stage, as in `stages.settings`

    @property
    def device(self) -> str:
        """The device of the settings."""
        device: str = self.settings.device
        return device

    def load(self) -> Worker:
        """Load the networks, as `Work`."""
        worker: Worker = resolve_name(self.worker)(self.settings)
        return worker


@dataclass(frozen=True)
class Where:
    """Where jobs run, and their limits."""

    jobs: int = 1  # at a time; 0: as many as a Ray cluster has room for
    timeout_s: float | None = None  # of one job; needs processes that can be ended
    engine: str = "local"  # one of ENGINES
    address: str | None = None  # of a Ray cluster; None: a new one on this machine
    log_level: int = field(default_factory=LOG.getEffectiveLevel)

    @property
    def separate(self) -> bool:
        """Tell whether jobs run in other processes of this machine, which cannot start more."""
        return self.engine == "local" and (self.jobs > 1 or self.timeout_s is not None)


Watch = Callable[[Job, int, int | None, str], None]  # a job, and as `Progress`


def ignore_job(job: Job, done: int, total: int | None, what: str) -> None:
    """Ignore the progress of a job."""


def perform(worker: Worker, job: Job, progress: Progress) -> Outcome:
    """Do one job; an error becomes its failure."""
    start, results, failure = time.perf_counter(), [], None
    with collect_warnings() as warnings:
        try:
            check_input(job.path)
            results = worker.do(job.path, job.task, progress)
        except BrokenPipeError:  # whoever reads the outcome is gone
            raise
        except Exception as error:
            failure = Failure.of(error)
    seconds = time.perf_counter() - start
    return Outcome(
        job=job, results=tuple(results), seconds=seconds, warnings=tuple(warnings), failure=failure
    )
