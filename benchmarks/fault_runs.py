"""Commands that `faults` disturbs: their inputs, their processes, and what they have written."""

import os
import resource
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load

ROOT = Path(__file__).parents[1]
SHORT, LONG = (ROOT / "sample_videos" / f"{n}.mp4" for n in ("rotated_phone", "expressions"))
LIMIT_S = 600.0  # of any run
LOOK_S = 0.2  # more than the look at a file's beginning takes
TICKS = os.sysconf("SC_CLK_TCK")  # of CPU time, in a second
STATES = ("last.safetensors", "encoder.safetensors", "head.safetensors")  # of training
RESULTS = (".csv", ".jpg", ".parquet", ".safetensors")
CPU = ("--device", "cpu")
COMMANDS = {
    "predict": ("predict", "in", "-o", "out", *CPU),
    "predict --jobs 2": ("predict", "in", "-o", "out", "--jobs", "2", *CPU),
    "crop": ("crop", "in", "-o", "out", "--subject", "all"),
    "extract": ("extract", "in", "-o", "out", *CPU),
    "train face": ("train", "face", "--images", "images", "--manifest", "images.csv", "-o", "out",
                   "--epochs", "4", "--batch-size", "8", "--no-moe", *CPU),
    "train voice": ("train", "voice", "--recordings", "sounds", "--manifest", "sounds.csv", "-o",
                    "out", "--epochs", "4", "--epoch-batches", "4", "--batch-size", "4", *CPU),
    "train head": ("train", "head", "features", "--labels", "labels", "-o", "out", "--epochs", "40",
                   *CPU),
}  # fmt: skip
Run = subprocess.Popen[str]


# --- runs ----------------------------------------------------------------------------------


def start(arguments: Sequence[str], folder: Path, largest: int | None = None) -> Run:
    """Start a command; no file of it can grow beyond `largest` bytes."""
    limits = (largest or resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    return subprocess.Popen(
        [sys.executable, "-m", "abawcli", *arguments],
        cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )  # fmt: skip


def finish(run: Run) -> tuple[int, str]:
    """Return the exit status and the messages of a run, whose processes must all have ended."""
    _, stderr = run.communicate(timeout=LIMIT_S)  # until no process has the pipe
    return run.returncode, stderr


def list_processes(process: int) -> list[int]:
    """Return a process and all below it."""
    with suppress(OSError):
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        return [process, *(each for child in children for each in list_processes(int(child)))]
    return [process]


def count_cpu(process: int) -> float:
    """Return the CPU seconds of a process and of all below it."""
    total = 0
    for each in list_processes(process):
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))  # its own and those of ended children
    return total / TICKS


def await_state(run: Run, state: Callable[[], bool]) -> bool:
    """Wait until a run is in a state; return False if it ends before."""
    deadline = time.monotonic() + LIMIT_S
    while run.poll() is None and time.monotonic() < deadline:
        if state():
            return True
        time.sleep(0.002)
    return False


def reads(run: Run, path: Path) -> bool:
    """Tell whether any process of a run has a file open."""
    for process in list_processes(run.pid):
        with suppress(OSError):
            for link in Path(f"/proc/{process}/fd").iterdir():
                with suppress(OSError):
                    if os.path.realpath(link) == os.path.realpath(path):
                        return True
    return False


def await_reading(run: Run, path: Path) -> bool:
    """Wait until a file is open for longer than a look at its beginning takes."""

    def stays_open() -> bool:
        begin = time.monotonic()
        while reads(run, path) and time.monotonic() - begin < LOOK_S:
            time.sleep(0.01)
        return time.monotonic() - begin >= LOOK_S

    return await_state(run, stays_open)


def read_files(folder: Path) -> dict[str, bytes]:
    """Return all files but the manifest, whose lines tell how often a run was repeated."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.jsonl"
    }


def find_half_written(folder: Path, whole: dict[str, bytes]) -> list[str]:
    """Return visible results that are no whole files.

    States of training, with the weights of the best epoch so far, must be readable; all others are
    those of a whole run.
    """
    found = []
    for name, data in read_files(folder).items():
        path = Path(name)
        if any(part.startswith(".abaw-") for part in path.parts):
            continue
        if path.name in STATES:
            try:
                load(data)
            except SafetensorError:
                found.append(name)
        elif path.suffix in RESULTS and path.name != "strategy.csv" and whole.get(name) != data:
            found.append(name)
    return found


# --- inputs --------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """Make the inputs of all commands: of three videos, the second is the longest."""
    (folder / "in").mkdir()
    for name, sample in (("a", SHORT), ("b", LONG), ("c", SHORT)):
        shutil.copy(sample, folder / "in" / f"{name}.mp4")
    make_training_sets(folder)
    code, said = finish(start(("extract", "in", "-o", "features", *CPU), folder))
    assert code == 0, said
    (folder / "labels").mkdir()
    header = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    for name, count in (("a", 120), ("b", 300), ("c", 120)):
        lines = "\n".join(str(4 * (k % 40 < 20)) for k in range(count))
        (folder / "labels" / f"{name}.txt").write_text(f"{header}\n{lines}\n")


def make_training_sets(folder: Path) -> None:
    """Write 64 images and 32 recordings of noise, each with a manifest."""
    draw = np.random.default_rng(0)
    for kind, suffix, count in (("images", "png", 64), ("sounds", "wav", 32)):
        (folder / kind).mkdir()
        rows = ["file,label,split"]
        for k in range(count):
            label, split = ("Anger", "Happiness")[k % 2], ("train", "valid")[k % 4 == 3]
            rows.append(f"{k}.{suffix},{label},{split}")
            path = folder / kind / f"{k}.{suffix}"
            if kind == "images":
                Image.fromarray(draw.integers(0, 256, (48, 48, 3)).astype(np.uint8)).save(path)
            else:
                with wave.open(str(path), "wb") as file:
                    file.setparams((1, 2, 16_000, 0, "NONE", ""))
                    file.writeframes(draw.integers(-9000, 9000, 32_000).astype("<i2").tobytes())
        (folder / f"{kind}.csv").write_text("\n".join(rows) + "\n")
