"""Speed and memory of `abaw predict`, compared with decoding the same file to RGB with PyAV.

Makes a 1280x720 video with one face from a sample clip, then decodes it to RGB and labels it in
turn, several times, in one process. Prints frames a second of both, their ratio by wall time and by
CPU time, the memory after the first tenth and at the end, and the CPU time of each stage.

    python benchmarks/speed.py [--frames 750] [--rounds 3] [--recipe NAME|PATH] [--video FILE]
"""

import argparse
import inspect
import itertools
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import av
import numpy as np

from abawcli.device import leave_one_core
from abawcli.faces import detect, quality, track
from abawcli.faces.identity import _FaceTemplate
from abawcli.media import recording, video
from abawcli.media.frame import Frame
from abawcli.media.video import read_frames
from abawcli.models.encoder import FeatureEncoder
from abawcli.pipeline import feature_stream
from abawcli.pipeline.audio_features import AudioEncoder
from abawcli.pipeline.subject_stream import SubjectStream
from abawcli.stages.predict import Predictor

T = TypeVar("T")
SAMPLE = Path(__file__).parents[1] / "sample_videos" / "expressions.mp4"


def make_video(path: Path, count: int) -> None:
    """Write `count` frames of the sample clip, back and forth, scaled into 1280x720."""
    pictures = [frame.rgb() for frame in read_frames(SAMPLE)]
    order = itertools.cycle([*range(len(pictures)), *reversed(range(len(pictures)))])
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for k in itertools.islice(order, count):
            frame = av.VideoFrame.from_ndarray(pictures[k], format="rgb24")
            small = frame.reformat(960, 720, "rgb24").to_ndarray()
            canvas = np.full((720, 1280, 3), 60, np.uint8)
            canvas[:, 160:1120] = small
            out.mux(stream.encode(av.VideoFrame.from_ndarray(canvas, format="rgb24")))
        out.mux(stream.encode(None))


def decode_with_pyav(path: Path) -> int:
    """Decode every frame to RGB, with frame threads, and return their number."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        return sum(1 for f in container.decode(stream) if f.to_ndarray(format="rgb24").size)


def resident_mb() -> float:
    """Return this process's resident memory in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def predict(predictor: Predictor, path: Path, count: int) -> tuple[float, float]:
    """Label every frame; return the memory in MB after the first tenth and at the end."""
    marks = {}

    def watch(done: int, total: int | None, what: str) -> None:
        if done in (count // 10, count):
            marks[done] = resident_mb()

    table = predictor.predict_video(path, progress=watch)
    assert len(table) == count
    return marks[count // 10], marks[count]


def timed(work: Callable[[], T]) -> tuple[T, float, float]:
    """Return the result of `work` with its seconds of wall time and of CPU time of all threads."""
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - start, time.process_time() - cpu


class StageClock:
    """CPU seconds of stages, each without the stages that run within it, of all threads.

    A stage is counted in the thread that calls it. It starts no others: with two cores, every
    network has one thread.
    """

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.local = threading.local()

    def count(self, name: str, work: Callable[..., T], *args: Any, **options: Any) -> T:
        """Return what `work` returns, and add its time to a stage."""
        outer, self.local.inner = getattr(self.local, "inner", 0.0), 0.0
        start = time.thread_time()
        try:
            return work(*args, **options)
        finally:
            whole = time.thread_time() - start
            self.spent[name] += whole - self.local.inner
            self.local.inner = outer + whole

    def watch(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose time is added to a stage; of a generator, that of each item."""

        @wraps(function)
        def counted(*args: Any, **options: Any) -> Any:
            return self.count(name, function, *args, **options)

        @wraps(function)
        def generate(*args: Any, **options: Any) -> Iterator[Any]:
            with closing(function(*args, **options)) as items:
                end = object()
                while (item := self.count(name, next, items, end)) is not end:
                    yield item

        return generate if inspect.isgeneratorfunction(function) else counted


STAGES = {  # name: functions, by the object that is asked for them
    "decode": [(video, "decode_stream")],
    "scale for detection": [(Frame, "rgb")],
    "detect": [(detect.RetinaFace, "detect")],
    "appearance": [(track, "describe_face"), (_FaceTemplate, "update")],
    "face quality": [(quality, "_cut_box"), (quality, "measure_sharpness"), (quality, "rate_face")],
    "crop": [(feature_stream, "cut_region"), (feature_stream, "crop_regions")],
    "face network": [(FeatureEncoder, "encode")],
    "decode audio": [(recording, "read_audio_blocks"), (recording, "read_blocks")],
    "audio encoder": [(AudioEncoder, "encode")],
    "head": [(SubjectStream, "push"), (SubjectStream, "finish")],
}


def time_stages(predictor: Predictor, path: Path, count: int) -> Iterator[tuple[str, float]]:
    """Yield the CPU milliseconds per frame of each stage of one prediction, and of the rest."""
    clock = StageClock()
    with ExitStack() as stack:
        for name, functions in STAGES.items():
            for where, attribute in functions:
                watched = clock.watch(name, getattr(where, attribute))
                stack.enter_context(patch.object(where, attribute, watched))
        start = time.process_time()
        predict(predictor, path, count)
        whole = time.process_time() - start
    for name in STAGES:
        yield name, clock.spent[name] / count * 1e3
    yield "rest", (whole - clock.spent.total()) / count * 1e3
    yield "all", whole / count * 1e3


def report(path: Path, count: int, rounds: int, recipe: str) -> None:
    """Print both tables."""
    leave_one_core()  # as the command does
    predictor = Predictor(recipe)
    predict(predictor, path, count)  # warm-up: allocators, thread pools, file cache
    rows, stages = [], []
    for _ in range(rounds):
        _, decode_s, decode_cpu = timed(lambda: decode_with_pyav(path))
        (early, late), label_s, label_cpu = timed(lambda: predict(predictor, path, count))
        rows.append((decode_s, label_s, decode_cpu, label_cpu, early, late))
        stages.append(dict(time_stages(predictor, path, count)))
    print(f"{count} frames, one face; median of {rounds} rounds")
    decode_s, label_s, decode_cpu, label_cpu, early, late = (
        statistics.median(column) for column in zip(*rows, strict=True)
    )
    ratio, cpu_ratio = (statistics.median(row[k] / row[k + 1] for row in rows) for k in (0, 2))
    for what, seconds, cpu in (
        ("decode to RGB with PyAV", decode_s, decode_cpu),
        ("abaw predict, end to end", label_s, label_cpu),
    ):
        print(f"{what:34s}{count / seconds:8.1f} frames/s, {cpu / count * 1e3:.2f} ms CPU a frame")
    print(f"{'ratio':34s}{ratio:8.2f} by wall time, {cpu_ratio:.2f} by CPU time")
    print(f"{'memory after a tenth':34s}{early:8.0f} MB")
    print(f"{'memory at the end':34s}{late:8.0f} MB, {late / early - 1:+.1%}")
    for name in stages[0]:
        print(f"{name:34s}{statistics.median(each[name] for each in stages):8.2f} ms CPU a frame")


def main() -> None:
    """Parse the arguments and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=750)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recipe", default="compact")
    parser.add_argument("--video", type=Path, help="Use this file instead of making one.")
    arguments = parser.parse_args()
    if arguments.video:
        count = sum(1 for _ in read_frames(arguments.video))
        report(arguments.video, count, arguments.rounds, arguments.recipe)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "face.mp4"
        make_video(path, arguments.frames)
        report(path, arguments.frames, arguments.rounds, arguments.recipe)


if __name__ == "__main__":
    main()
