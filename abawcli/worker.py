"""The processes that do the jobs of a run: those of the local engine, and the actors of Ray."""

import logging
import os
import signal
import threading
import time
from multiprocessing import connection
from types import FrameType
from typing import Any

from abawcli.config import PROGRESS_S
from abawcli.cores import limit_threads
from abawcli.errors import AbawError, describe_error
from abawcli.formats.atomic import remove_temporaries
from abawcli.jobs import Job, Outcome, Work, perform
from abawcli.progress import ignore_progress

LOG = logging.getLogger("abawcli")


def _as_known(error: Exception) -> AbawError:
    """Return an error that other processes know."""
    return error if isinstance(error, AbawError) else AbawError(describe_error(error))


class Actor:
    """An actor of a Ray cluster; its methods are called through Ray."""

    def __init__(self, work: Work, folder: str, log_level: int) -> None:
        os.chdir(folder)  # paths of inputs and in provenance are relative to it
        LOG.setLevel(log_level)
        self.work = work

    def start(self) -> AbawError | None:
        """Load the networks; return why they cannot be loaded, or None."""
        try:
            self.worker = self.work.load()
        except Exception as error:
            return _as_known(error)
        return None

    def do(self, job: Job) -> Outcome:
        """Do a job."""
        return perform(self.worker, job, ignore_progress)


class _Sender(logging.Handler):
    """Sends messages of a process, from any of its threads."""

    def __init__(self, pipe: "connection.Connection[Any, Any]") -> None:
        super().__init__()
        self.pipe, self.sending, self.sent = pipe, threading.Lock(), 0.0

    def send(self, *message: Any) -> None:
        with self.sending:
            self.pipe.send(message)

    def emit(self, record: logging.LogRecord) -> None:
        self.send("log", record.levelno, "%s", record.getMessage())

    def progress(self, done: int, total: int | None, what: str) -> None:
        """Send the progress of the current job, not too often."""
        if time.monotonic() - self.sent > PROGRESS_S:
            self.sent = time.monotonic()
            self.send("progress", done, total, what)


def serve_jobs(pipe: "connection.Connection[Any, Any]", cores: int, log_level: int) -> None:
    """Do jobs until the pipe ends: the main function of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where `hold_interrupts` cannot
    signal.signal(signal.SIGTERM, _stop)
    os.environ |= limit_threads(cores)  # before any library is loaded
    sender = _Sender(pipe)
    LOG.handlers, LOG.propagate = [sender], False
    LOG.setLevel(log_level)
    try:
        work: Work = pipe.recv()
        try:
            worker = work.load()
        except Exception as error:
            return sender.send("broken", _as_known(error))
        sender.send("ready")
        while True:
            sender.send("outcome", perform(worker, pipe.recv(), sender.progress))
    except (EOFError, BrokenPipeError):  # the parent has ended
        return


def _stop(number: int, frame: FrameType | None) -> None:
    remove_temporaries()
    os._exit(128 + number)
