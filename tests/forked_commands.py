"""Commands for forks of this process, which has imported what they need: for signals to them."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from file_changes import watch_changes

# Commands and stages, which import each other when they run, are imported before there are forks.
import abawcli.cli.crop
import abawcli.cli.extract
import abawcli.cli.predict
import abawcli.cli.smooth
import abawcli.stages.crop
import abawcli.stages.extract
import abawcli.stages.predict  # noqa: F401
from abawcli.cli import main
from abawcli.cli.signals import stop_on_signals
from abawcli.formats import atomic
from abawcli.stages import smooth

IGNORED_BY_SHELLS = signal.SIGINT, signal.SIGHUP  # in the background; for nohup


class NewProcess:
    """A command in a process of its own, as `EarlyFork`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._run = subprocess.Popen(
            [sys.executable, "-m", "abawcli", *arguments],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            preexec_fn=lambda: [signal.signal(k, signal.SIG_DFL) for k in IGNORED_BY_SHELLS],
        )  # fmt: skip
        self.pid, self.poll, self.kill = self._run.pid, self._run.poll, self._run.kill

    def read(self, timeout_s: float) -> str:
        with self._run:
            return self._run.communicate(timeout=timeout_s)[0]


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
