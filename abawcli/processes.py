"""The local engine: several processes, each with the networks and its share of the cores.

A process that dies fails its job and is replaced. Processes start anew ("spawn"): a copy of a
process with threads, such as those of torch, may hang.
"""

import logging
import signal
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection, get_context
from typing import Any

from abawcli.cores import count_cores
from abawcli.errors import AbawError
from abawcli.formats.atomic import sweep_now
from abawcli.interrupts import hold_interrupts
from abawcli.jobs import Job, Outcome, Watch, Where, Work, failed
from abawcli.worker import serve_jobs

LOG = logging.getLogger("abawcli")
STOP_S = 0.5  # for a process, or all at the end, to remove temporary files
CONTEXT = get_context("spawn")
# Probable causes of the end of a process, by its signal.
_CAUSES = dict.fromkeys(
    ("SIGSEGV", "SIGABRT", "SIGFPE", "SIGILL", "SIGBUS"), ": a library crashed on this input"
) | {"SIGKILL": ": probably, memory ran out; use fewer --jobs"}


def run_in_processes(
    jobs: Sequence[Job], work: Work, where: Where, watch: Watch
) -> Generator[Outcome]:
    """Yield the outcome of each job, as `engines.run`."""
    waiting, count = deque(jobs), min(where.jobs, len(jobs))
    workers: list[_Process] = []
    try:
        for _ in range(count):
            workers.append(_Process(work, where, max(1, count_cores() // count)))
        while waiting or any(worker.job for worker in workers):
            for worker in workers:
                worker.give(waiting)
            _wait(workers)
            for k, worker in enumerate(workers):
                yield from worker.receive(watch)
                if worker.is_gone:
                    workers[k] = _Process(work, where, worker.cores)
    finally:
        for worker in workers:
            worker.process.terminate()
        deadline = time.monotonic() + STOP_S
        for worker in workers:
            worker.end(max(0.0, deadline - time.monotonic()))


def _wait(workers: Sequence["_Process"]) -> None:
    """Wait for a message, the end of a process, or the end of a job's time."""
    ends = [worker.deadline for worker in workers if worker.deadline]
    pipes = [worker.pipe for worker in workers]
    connection.wait(pipes, max(0.0, min(ends) - time.monotonic()) if ends else None)


class _Process:
    """A process of this engine, and its current job."""

    def __init__(self, work: Work, where: Where, cores: int) -> None:
        self.timeout_s, self.cores = where.timeout_s, cores
        self.job: Job | None = None
        self.since = 0.0
        self.deadline: float | None = None
        self.is_ready = self.is_gone = False
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(
            target=serve_jobs, args=(theirs, cores, where.log_level), daemon=True
        )
        with hold_interrupts():
            self.process.start()
        theirs.close()  # so that the end of the process ends the pipe
        self.pipe.send(work)

    def give(self, waiting: deque[Job]) -> None:
        """Start the next job, if the process is ready for one."""
        if self.is_ready and not self.job and waiting:
            self.job, self.since = waiting.popleft(), time.monotonic()
            self.deadline = self.since + self.timeout_s if self.timeout_s else None
            with suppress(OSError):  # it has ended: `receive` reports it
                self.pipe.send(self.job)

    def receive(self, watch: Watch) -> Iterator[Outcome]:
        """Handle all messages, and yield the outcome of the job if it has ended."""
        while message := self._read():
            kind, *values = message
            if kind == "progress" and self.job:
                watch(self.job, *values)
            elif kind == "log":
                LOG.log(*values)
            elif kind == "ready":
                self.is_ready = True
            elif kind == "broken":
                raise values[0]
            elif kind == "outcome":
                self.job, self.deadline = None, None
                yield values[0]
            elif kind == "end":
                yield from self._fail(f"the process that worked on it {self.end(STOP_S)}")
                return
        if self.deadline and time.monotonic() > self.deadline:
            self.end(0)
            yield from self._fail(f"it took longer than {self.timeout_s:g} s (--timeout)")

    def _read(self) -> tuple[Any, ...] | None:
        """Return the next message, or None if there is none yet."""
        try:
            message: tuple[Any, ...] | None = self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            return ("end",)
        return message

    def _fail(self, reason: str) -> Iterator[Outcome]:
        self.is_gone = True
        if not self.job:
            how = reason.partition("it ")[2]
            if not self.is_ready:
                raise AbawError(f"a process {how} while it loaded the networks")
            LOG.info("an idle process %s", how)
            return
        for folder in {output.parent for output in self.job.outputs}:
            sweep_now(folder)
        yield failed(self.job, reason, time.monotonic() - self.since)

    def end(self, grace_s: float) -> str:
        """End the process, and describe how it ended."""
        self.process.join(grace_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()
        return _describe_end(self.process.exitcode or 0)


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"ended with exit status {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}{_CAUSES.get(name, '')}"
