"""SIGINT, SIGTERM and SIGHUP end a run within two seconds and leave nothing half-done."""

import os
import signal
import subprocess
import sys
import time
import wave
from fractions import Fraction
from pathlib import Path

import av
import pytest
from media_files import counting_picture, write_media
from sample_tables import make_table

from abawcli.formats.tables import write_table

LIMIT_S = 2.0
HOUR_S = 3600
MANY = 20_000  # frames
# As if a command were in one long call, in which Python cannot look for signals.
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


def write_inputs(folder: Path, suffix: str) -> None:
    """Write an input that is done at once, and one that takes longer than the test."""
    if suffix == "wav":
        for name, seconds in (("a", 1), ("b", HOUR_S)):
            with wave.open(str(folder / f"{name}.wav"), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes(bytes(2 * 8000 * seconds))
    elif suffix == "csv":
        for name in "ab":
            write_table(make_table([0, 4], name), folder / f"{name}.csv", {})
    else:
        picture = counting_picture(0, 320, 240)
        short = write_media(
            folder / f"a.{suffix}", [picture], codec="mjpeg", pixel_format="yuvj420p"
        )
        repeat_frame(short, folder / f"b.{suffix}", MANY)


def repeat_frame(source: Path, path: Path, count: int) -> None:
    """Write the only frame of a video again and again, without encoding it again."""
    with av.open(str(source)) as one, av.open(str(path), "w") as many:
        packet = next(iter(one.demux(video=0)))
        stream = many.add_stream_from_template(one.streams.video[0])
        for k in range(count):
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = k
            many.mux(packet)


def start(folder: Path, command: str, program: tuple[str, ...]) -> subprocess.Popen[str]:
    """Start a command on the two inputs of the folder."""
    inputs = sorted(path.name for path in folder.glob("[ab].*") if path.suffix != ".json")
    return subprocess.Popen(
        [sys.executable, *program, *command.split(), *inputs, "-o", "out"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip


def stop(
    run: subprocess.Popen[str], number: int, ready: Path, within_s: float = 60
) -> tuple[str, float]:
    """Send a signal when the first output is there; return what was said, and the seconds."""
    deadline = time.monotonic() + within_s
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
CROPS = {"a/faces.parquet", "a/tracks.parquet", "a.provenance.json", "strategy.csv"}


@pytest.mark.parametrize(
    ("command", "suffix", "outputs", "number", "status", "said"),
    [
        (
            "predict --modality audio",
            "wav",
            {"a.csv", "a.csv.provenance.json"},
            signal.SIGINT,
            130,
            "interrupted",
        ),
        ("crop", "mkv", CROPS, signal.SIGTERM, 143, "stopped by SIGTERM"),
        # Its processes end, too: stderr is read until all that have it close it.
        ("crop --jobs 2", "mkv", CROPS, signal.SIGHUP, 129, "stopped by SIGHUP"),
    ],
)
def test_a_signal_ends_a_run_tidily(
    command: str,
    suffix: str,
    outputs: set[str],
    number: int,
    status: int,
    said: str,
    tmp_path: Path,
) -> None:
    write_inputs(tmp_path, suffix)
    run = start(tmp_path, command, MODULE)
    out = tmp_path / "out"
    (record,) = (name for name in outputs if name.endswith(".provenance.json"))
    stderr, seconds = stop(run, number, out / record)
    assert run.returncode == status
    assert seconds < LIMIT_S
    assert "Traceback" not in stderr and "Exception ignored" not in stderr
    last = (
        f"abaw: {said}; 1 of 2 inputs are done and kept, and the same command continues from there"
    )
    assert stderr.splitlines()[-1] == last
    there = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert there == outputs | {"manifest.jsonl"}


def test_a_run_that_is_stuck_in_one_call_ends_too(tmp_path: Path) -> None:
    write_inputs(tmp_path, "csv")
    run = start(tmp_path, "smooth", ("-c", STUCK))
    stderr, seconds = stop(run, signal.SIGTERM, tmp_path / "out" / "b.ready")
    assert run.returncode == 143
    assert seconds < LIMIT_S
    assert "abaw: stopped by SIGTERM; 1 of 2 inputs are done and kept" in stderr
    names = {path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".ready"}
    assert names == {"a.csv"}


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
