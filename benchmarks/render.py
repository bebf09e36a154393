"""Speed and memory of `abaw render`, which must not grow with the length of the video.

Makes videos of 640x360 with audio from a sample clip, with their tables, and renders each in a
separate process. Prints seconds, frames a second, and the peak memory of that process and of
FFmpeg, which it starts (Linux).

    python benchmarks/render.py [--minutes 1 10]
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pandas as pd

from abawcli.formats.tables import write_table
from abawcli.media.video import read_frames
from abawcli.stages.predict import predict_video

SAMPLE = Path(__file__).parents[1] / "sample_videos" / "expressions.mp4"
SIZE, RATE, AUDIO_HZ = (640, 360), 25, 48_000
MEASURED = """
import json, os, re, sys, time
from pathlib import Path
from abawcli.views.render import render_video

def peak_mb(pid):  # not of getrusage, which counts the process that started this one, too
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1024

peaks = []
def watch(done, total, what):
    if done == total:
        (child,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        peaks.append(peak_mb(child))

start = time.perf_counter()
made = render_video(*sys.argv[1:4], progress=watch)
print(json.dumps([made.frames, time.perf_counter() - start, peak_mb("self"), *peaks]))
"""


def make_order(frames: int, count: int) -> list[int]:
    """Return the index of the sample's frame for each of `count` frames, back and forth."""
    rounds = itertools.cycle([*range(frames), *reversed(range(frames))])
    return list(itertools.islice(rounds, count))


def write_clip(path: Path, pictures: Sequence[np.ndarray], order: Sequence[int]) -> None:
    """Write the pictures in an order, with a tone."""
    tone = np.sin(np.arange(AUDIO_HZ // RATE) * 2 * np.pi * 440 / AUDIO_HZ).astype(np.float32)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio = out.add_stream("aac", rate=AUDIO_HZ, layout="mono")
        for k, shown in enumerate(order):
            out.mux(video.encode(av.VideoFrame.from_ndarray(pictures[shown], "rgb24")))
            block = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
            block.sample_rate, block.pts = AUDIO_HZ, k * len(tone)
            out.mux(audio.encode(block))
        for stream in (video, audio):
            out.mux(stream.encode())


def write_labels(path: Path, table: pd.DataFrame, order: Sequence[int]) -> None:
    """Write the sample's labels in an order."""
    frame = np.arange(1, len(order) + 1)
    rows = table.iloc[list(order)].assign(frame=frame, time_s=(frame - 1) / RATE)
    write_table(rows.reset_index(drop=True), path, {})


def main() -> None:
    """Print a row for each length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 10.0])
    minutes = parser.parse_args().minutes
    frames = list(read_frames(SAMPLE))
    pictures = [f.native.reformat(*SIZE, "rgb24").to_ndarray() for f in frames]
    table = predict_video(SAMPLE)
    x, y = (small / large for small, large in zip(SIZE, frames[0].size, strict=True))
    table = table.assign(x=table.x * x, w=table.w * x, y=table.y * y, h=table.h * y)
    print("| video | frames | seconds | frames/s | peak MB | peak MB of FFmpeg |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for length in minutes:
            clip, labels, output = (Path(folder) / f"{length}{s}" for s in (".mp4", ".csv", ".mkv"))
            order = make_order(len(frames), round(length * 60 * RATE))
            write_clip(clip, pictures, order)
            write_labels(labels, table, order)
            command = [sys.executable, "-c", MEASURED, str(clip), str(labels), str(output)]
            run = subprocess.run(command, check=True, capture_output=True, text=True)
            count, seconds, own, ffmpeg = json.loads(run.stdout)
            print(
                f"| {length:g} min | {count} | {seconds:.1f} | {count / seconds:.0f} | "
                f"{own:.0f} | {ffmpeg:.0f} |"
            )


if __name__ == "__main__":
    main()
