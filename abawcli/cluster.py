"""The Ray engine: actors on a cluster that hold the networks, one per GPU or per few cores.

All nodes need abawcli and the same files at the same paths. An actor has one job at a time. What a
lost node was doing is done again by another actor.
"""

import logging
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from abawcli.config import RAY_ATTEMPTS, RAY_CORES, RAY_WAIT_S
from abawcli.cores import limit_threads
from abawcli.errors import AbawError, UsageError
from abawcli.jobs import Job, Outcome, Where, Work, failed
from abawcli.worker import Actor

LOG = logging.getLogger("abawcli")


def run_on_ray(jobs: Sequence[Job], work: Work, where: Where) -> Generator[Outcome]:
    """Yield the outcome of each job, as `engines.run`.

    Raises:
        UsageError: Ray is not installed.
        AbawError: there is no such cluster, or it has no room for an actor.
    """
    with _connect(where.address) as ray:
        pool = _Pool(ray, jobs, work, where)
        try:
            yield from pool.run()
        finally:
            for actor in pool.actors:
                ray.kill(actor)


@contextmanager
def _connect(address: str | None) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine; yield the module `ray`."""
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: pip install 'abawcli[ray]'") from error
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's future default
    handler = signal.getsignal(signal.SIGTERM)  # Ray sets its own
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise AbawError(f"cannot reach the Ray cluster {address or ''}: {error}") from error
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
        yield ray
    finally:
        ray.shutdown()


class _Pool:
    """The actors, and the jobs that are waiting or being done."""

    def __init__(self, ray: Any, jobs: Sequence[Job], work: Work, where: Where) -> None:
        self.ray, self.timeout_s = ray, where.timeout_s
        self.waiting, self.attempts = deque(jobs), Counter[Path]()
        self.lost_starts = 0  # since the last actor that started
        count, options = _choose_actors(ray, work)
        make = ray.remote(Actor).options(max_restarts=0, **options).remote
        self.make: Callable[[], Any] = partial(make, work, os.getcwd(), where.log_level)
        self.actors: list[Any] = []
        self.idle: list[Any] = []
        # Of each call that is being done: its actor, its job (None: it starts), and since when.
        self.calls: dict[Any, tuple[Any, Job | None, float]] = {}
        self.count = min(where.jobs or count, len(jobs))
        for _ in range(self.count):
            self._add_actor()

    def _add_actor(self) -> None:
        self.actors.append(actor := self.make())
        self.calls[actor.start.remote()] = actor, None, time.monotonic()

    def run(self) -> Iterator[Outcome]:
        """Yield the outcome of each job as it ends."""
        while self.waiting or any(job for _, job, _ in self.calls.values()):
            while self.waiting and self.idle:
                actor, job = self.idle.pop(), self.waiting.popleft()
                self.attempts[job.path] += 1
                self.calls[actor.do.remote(job)] = actor, job, time.monotonic()
            ended, _ = self.ray.wait(list(self.calls), timeout=1.0)
            for call in ended:
                yield from self._end(call, *self.calls.pop(call))
            yield from self._stop_late()

    def _end(self, call: Any, actor: Any, job: Job | None, since: float) -> Iterator[Outcome]:
        """Handle the end of a call: its outcome, or the loss of its actor."""
        try:
            result = self.ray.get(call)
        except self.ray.exceptions.RayError as error:
            LOG.info("an actor was lost: %s", error)
            self._count_start(job, error)
            yield from self._replace(actor, job, since)
            return
        if job:
            for text in result.warnings:  # they were logged in the actor
                LOG.warning("%s", text)
            yield result
        elif result:
            raise result
        self.idle.append(actor)
        self.lost_starts = 0

    def _count_start(self, job: Job | None, error: Exception) -> None:
        """Count the actors that were lost while they started; end the run if all of them are."""
        self.lost_starts += not job
        if self.lost_starts >= RAY_ATTEMPTS * self.count:
            reason = str(error).strip().rpartition("\n")[2]
            raise AbawError(f"no actor could start; the last one ended: {reason}") from error

    def _replace(
        self, actor: Any, job: Job | None, since: float, reason: str = ""
    ) -> Iterator[Outcome]:
        """Replace an actor. Its job is done again, unless there is a reason why it has failed."""
        self.actors.remove(actor)
        if job and self.attempts[job.path] >= RAY_ATTEMPTS:
            reason = reason or f"the process that worked on it ended, {RAY_ATTEMPTS} times"
        if job and reason:
            yield failed(job, reason, time.monotonic() - since)
        elif job:
            self.waiting.appendleft(job)
        if self.waiting and not self.idle:
            self._add_actor()

    def _stop_late(self) -> Iterator[Outcome]:
        """End jobs that take too long, and the run if no actor can start."""
        now = time.monotonic()
        for call, (actor, job, since) in list(self.calls.items()):
            if job and self.timeout_s and now - since > self.timeout_s:
                del self.calls[call]
                self.ray.kill(actor)
                reason = f"it took longer than {self.timeout_s:g} s (--timeout)"
                yield from self._replace(actor, job, since, reason)
        starts = [since for _, job, since in self.calls.values() if not job]
        if starts and len(starts) == len(self.calls) and now - max(starts) > RAY_WAIT_S:
            raise AbawError(f"no actor could start within {RAY_WAIT_S:g} s; see `ray status`")


def _choose_actors(ray: Any, work: Work) -> tuple[int, dict[str, Any]]:
    """Return how many actors the cluster has room for, and what each one takes."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    use_gpu = gpus > 0 and work.device.split(":")[0] in ("auto", "cuda")
    cpus = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
    cores = min([RAY_CORES, *cpus])
    count = gpus if use_gpu else sum(each // cores for each in cpus)
    variables = {"env_vars": limit_threads(cores)}
    return max(1, count), dict(num_cpus=cores, num_gpus=int(use_gpu), runtime_env=variables)
