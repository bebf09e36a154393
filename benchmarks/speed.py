"""Speed and memory of `abaw predict`, compared with decoding the same file to RGB with PyAV.

Makes a 1280x720 video with one face from a sample clip, then decodes it to RGB and labels it in
turn, several times, in one process. Prints frames a second, their ratio, the memory after the first
tenth and at the end, and the time of each stage alone.

    python benchmarks/speed.py [--frames 750] [--rounds 3] [--recipe NAME|PATH] [--video FILE]
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np

from abawcli.device import leave_one_core
from abawcli.faces.crop import crop_frame
from abawcli.faces.track import track_faces
from abawcli.media.frame import Frame
from abawcli.media.video import read_frames
from abawcli.stages.predict import Predictor

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


def timed(work: Callable[[], object]) -> float:
    """Return the duration of `work` in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def time_stages(predictor: Predictor, path: Path, limit: int = 200) -> Iterator[tuple[str, float]]:
    """Yield each stage's name and its milliseconds per frame when it runs alone."""

    def head() -> Iterator[Frame]:
        return itertools.islice(read_frames(path), limit)

    yield "decode", timed(lambda: sum(1 for _ in head())) / limit * 1e3
    frames = list(head())
    encoder = predictor.extractor.encoder
    assert encoder is not None
    side = predictor.extractor.detector.config.long_side
    yield (
        "reduce one image for detection",
        timed(lambda: [f.rgb(side) for f in frames[:50]]) / 50 * 1e3,
    )
    small = [frame.rgb(side) for frame in frames[:20]]
    yield (
        "detect in one image",
        timed(lambda: [predictor.extractor.detector.detect([s]) for s in small]) * 50,
    )
    start = time.perf_counter()
    tracked = list(track_faces(iter(frames), predictor.extractor.detector))
    yield "detect and track, per frame", (time.perf_counter() - start) / limit * 1e3
    how = encoder.preprocess
    pairs = [(frame, face.box) for frame, found in tracked for face in found.faces]
    start = time.perf_counter()
    crops = [np.stack(crop_frame(f, box, how.crop_scales, how.resize)) for f, box in pairs]
    yield "crop one face", (time.perf_counter() - start) / len(pairs) * 1e3
    size = predictor.extractor.config.batch_size
    batch = np.stack(crops[:size])
    encoder.encode(batch)
    yield (
        f"encode one face, of {size} at once",
        timed(lambda: [encoder.encode(batch) for _ in range(5)]) / 5 / size * 1e3,
    )


def report(path: Path, count: int, rounds: int, recipe: str) -> None:
    """Print both tables."""
    leave_one_core()  # as the command does
    predictor = Predictor(recipe)
    predict(predictor, path, count)  # warm-up: allocators, thread pools, file cache
    rows = []
    for _ in range(rounds):
        decoding = count / timed(lambda: decode_with_pyav(path))
        start = time.perf_counter()
        early, late = predict(predictor, path, count)
        rows.append((decoding, count / (time.perf_counter() - start), early, late))
    print(f"{count} frames of 1280x720, one face; median of {rounds} rounds")
    decoding, labelling, early, late = (
        statistics.median(column) for column in zip(*rows, strict=True)
    )
    ratio = statistics.median(row[1] / row[0] for row in rows)
    print(f"{'decode to RGB with PyAV':34s}{decoding:8.1f} frames/s")
    print(f"{'abaw predict, end to end':34s}{labelling:8.1f} frames/s")
    print(f"{'ratio':34s}{ratio:8.2f}")
    print(f"{'memory after a tenth':34s}{early:8.0f} MB")
    print(f"{'memory at the end':34s}{late:8.0f} MB, {late / early - 1:+.1%}")
    for name, milliseconds in time_stages(predictor, path):
        print(f"{name:34s}{milliseconds:8.2f} ms")


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
