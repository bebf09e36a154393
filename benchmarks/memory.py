"""Peak resident memory of `abaw predict`, seen from outside, and where it goes. Linux only.

    python benchmarks/memory.py [--seconds 60 600] [--size 1920 1080] [--many 30] [--recipe NAME]

Makes videos of one face and labels each in a process of its own; then one with many faces, with
`--subject all`. The peak is VmHWM of /proc/PID/status, summed over the process and its children.
Then a fresh process imports, one after the other, what this command has imported, loads the
networks, and labels a short video: prints what each step adds to the resident memory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from long_videos import LOOP_S, write_video

EVERY_S = 0.05  # between two looks at a process
# Libraries in the order in which the command imports them, then the command's own steps.
STEPS = {
    "Python": "pass",
    "numpy": "import numpy",
    "torch": "import torch",
    "pandas": "import pandas",
    "scipy.special": "import scipy.special",
    "av": "import av",
    "cv2": "import cv2",
    "onnxruntime": "import onnxruntime",
    "abawcli": "from abawcli.device import leave_one_core; leave_one_core()\n"
    "from abawcli.stages.predict import Predictor",
    "networks": "predictor = Predictor({recipe!r})",
    f"first {LOOP_S} s of a video": "table = predictor.predict_video({video!r})",
    "the same again": "table = predictor.predict_video({video!r})",
}


def read_status(pid: int, key: str) -> float:
    """Return a line of /proc/PID/status in MB; 0: the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(s.split()[1]) for s in text.splitlines() if s.startswith(key)), 0) * 1024 / 1e6


def list_family(pid: int) -> Iterator[int]:
    """Yield a process and all that descend from it."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in children:
        yield from list_family(int(child))


def watch(arguments: list[str]) -> tuple[float, float]:
    """Run `abaw` with arguments; return the sum of its processes' peaks in MB, and seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "abawcli", *arguments]
    peaks: dict[int, float] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            for pid in list_family(process.pid):
                peaks[pid] = max(peaks.get(pid, 0.0), read_status(pid, "VmHWM"))
            time.sleep(EVERY_S)
    if process.returncode:
        raise SystemExit(f"abaw {' '.join(arguments)}: exit status {process.returncode}")
    return sum(peaks.values()), time.perf_counter() - start


def measure_steps(recipe: str, video: Path) -> Iterator[tuple[str, float]]:
    """Yield what each step adds to the resident memory of a fresh process, in MB."""
    lines = ["from memory import read_status", "from os import getpid"]
    for step in STEPS.values():
        lines += [
            step.format(recipe=recipe, video=str(video)),
            "print(read_status(getpid(), 'VmRSS'))",
        ]
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.getenv("PYTHONPATH")])])
    command = [sys.executable, "-c", "\n".join(lines)]
    output = subprocess.check_output(command, text=True, env={**os.environ, "PYTHONPATH": path})
    before = 0.0
    for name, value in zip(STEPS, map(float, output.split()), strict=True):
        yield name, value - before
        before = value


def main() -> None:
    """Make the videos and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=[60, 600])
    parser.add_argument("--size", type=int, nargs=2, default=[1920, 1080])
    parser.add_argument("--many", type=int, default=30, help="Faces of the last video, of 20 s.")
    parser.add_argument("--recipe", default="compact")
    options = parser.parse_args()
    size = tuple(options.size)
    runs = [(seconds, 1, "largest") for seconds in options.seconds]
    runs += [(20, options.many, "all")] if options.many else []
    print(f"abaw predict, {size[0]}x{size[1]}, 25 frames/s\n")
    print("| seconds | faces | --subject | peak, MB | frames/s |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        video, table = Path(name) / "video.mp4", Path(name) / "labels.csv"
        for seconds, faces, subject in runs:
            write_video(video, size, faces, seconds)
            chosen = ["--recipe", options.recipe, "--subject", subject, "--overwrite"]
            peak, took = watch(["predict", str(video), "-o", str(table), *chosen])
            speed = seconds * 25 / took
            print(f"| {seconds} | {faces} | {subject} | {peak:.0f} | {speed:.0f} |", flush=True)
        write_video(video, size, 1, LOOP_S)
        print("\n| step | adds, MB |\n|---|---|")
        for step, added in measure_steps(options.recipe, video):
            print(f"| {step} | {added:.0f} |")


if __name__ == "__main__":
    main()
