"""Hours, cost and storage for 10, 10,000 and a million videos, from a measurement on this machine.

Runs `abaw predict` over one and over several copies of a 1280x720 video with one face: the
difference of their CPU times is the cost of a frame, without that of the start. `extract` and
`crop` of one copy give the sizes of features and crops. Repeated runs over one and over many short
videos, which are finished then, give the cost of a kept input, and a folder of empty files that of
listing inputs.
CPU time is that of all processes; it depends less on other work of the machine than wall time.

    python benchmarks/scale.py [--clips 5] [--frames 300] [--minutes 1] [--fps 30]
        [--cores 64] [--price 0.04]
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from speed import make_video

from abawcli.formats.inputs import VIDEO_SUFFIXES, expand_inputs

ROOT = Path(__file__).parents[1]
VIDEOS = (10, 10_000, 1_000_000)
LISTED = 20_000  # empty files
KEPT, KEPT_FRAMES = 40, 10  # finished videos, and their length
CPU = ("--device", "cpu")


@dataclass(frozen=True)
class Costs:
    """What was measured; bytes and CPU time of a frame, CPU time of a start and of an input."""

    start_s: float
    frame_s: float
    kept_s: float  # of an input that is finished
    listed_s: float
    table_bytes: float
    feature_bytes: float
    crop_bytes: float


def run(folder: Path, *arguments: str) -> float:
    """Run a command that has to succeed; return its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "abawcli", *arguments], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def count_bytes(folder: Path) -> int:
    """Return the size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(folder: Path, clips: int, frames: int) -> Costs:
    """Run the commands in an empty folder."""
    copy_video(folder / "one", 1, frames)
    copy_video(folder / "all", clips, frames)
    one_s = run(folder, "predict", "one", "-o", "p1", *CPU)
    all_s = run(folder, "predict", "all", "-o", "p", *CPU)
    frame_s = (all_s - one_s) / ((clips - 1) * frames)
    start_s = one_s - frame_s * frames
    run(folder, "extract", "one", "-o", "f", *CPU)
    run(folder, "crop", "one", "-o", "c")
    return Costs(
        start_s, frame_s, time_kept(folder), time_listing(folder / "empty"),
        count_bytes(folder / "p") / (clips * frames), count_bytes(folder / "f") / frames,
        count_bytes(folder / "c") / frames,
    )  # fmt: skip


def copy_video(folder: Path, copies: int, frames: int) -> None:
    """Write so many copies of a video."""
    folder.mkdir()
    make_video(folder / "0.mp4", frames)
    for k in range(1, copies):
        shutil.copy(folder / "0.mp4", folder / f"{k}.mp4")


def time_kept(folder: Path) -> float:
    """Return the CPU time of an input whose output is finished."""
    copy_video(folder / "many", KEPT, KEPT_FRAMES)
    run(folder, "predict", "many", "-o", "m", *CPU)
    one_s, many_s = (run(folder, "predict", *inputs, "-o", "m", *CPU)
                     for inputs in (("many/0.mp4", "many/1.mp4"), ("many",)))  # fmt: skip
    return max(0.0, many_s - one_s) / (KEPT - 2)


def time_listing(folder: Path) -> float:
    """Return the CPU time of listing one of many inputs."""
    folder.mkdir()
    for k in range(LISTED):
        (folder / f"{k}.mp4").touch()
    begin = time.process_time()
    assert len(expand_inputs([str(folder)], VIDEO_SUFFIXES)) == LISTED
    return (time.process_time() - begin) / LISTED


def name_size(size: float) -> str:
    """Return a number of bytes with a unit."""
    units = ("B", "kB", "MB", "GB", "TB")
    k = 0
    while size >= 1000 and k < len(units) - 1:
        size, k = size / 1000, k + 1
    return f"{size:.3g} {units[k]}"


def name_time(hours: float) -> str:
    """Return a duration with a unit."""
    if hours < 1 / 60:
        return f"{hours * 3600:.2g} s"
    if hours < 1:
        return f"{hours * 60:.2g} min"
    return f"{hours:.2g} hours" if hours < 48 else f"{hours / 24:.2g} days"


def print_row(*cells: str) -> None:
    """Print a row of a table."""
    print(f"| {' | '.join(cells)} |")


def report(costs: Costs, frames: float, cores: int, price: float) -> None:
    """Print the measurement and the table for videos of so many frames."""
    print(f"A frame takes {1e3 * costs.frame_s:.1f} ms of CPU time, a start {costs.start_s:.1f} s, "
          f"an input that is finished {1e3 * costs.kept_s:.0f} ms, listing an input "
          f"{1e6 * costs.listed_s:.0f} us.")  # fmt: skip
    print(f"Bytes per frame: tables {costs.table_bytes:.0f}, features {costs.feature_bytes:.0f}, "
          f"crops {costs.crop_bytes:.0f}.\n")  # fmt: skip
    names = ("videos", "core hours", f"on {cores} cores", "cost", "tables", "features", "crops",
             "listing, per process", "rerun when all are finished")  # fmt: skip
    print_row(*names)
    print_row(*["---"] * len(names))
    for videos in VIDEOS:
        used = min(cores, videos)
        hours = (used * costs.start_s + videos * frames * costs.frame_s) / 3600
        sizes = (costs.table_bytes, costs.feature_bytes, costs.crop_bytes)
        again = (used * costs.start_s + videos * costs.kept_s) / 3600 / used
        print_row(
            f"{videos:,}", f"{hours:,.2g}" if hours < 10 else f"{hours:,.0f}",
            name_time(hours / used), f"{hours * price:,.2f} USD",
            *(name_size(videos * frames * size) for size in sizes),
            name_time(videos * costs.listed_s / 3600), name_time(again),
        )  # fmt: skip


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=5)
    parser.add_argument("--frames", type=int, default=300, help="of a clip")
    parser.add_argument("--minutes", type=float, default=1, help="length of a video of the table")
    parser.add_argument("--fps", type=float, default=30)
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument("--price", type=float, default=0.04, help="of a core, in USD per hour")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        costs = measure(Path(folder), given.clips, given.frames)
    report(costs, given.minutes * 60 * given.fps, given.cores, given.price)


if __name__ == "__main__":
    main()
