"""Commands in forks of one process that has imported what they need: for signals to them.

A process of its own for each command would import torch each time.
"""

import hashlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from file_changes import watch_changes

from abawcli.cli import main
from abawcli.cli.signals import stop_on_signals
from abawcli.formats import atomic
from abawcli.stages import smooth

SAID = "said"  # the name of a FIFO, for stdout and stderr
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [__name__, *(f"abawcli.cli.{command}" for command in ("predict", "extract", "crop", "smooth")),
     "abawcli.stages.predict", "abawcli.stages.extract"]
)  # fmt: skip


class ForkedCommand:
    """A command that runs in a folder; what it says can be read when it has ended."""

    def __init__(self, folder: Path, run: Callable[..., object], *arguments: object) -> None:
        os.mkfifo(folder / SAID)
        self._said = os.open(folder / SAID, os.O_RDONLY | os.O_NONBLOCK)
        self._process = FORKS.Process(target=_start, args=(folder, run, arguments))
        self._process.start()
        self.pid = self._process.pid or 0

    def poll(self) -> int | None:
        """Return the exit status, or minus the signal, once it has ended."""
        return self._process.exitcode

    def read(self, timeout_s: float) -> str:
        """Wait for the end; return what it and its children have said until all have ended."""
        self._process.join(timeout_s)
        assert self._process.exitcode is not None
        os.set_blocking(self._said, True)
        with open(self._said) as said:
            return said.read()

    def kill(self) -> None:
        self._process.kill()


def _start(folder: Path, run: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """Be in the fork what a new process is."""
    os.chdir(folder)
    said = os.open(SAID, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(said, stream)
    os.close(said)
    # Also where whoever runs the tests ignores them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    run(*arguments)


def run_abaw(*arguments: str) -> None:
    main(arguments, prog_name="abaw")


def run_stuck(*arguments: str) -> None:
    """Run a command that is in one long call for b, in which Python cannot look for signals."""

    def write(table: object, path: Path, provenance: object) -> None:
        with atomic.write_whole(path) as temporary:
            temporary.write_text("half")
            Path(f"out/{path.stem}.ready").touch()
            rounds = 100_000_000 if path.stem == "b" else 1
            hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)

    smooth.write_table = write  # type: ignore[assignment,attr-defined]
    run_abaw(*arguments)


def run_killed(change: int, *arguments: str) -> None:
    """Run a command that is killed before a change of the file system."""

    def act(number: int) -> None:
        if number == change:
            os.kill(os.getpid(), signal.SIGKILL)

    with watch_changes(Path.cwd(), act):
        run_abaw(*arguments)


def ignore_hangups() -> None:
    """Say which signals are ignored after a command that was started by nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_on_signals():
        os.kill(os.getpid(), signal.SIGHUP)
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    print("alive", ignored, signal.getsignal(signal.SIGINT) == signal.default_int_handler)
    with stop_on_signals():
        if not (pid := os.fork()):
            signal.raise_signal(signal.SIGTERM)
        print(os.waitpid(pid, 0)[1])
    sys.stdout.flush()
