"""Speed of `abaw predict` beside fer (Python) and face-api.js (Node) on the same frames.

    python benchmarks/peers.py --dir DIR [--video FILE] [--frames 200] [--rounds 3]

Builds an environment for each of them under --dir, once, from PyPI and npm: fer with the Haar
cascade of OpenCV; face-api.js with its tiny detector, its expression network and the WebAssembly
backend. Node is needed. Without --video it makes the 1280x720 video of benchmarks/speed.py.

The three take turns, each in its own process and with as many threads as it starts by itself. The
others get decoded frames, and only their detection and classification count. For abaw everything
after loading counts: decoding, audio, tracking and the table. The first frame of the others, and a
first run of abaw, do not count. Prints, in Markdown, the median of the rounds.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from speed import make_video

from abawcli.device import leave_one_core
from abawcli.media.video import read_frames
from abawcli.sources import has_face
from abawcli.stages.predict import Predictor

HERE = Path(__file__).parent
FER = "fer==25.10.3"
# What fer imports to detect faces without PyTorch. It reads the cascade files that OpenCV 4 has.
FER_NEEDS = (
    "tensorflow-cpu", "opencv-python-headless<5", "pandas", "requests", "matplotlib", "tqdm",
    "ffmpeg-python", "moviepy<2", "setuptools<81",
)  # fmt: skip
FACE_API = ("@vladmandic/face-api@1.7.15", "@tensorflow/tfjs@4.22.0",
            "@tensorflow/tfjs-backend-wasm@4.22.0")  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """What one run of a tool took."""

    frames: int
    faces: int
    seconds: float
    cpu: float


def run(command: list[str], folder: Path) -> str:
    """Run a command in a folder and return its output; its messages go to stderr."""
    return subprocess.run(command, cwd=folder, check=True, text=True, stdout=subprocess.PIPE).stdout


def prepare_fer(folder: Path) -> Path:
    """Return the interpreter of an environment with fer."""
    python = folder / "fer" / "bin" / "python"
    if not (folder / "fer" / "ready").exists():
        venv.create(folder / "fer", with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        run([*pip, *FER_NEEDS], folder)
        run([*pip, "--no-deps", FER], folder)
        (folder / "fer" / "ready").touch()
    return python


def prepare_face_api(folder: Path) -> Path:
    """Return a folder with face-api.js."""
    place = folder / "face-api"
    if not (place / "ready").exists():
        place.mkdir(exist_ok=True)
        (place / "package.json").write_text('{"private": true}\n')
        run(["npm", "install", "--silent", "--no-audit", "--no-fund", *FACE_API], place)
        (place / "ready").touch()
    return place


def write_frames(video: Path, count: int, path: Path) -> list[str]:
    """Write the first frames as raw RGB; return their number, height and width."""
    with path.open("wb") as file:
        frames = [frame.rgb() for frame in itertools.islice(read_frames(video), count)]
        for frame in frames:
            file.write(np.ascontiguousarray(frame).tobytes())
    return [str(n) for n in (len(frames), *frames[0].shape[:2])]


def read_turn(command: list[str], folder: Path) -> Turn:
    """Run a peer and return what its last line says."""
    return Turn(**json.loads(run(command, folder).strip().splitlines()[-1]))


def time_abaw(predictor: Predictor, video: Path) -> Turn:
    """Label the whole video."""
    start, cpu = time.perf_counter(), time.process_time()
    table = predictor.predict_video(video)
    faces = int(has_face(table["source"].to_numpy(str)).sum())
    return Turn(len(table), faces, time.perf_counter() - start, time.process_time() - cpu)


def tabulate(turns: dict[str, list[Turn]]) -> None:
    """Print the table; the last tool is the one that the others are compared with."""
    *_, own = turns
    print("| tool | frames/s | CPU ms a frame | frames with a face | slower than abaw |")
    print("|---|---|---|---|---|")
    speeds = {name: [t.frames / t.seconds for t in found] for name, found in turns.items()}
    for name, found in turns.items():
        ratio = statistics.median(b / a for a, b in zip(speeds[name], speeds[own], strict=True))
        cpu = statistics.median(t.cpu / t.frames * 1e3 for t in found)
        share = found[0].faces / found[0].frames
        speed = statistics.median(speeds[name])
        print(f"| {name} | {speed:.1f} | {cpu:.1f} | {share:.0%} | {ratio:.1f} times |")


def compare(video: Path, frames: Path, folder: Path, sizes: list[str], rounds: int) -> None:
    """Let the three take turns, and print the table."""
    python, place = prepare_fer(folder), prepare_face_api(folder)
    leave_one_core()  # as the command does
    predictor = Predictor("compact")
    time_abaw(predictor, video)
    node = ["node", str(HERE / "peer_face_api.cjs"), str(frames), *sizes]
    tools: dict[str, Callable[[], Turn]] = {
        f"{FER}, Haar": lambda: read_turn(
            [str(python), str(HERE / "peer_fer.py"), str(frames), *sizes], folder
        ),
        f"{FACE_API[0]}, WebAssembly": lambda: read_turn(node, place),
        "abaw predict": lambda: time_abaw(predictor, video),
    }
    turns: dict[str, list[Turn]] = {name: [] for name in tools}
    for k in range(rounds):
        for name, work in tools.items():
            turns[name].append(work())
            print(f"round {k + 1}, {name}: {turns[name][-1]}", file=sys.stderr, flush=True)
    tabulate(turns)


def main() -> None:
    """Prepare the environments and the frames, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dir", type=Path, required=True, help="Where the environments are.")
    parser.add_argument("--video", type=Path, help="Use this file instead of making one.")
    parser.add_argument("--frames", type=int, default=200, help="That the others label.")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        video, frames = options.video, Path(name) / "frames.rgb"
        if video is None:
            video = Path(name) / "face.mp4"
            make_video(video, 750)
        sizes = write_frames(video, options.frames, frames)
        compare(video, frames, options.dir.absolute(), sizes, options.rounds)


if __name__ == "__main__":
    main()
