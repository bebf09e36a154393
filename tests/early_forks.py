"""Processes that have imported what tests import, and have computed nothing yet.

They are forks of a fork of this process, which is made before the first test. A process of its own
would import torch each time, for seconds. What is set for good when a library is first used, such
as oneDNN's instruction set, is still to be set in them.
"""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

SAID = "said"  # the name of a FIFO, for stdout and stderr
_FORK = multiprocessing.get_context("fork")
_channel: list[Connection] = []  # to the fork that is forked


def make_early_fork() -> None:
    """Fork this process; the fork serves until this process has ended."""
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        _channel.append(Connection(ours.detach()))
        return
    ours.close()
    try:
        _serve(Connection(theirs.detach()))
    finally:
        os._exit(0)


def _serve(channel: Connection) -> None:
    """Start processes and tell how they ended, as asked, until there is nobody to ask."""
    running: dict[int, BaseProcess] = {}
    while True:
        try:
            action, value, *others = channel.recv()
        except EOFError:
            return
        if action == "start":
            process = _FORK.Process(target=_run, args=(channel, value, *others))
            process.start()
            running[process.pid or 0] = process
            channel.send(process.pid)
        else:
            timeout_s, *_ = others
            running[value].join(timeout_s)
            channel.send(running[value].exitcode)


def _ask(*question: Any) -> Any:
    _channel[0].send(question)
    return _channel[0].recv()


class EarlyFork:
    """A call that runs in a folder; what it says can be read when it has ended."""

    def __init__(self, folder: Path, run: Callable[..., object], *arguments: object) -> None:
        os.mkfifo(folder / SAID)
        self._said = os.open(folder / SAID, os.O_RDONLY | os.O_NONBLOCK)
        self.pid: int = _ask("start", folder, dict(os.environ), run, arguments)

    def poll(self, timeout_s: float = 0.0) -> int | None:
        """Return the exit status, or minus the signal, once it has ended."""
        status: int | None = _ask("join", self.pid, timeout_s)
        return status

    def read(self, timeout_s: float) -> str:
        """Wait for the end; return what it and its children have said until all have ended."""
        assert self.poll(timeout_s) is not None
        os.set_blocking(self._said, True)
        with open(self._said) as said:
            return said.read()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _run(
    channel: Connection,
    folder: Path,
    environment: dict[str, str],
    run: Callable[..., object],
    arguments: tuple[object, ...],
) -> None:
    """Be in the fork what a new process is."""
    channel.close()
    os.environ.clear()
    os.environ |= environment
    os.chdir(folder)
    said = os.open(SAID, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(said, stream)
    os.close(said)
    # Also where whoever runs the tests ignores them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    run(*arguments)
