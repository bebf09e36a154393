"""What `abaw predict` costs: to start, by length, by face, and with two processes. Unix only.

    python benchmarks/scaling.py [--parts start length faces jobs] [--rounds 3]

Runs the command in processes of its own and prints, in Markdown, wall and CPU seconds:

start: a video of one second, and the first label of a long one from Python, beside a process that
only imports torch, onnxruntime, av and pandas; medians of interleaved rounds.
length: videos of 1, 2, 4 and 8 minutes, 1280x720, one face.
faces: 1 to 10 faces in 1920x1080, `--subject all`.
jobs: 20 copies of a sample clip with `--jobs 1` and `--jobs 2`.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from long_videos import FPS, SAMPLE, write_video

HD, FULL_HD = (1280, 720), (1920, 1080)
LIBRARIES = "import torch, onnxruntime, av, pandas"
FIRST_LABEL = """
from abawcli.device import leave_one_core
from abawcli.pipeline.frame_predictor import FramePredictor
leave_one_core()
next(iter(FramePredictor().predict_frames({video!r})))
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of a process."""

    wall: float
    cpu: float


def run(*arguments: str) -> Cost:
    """Run Python with arguments, silently, and return what it took."""
    silent = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_WRONLY, 0) for n in (1, 2)]
    start = time.perf_counter()
    pid = os.posix_spawn(
        sys.executable, [sys.executable, *arguments], os.environ, file_actions=silent
    )
    _, status, used = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{arguments}: status {os.waitstatus_to_exitcode(status)}")
    return Cost(time.perf_counter() - start, used.ru_utime + used.ru_stime)


def predict(*arguments: str) -> Cost:
    """Run `abaw predict`."""
    return run("-m", "abawcli", "predict", "--overwrite", *arguments)


def show_start(folder: Path, rounds: int) -> None:
    """Print the cost of a short video beside that of its libraries."""
    short, long, table = folder / "1s.mp4", folder / "long.mp4", str(folder / "labels.csv")
    write_video(short, HD, 1, 1)
    write_video(long, HD, 1, 60)
    tasks: dict[str, Callable[[], Cost]] = {
        f"`{LIBRARIES}`": lambda: run("-c", LIBRARIES),
        "`abaw predict`, a video of 1 s": lambda: predict(str(short), "-o", table),
        "first label of a video of 60 s": lambda: run("-c", FIRST_LABEL.format(video=str(long))),
    }
    found = [{name: task() for name, task in tasks.items()} for _ in range(rounds)]
    print("| start | wall, s | CPU, s | wall, times the libraries |\n|---|---|---|---|")
    for name in tasks:
        wall = statistics.median(row[name].wall for row in found)
        cpu = statistics.median(row[name].cpu for row in found)
        ratio = statistics.median(row[name].wall / next(iter(row.values())).wall for row in found)
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {ratio:.2f} |")


def show_length(folder: Path, rounds: int) -> None:
    """Print the cost by length."""
    print("| minutes | wall, s | CPU, s | CPU ms a frame |\n|---|---|---|---|")
    for minutes in (1, 2, 4, 8):
        video = folder / f"{minutes}min.mp4"
        write_video(video, HD, 1, minutes * 60)
        cost = predict(str(video), "-o", str(folder / "labels.csv"))
        each = cost.cpu / (minutes * 60 * FPS) * 1e3
        print(f"| {minutes} | {cost.wall:.1f} | {cost.cpu:.1f} | {each:.2f} |", flush=True)


def show_faces(folder: Path, rounds: int) -> None:
    """Print the cost by number of faces."""
    seconds, before = 20, None
    print("| faces | wall, s | CPU ms a frame | CPU ms a further face |\n|---|---|---|---|")
    for faces in (1, 2, 5, 10):
        video = folder / f"{faces}faces.mp4"
        write_video(video, FULL_HD, faces, seconds)
        cost = predict(str(video), "-o", str(folder / "labels.csv"), "--subject", "all")
        each = cost.cpu / (seconds * FPS) * 1e3
        further = "" if before is None else f"{(each - before[1]) / (faces - before[0]):.2f}"
        print(f"| {faces} | {cost.wall:.1f} | {each:.2f} | {further} |", flush=True)
        before = faces, each


def show_jobs(folder: Path, rounds: int) -> None:
    """Print the time of twenty clips in one process and in two."""
    clips = folder / "clips"
    clips.mkdir()
    for k in range(20):
        shutil.copy(SAMPLE, clips / f"{k:02}.mp4")
    walls = []
    for _ in range(rounds):
        walls.append([predict(str(clips), "-o", str(folder / n), "--jobs", n).wall for n in "12"])
    one, two = (statistics.median(column) for column in zip(*walls, strict=True))
    ratio = statistics.median(a / b for a, b in walls)
    print("| 20 clips of 300 frames | wall, s |\n|---|---|")
    print(f"| `--jobs 1` | {one:.1f} |\n| `--jobs 2` | {two:.1f}, {ratio:.2f} times as fast |")


def main() -> None:
    """Print a table for each part."""
    parts = {"start": show_start, "length": show_length, "faces": show_faces, "jobs": show_jobs}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--rounds", type=int, default=3, help="Of start and jobs.")
    options = parser.parse_args()
    for name in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            parts[name](Path(folder), options.rounds)
        print(flush=True)


if __name__ == "__main__":
    main()
