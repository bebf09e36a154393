"""SIGINT, SIGTERM and SIGHUP end a run within two seconds and leave nothing half-done."""

import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import pytest

LIMIT_S = 2.0
HOUR_S = 3600
# As if a network were in one long call, in which Python cannot look for signals.
STUCK = """
import hashlib, pathlib
from abawcli.cli import main
from abawcli.formats import atomic, tables

def write(table, path, provenance):
    with atomic.write_whole(path) as temporary:
        temporary.write_text("half")
        pathlib.Path(f"out/{path.stem}.ready").touch()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000_000 * (path.stem == "b") + 1)

tables.write_table = write
main(prog_name="abaw")
"""


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder with a sound that is done at once, and one that takes longer than the test."""
    for name, seconds in (("a", 1), ("b", HOUR_S)):
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(bytes(2 * 8000 * seconds))
    return tmp_path


def start(folder: Path, command: str, program: tuple[str, ...]) -> subprocess.Popen[str]:
    arguments = ["a.wav", "b.wav", "--modality", "audio", "-o", "out"]
    return subprocess.Popen(
        [sys.executable, *program, *command.split(), *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip


def stop(run: subprocess.Popen[str], number: int, ready: Path) -> tuple[str, float]:
    """Send a signal when the first output is there; return what was said, and the seconds."""
    deadline = time.monotonic() + 60
    while not ready.exists():
        if run.poll() is not None or time.monotonic() > deadline:
            run.kill()
            pytest.fail(f"never ready: {run.communicate()}")
        time.sleep(0.02)
    time.sleep(0.3)  # to be in the second one
    begin = time.monotonic()
    run.send_signal(number)
    _, stderr = run.communicate(timeout=30)
    return stderr, time.monotonic() - begin


MODULE = ("-m", "abawcli")


@pytest.mark.parametrize(
    ("command", "number", "status", "said"),
    [
        ("predict", signal.SIGINT, 130, "interrupted"),
        ("extract", signal.SIGTERM, 143, "stopped by SIGTERM"),
        # Its processes end, too: stderr is read until all that have it close it.
        ("predict --jobs 2", signal.SIGHUP, 129, "stopped by SIGHUP"),
    ],
)
def test_a_signal_ends_a_run_tidily(
    command: str, number: int, status: int, said: str, sounds: Path
) -> None:
    first = "out/a.safetensors" if command == "extract" else "out/a.csv"
    run = start(sounds, command, MODULE)
    stderr, seconds = stop(run, number, sounds / f"{first}.provenance.json")
    assert run.returncode == status
    assert seconds < LIMIT_S
    assert "Traceback" not in stderr and "Exception ignored" not in stderr
    last = (
        f"abaw: {said}; 1 of 2 inputs are done and kept, and the same command continues from there"
    )
    assert stderr.splitlines()[-1] == last
    there = sorted(str(path.relative_to(sounds)) for path in (sounds / "out").rglob("*"))
    assert there == [first, f"{first}.provenance.json", "out/manifest.jsonl"]


def test_a_run_that_is_stuck_in_a_network_ends_too(sounds: Path) -> None:
    (sounds / "b.wav").write_bytes((sounds / "a.wav").read_bytes())
    run = start(sounds, "predict", ("-c", STUCK))
    stderr, seconds = stop(run, signal.SIGTERM, sounds / "out" / "b.ready")
    assert run.returncode == 143
    assert seconds < LIMIT_S
    assert "abaw: stopped by SIGTERM; 1 of 2 inputs are done and kept" in stderr
    names = {path.name for path in (sounds / "out").iterdir() if path.suffix != ".ready"}
    assert names == {"a.csv", "manifest.jsonl"}


def test_what_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    code = (
        "import os, signal; from abawcli.cli.signals import stop_on_signals as stop\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with stop(): os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('alive', signal.getsignal(signal.SIGHUP) == signal.SIG_IGN,"
        " signal.getsignal(signal.SIGINT) == signal.default_int_handler)\n"
        "with stop():\n"
        "    if not (pid := os.fork()): signal.raise_signal(signal.SIGTERM)\n"
        "    print(os.waitpid(pid, 0)[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["alive", "True", "True", str(int(signal.SIGTERM))]
