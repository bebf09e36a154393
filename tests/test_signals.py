"""SIGINT, SIGTERM and SIGHUP end a run within two seconds, tidily; after SIGKILL it goes on."""

import contextlib
import os
import signal
import time
import wave
from fractions import Fraction
from pathlib import Path

import av
import pytest
from early_forks import EarlyFork
from forked_commands import NewProcess, ignore_hangups, run_abaw, run_killed, run_stuck
from media_files import counting_picture, write_media
from sample_clips import abaw
from sample_tables import make_table

from abawcli.cli.signals import stop_on_signals
from abawcli.cores import count_cores
from abawcli.formats.tables import write_table

LIMIT_S = 2.0
PATIENCE_S = 60.0  # of a busy machine
KILLED_BEFORE = 9  # the number of a change: while the table of b is written
HOUR_S = 3600
MANY = 20_000  # frames


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


def list_arguments(folder: Path, command: str) -> list[str]:
    """Return the arguments of a command on the two inputs of the folder."""
    inputs = sorted(path.name for path in folder.glob("[ab].*") if path.suffix != ".json")
    return [*command.split(), *inputs, "-o", "out"]


def stop(
    run: EarlyFork | NewProcess, number: int, ready: Path, within_s: float = PATIENCE_S
) -> tuple[str, float]:
    """Send a signal when the first input is done; return what was said, and the seconds."""
    deadline = time.monotonic() + within_s
    while not ready.exists():
        if run.poll() is not None or time.monotonic() > deadline:
            run.kill()
            pytest.fail(f"never ready: {run.read(PATIENCE_S)}")
        time.sleep(0.02)
    time.sleep(0.3)  # to be in the second one
    begin = time.monotonic()
    os.kill(run.pid, number)
    return run.read(PATIENCE_S), time.monotonic() - begin


CROPS = {"a/faces.parquet", "a/tracks.parquet", "a.provenance.json", "strategy.csv"}
TABLE = {"a.csv", "a.csv.provenance.json"}
FEATURES = {"a.safetensors", "a.safetensors.provenance.json"}


@pytest.mark.parametrize(
    ("command", "suffix", "outputs", "number", "said"),
    [
        ("predict --modality audio", "wav", TABLE, signal.SIGINT, "interrupted"),
        ("extract --modality audio", "wav", FEATURES, signal.SIGTERM, "stopped by SIGTERM"),
        ("crop", "mkv", CROPS, signal.SIGTERM, "stopped by SIGTERM"),
        # Its processes end, too: what is said is read until all that have it close it.
        ("crop --jobs 2", "mkv", CROPS, signal.SIGHUP, "stopped by SIGHUP"),
    ],
)
def test_a_signal_ends_a_run_tidily(
    command: str, suffix: str, outputs: set[str], number: int, said: str, tmp_path: Path
) -> None:
    write_inputs(tmp_path, suffix)
    arguments, out = list_arguments(tmp_path, command), tmp_path / "out"
    run = EarlyFork(tmp_path, run_abaw, *arguments)
    text, seconds = stop(run, number, out / "manifest.jsonl")
    assert run.poll() == 128 + number
    assert seconds < LIMIT_S
    assert "Traceback" not in text and "Exception ignored" not in text
    last = (
        f"abaw: {said}; 1 of 2 inputs are done and kept, and the same command continues from there"
    )
    assert text.splitlines()[-1] == last
    there = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert there == outputs | {"manifest.jsonl"}


def test_a_run_that_is_stuck_in_one_call_ends_too(tmp_path: Path) -> None:
    write_inputs(tmp_path, "csv")
    run = EarlyFork(tmp_path, run_stuck, *list_arguments(tmp_path, "smooth"))
    text, seconds = stop(run, signal.SIGTERM, tmp_path / "out" / "b.ready")
    assert run.poll() == 128 + signal.SIGTERM
    assert seconds < LIMIT_S
    assert "abaw: stopped by SIGTERM; 1 of 2 inputs are done and kept" in text
    names = {path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".ready"}
    assert names == {"a.csv"}


def test_what_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    run = EarlyFork(tmp_path, ignore_hangups)
    assert run.read(PATIENCE_S).split() == ["alive", "True", "True", str(int(signal.SIGTERM))]


def test_a_process_that_is_killed_leaves_what_can_be_done_again(tmp_path: Path) -> None:
    write_inputs(tmp_path, "csv")
    arguments = [*list_arguments(tmp_path, "smooth"), "-q"]
    killed = EarlyFork(tmp_path, run_killed, KILLED_BEFORE, *arguments)
    assert killed.read(PATIENCE_S) == "" and killed.poll() == -signal.SIGKILL
    assert list((tmp_path / "out").glob(".abaw-*"))
    with contextlib.chdir(tmp_path):
        abaw(*arguments)
        abaw(*arguments[:-2], "other", "-q")
    made, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.suffix}
        for name in ("out", "other")
    )
    assert made == other and made.keys() >= TABLE


def test_what_other_systems_lack_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "set_blocking")  # Windows with Python 3.11
    monkeypatch.delattr(os, "sched_getaffinity")  # Windows and macOS
    monkeypatch.delattr(signal, "pthread_sigmask")  # Windows
    write_table(make_table([0, 4], "a"), tmp_path / "a.csv", {})
    with stop_on_signals():
        abaw("smooth", tmp_path / "a.csv", "-o", tmp_path / "b.csv")
    assert (tmp_path / "b.csv").exists()
    assert count_cores() >= 1
