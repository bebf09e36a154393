"""CPU time and wall time of `abaw crop`, beside those of another version.

Crops the 1280x720 video of benchmarks/speed.py, in turn with this version and with the one in the
folder of --old, in a process each, and compares the crops. The times of a start are subtracted:
those of a video of a second.

    git worktree add ../old v0.1.0
    python benchmarks/crop.py --old ../old [--frames 500] [--rounds 3]
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from speed import make_video

THIS = Path(__file__).parents[1]
SHORT = 25  # frames of the video whose times are those of a start


def crop(tree: Path, video: Path, output: Path) -> tuple[float, float]:
    """Crop a video with the code of a folder; return the seconds of wall time and CPU time."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "abawcli", "crop", str(video), "-o", str(output), "-q"]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(tree)}, cwd=tree)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read_crops(folder: Path) -> dict[str, bytes]:
    """Return the pictures of a folder, by their names in it."""
    files = (path for path in folder.rglob("*") if path.suffix == ".jpg")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def main() -> None:
    """Parse the arguments and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--old", type=Path, required=True, metavar="DIR")
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    trees = {"old": arguments.old.resolve(), "this": THIS}
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        video, short = Path(folder) / "face.mp4", Path(folder) / "short.mp4"
        make_video(video, arguments.frames + SHORT)
        make_video(short, SHORT)
        for k in range(arguments.rounds):
            for name, tree in trees.items():
                start = crop(tree, short, Path(folder) / f"{name}{k}-short")
                whole = crop(tree, video, Path(folder) / f"{name}{k}")
                times[name].append((whole[0] - start[0], whole[1] - start[1]))
        same = read_crops(Path(folder) / "old0") == read_crops(Path(folder) / "this0")
    for name, rows in times.items():
        columns = zip(*rows, strict=True)
        wall, cpu = (statistics.median(column) / arguments.frames * 1e3 for column in columns)
        print(f"{name:6s}{wall:8.2f} ms wall time per frame, {cpu:.2f} ms CPU time")
    print("equal crops" if same else "other crops")


if __name__ == "__main__":
    main()
