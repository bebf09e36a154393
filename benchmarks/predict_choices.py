"""What else could make `abaw predict` faster: CPU time and labels of changes that are not built in.

Each change replaces functions of the package. The script labels one video with and without it, in
turn, and prints the CPU time per frame of all but the face network; then it labels other videos and
compares the tables with those of the package as it is.

    python benchmarks/predict_choices.py [--frames 250] [--rounds 7] [--only NAME ...] [VIDEO ...]

Without VIDEO, the tables of the sample videos are compared.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray
from speed import SAMPLE, make_video, time_stages

from abawcli.config import Detection
from abawcli.device import leave_one_core
from abawcli.errors import AbawError
from abawcli.faces import crop, detect, quality, track
from abawcli.faces.crop import Doubles, Image, Region
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.media import pixels, streams
from abawcli.media.frame import Frame
from abawcli.pipeline import feature_stream
from abawcli.stages.predict import Predictor

NETWORK = "face network"  # it takes half of the time, and no change concerns it
PLAIN = ("yuv420p", "yuvj420p")
RED_BLUE = {1: (0.2126, 0.0722), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}  # else that of BT.601

Change = Callable[[Predictor, ExitStack], None]


# --- conversion to RGB ---------------------------------------------------------------------


def convert_whole(predictor: Predictor, stack: ExitStack) -> None:
    """Convert whole frames to RGB, then scale and cut them."""

    def rgb(frame: Frame, long_side: int | None = None) -> Image:
        whole = frame._whole
        height, width = whole.shape[:2]
        if long_side is None or long_side >= max(width, height):
            return whole
        size = [max(1, round(long_side / max(width, height) * n)) for n in (width, height)]
        return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)

    def region_rgb(frame: Frame, x0: int, y0: int, x1: int, y1: int) -> Image:
        return frame._whole[y0:y1, x0:x1]

    stack.enter_context(patch.object(Frame, "rgb", rgb))
    stack.enter_context(patch.object(Frame, "region_rgb", region_rgb))


@dataclass(frozen=True)
class Planes(Region):
    """The part of a frame as Y, U and V; `image` is Y."""

    chroma: tuple[Image, Image]
    matrix: int
    is_full: bool


def is_plain(frame: Any) -> bool:
    """Tell whether a frame has planes of 8 bits that can be cut."""
    if not isinstance(frame, Frame) or frame.pixel_aspect != 1:
        return False
    return frame.native.format.name in PLAIN and pixels.can_cut(frame.native)


def cut_planes(frame: Any, box: crop.BoxLike, scales: Sequence[float], quarters: int = 0) -> Region:
    """Return the part of a frame that crops need, as planes if that is possible."""
    left, top, extent = crop.square_around(box, max(scales))
    if not is_plain(frame) or len(scales) > 1 or extent < 96:
        return crop.cut_region(frame, box, scales, quarters)
    x0, x1 = crop._clip_range(left - 2, extent + 4, frame.size[0])
    y0, y1 = crop._clip_range(top - 2, extent + 4, frame.size[1])
    x0, y0, x1, y1 = x0 - x0 % 2, y0 - y0 % 2, x1 + x1 % 2, y1 + y1 % 2
    x, y, right, below = frame.orientation.find_stored((x0, y0, x1, y1), frame.size)
    native = frame.native
    planes = [
        frame.orientation.show(
            pixels._plane(native, k)[y // s : below // s, x // s : right // s].copy()  # type: ignore[arg-type]
        )
        for k, s in enumerate((1, 2, 2))
    ]
    is_full = native.format.name == "yuvj420p" or int(native.color_range) == 2
    return Planes(
        planes[0],
        (x0, y0),
        tuple(float(value) for value in box),
        quarters,
        (planes[1], planes[2]),
        pixels.find_matrix(native),
        is_full,
    )


def sum_plane(
    plane: Image, left: float, top: float, extent: float, side: int
) -> tuple[Doubles, Doubles]:
    """Return the sums of a plane (H, W) over the areas of the new pixels, and these areas."""
    steps = np.linspace(0, extent, side + 1)
    x, y = np.clip(left + steps, 0, plane.shape[1]), np.clip(top + steps, 0, plane.shape[0])
    table = cv2.integral(plane, sdepth=cv2.CV_32S)
    rows, row_shares = crop._neighbours(y, plane.shape[0])
    columns, column_shares = crop._neighbours(x, plane.shape[1])
    corners = table.take(rows, axis=0).take(columns, axis=2)
    sums = np.einsum("an,anbm->nbm", row_shares, corners)
    sums = np.einsum("bm,nbm->nm", column_shares, sums)
    return np.diff(np.diff(sums, axis=0), axis=1), np.outer(np.diff(y), np.diff(x))


def crop_planes(
    crop_region: Callable[..., list[Image]],
    region: Region,
    scales: Sequence[float],
    side: int,
    resample: str,
) -> list[Image]:
    """Return the crop of planes: averages of Y, U and V, which become RGB."""
    if not isinstance(region, Planes):
        return crop_region(region, scales, side, resample)
    left, top, extent = crop.square_around(region.box, scales[0])
    left, top = left - region.origin[0], top - region.origin[1]
    y, area = sum_plane(region.image, left, top, extent, side)
    u, v = (sum_plane(p, left / 2, top / 2, extent / 2, side)[0] * 4 for p in region.chroma)
    u, v = u - 128 * area, v - 128 * area
    if not region.is_full:
        y, u, v = (y - 16 * area) * (255 / 219), u * (255 / 224), v * (255 / 224)
    red, blue = RED_BLUE.get(region.matrix, (0.299, 0.114))
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    rgb = np.stack([r, (y - red * r - blue * b) / (1 - red - blue), b], axis=-1)
    rgb *= (side / extent) ** 2
    return [np.rot90(np.clip(np.rint(rgb), 0, 255).astype(np.uint8), region.quarters)]


def crop_from_yuv(predictor: Predictor, stack: ExitStack) -> None:
    """Average crops in YUV, and convert the 48x48 averages only."""
    stack.enter_context(patch.object(feature_stream, "cut_region", cut_planes))
    crops = partial(crop_planes, crop.crop_region)
    stack.enter_context(patch.object(crop, "crop_region", crops))


def measure_in_luma(predictor: Predictor, stack: ExitStack) -> None:
    """Measure sharpness in the Y plane, without a conversion of the box to RGB."""
    cut_box, measure = quality._cut_box, quality.measure_sharpness

    def cut(frame: Any, box: detect.Box) -> Image:
        if not is_plain(frame):
            return cut_box(frame, box)
        (width, height), (x, y, w, h) = frame.size, box
        x0, y0 = min(max(0, int(x)), width - 1), min(max(0, int(y)), height - 1)
        x1, y1 = min(width, max(x0 + 1, int(x + w))), min(height, max(y0 + 1, int(y + h)))
        left, top, right, below = frame.orientation.find_stored((x0, y0, x1, y1), frame.size)
        return np.asarray(pixels._plane(frame.native, 0)[top:below, left:right], np.uint8)

    def of_luma(image: Image, side: int) -> float:
        if image.ndim == 2:
            with patch.object(cv2, "cvtColor", lambda image, code: image):
                return measure(image, side)
        return measure(image, side)

    stack.enter_context(patch.object(quality, "_cut_box", cut))
    stack.enter_context(patch.object(quality, "measure_sharpness", of_luma))


# --- fewer or cheaper detection steps ------------------------------------------------------


def skip_unchanged(limit: float, predictor: Predictor, stack: ExitStack) -> None:
    """Keep the faces of the last detection step where all of them have changed little.

    The mean absolute difference of brightness, 0..255, of each face is below `limit`.
    """
    run = track._Tracker._detect
    last: dict[Any, tuple[Image, track._Detection]] = {}

    def find(tracker: Any, frames: Sequence[Frame]) -> list[track._Detection]:
        if len(frames) == 1 and tracker.steady and (kept := reuse(tracker, frames[0])):
            return [kept]
        detections = run(tracker, frames)
        if detections:
            image = detections[-1].image
            last[tracker] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), detections[-1]
        return detections

    def reuse(tracker: Any, frame: Frame) -> track._Detection | None:
        grey, detection = last[tracker]
        config = tracker.detector.config
        image = detect.enlarge_small(frame.rgb(config.long_side), config.small_side)
        now = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if now.shape != grey.shape or not detection.faces:
            return None
        change = cv2.absdiff(now, grey)
        if not all(measure_change(change, face) < limit for face in detection.in_image):
            return None
        thumb = cv2.resize(now, track._THUMB, interpolation=cv2.INTER_AREA)
        brightness = np.asarray(thumb, np.float32) / np.float32(255)
        scene = track._Scene(frame.time_s, frame.size, brightness)
        return replace(detection, scene=scene, whole=frame.rgb)

    stack.enter_context(patch.object(track._Tracker, "_detect", find))


def measure_change(change: NDArray[np.uint8], face: detect.Face) -> float:
    """Return the mean of the changes (H, W) within the box of a face."""
    x, y, w, h = (int(value) for value in face.box)
    part = change[max(0, y) : y + h, max(0, x) : x + w]
    return float(part.mean()) if part.size else 0.0


def detect_less_often(predictor: Predictor, stack: ExitStack) -> None:
    """Detect every 10 frames while boxes move by less than 1 % of their side between two steps."""
    is_due, match = track._Tracker.is_due, track._Tracker._match

    def remember(tracker: Any, detection: track._Detection) -> track._Match:
        found = match(tracker, detection)
        tracker.moved = max(
            (
                float(np.abs(np.subtract(one.face.box, detection.faces[k].box)).max())
                / max(one.face.box[2:])
                for one, k in found.kept
            ),
            default=1.0,
        )
        return found

    def is_later_due(tracker: Any, unseen: Sequence[Frame]) -> bool:
        still = getattr(tracker, "moved", 1.0) < 0.01
        config = tracker.config
        longer = replace(config, stride=2 * config.stride, stride_s=2 * config.stride_s)
        with patch.object(tracker, "config", longer if still else config):
            return is_due(tracker, unseen)

    stack.enter_context(patch.object(track._Tracker, "_match", remember))
    stack.enter_context(patch.object(track._Tracker, "is_due", is_later_due))


def use_detector(
    predictor: Predictor,
    stack: ExitStack,
    config: Detection | None = None,
    threads: int = 1,
    level: str = "ORT_ENABLE_ALL",
) -> None:
    """Load the detector with other settings."""
    make_options = detect.session_options

    def options(count: int) -> onnxruntime.SessionOptions:
        made = make_options(count)
        made.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        return made

    with patch.object(detect, "session_options", options):
        detector = detect.load_detector("retinaface", config, threads)
    stack.enter_context(patch.dict(vars(predictor.extractor), detector=detector))


def drop_appearance(predictor: Predictor, stack: ExitStack) -> None:
    """Leave out the appearance of faces, with which another person in one place is noticed."""
    unknown = np.full(2340, np.nan, np.float32)
    stack.enter_context(patch.object(track, "describe_face", lambda image, face: unknown))


# --- decoding ------------------------------------------------------------------------------


def skip_loop_filter(predictor: Predictor, stack: ExitStack) -> None:
    """Decode without the deblocking filter in frames that others do not refer to."""
    decode = streams._decode_packets

    def with_option(media: Any, stream: Any) -> Iterator[Any]:
        context = stream.codec_context
        context.options = {**(context.options or {}), "skip_loop_filter": "noref"}
        return decode(media, stream)

    stack.enter_context(patch.object(streams, "_decode_packets", with_option))


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Let OpenCV use one thread."""
    count = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(count)


CHANGES: dict[str, Change] = {
    "whole frames to RGB first": convert_whole,
    "crops averaged in YUV": crop_from_yuv,
    "sharpness from the Y plane": measure_in_luma,
    "no detection where faces change by less than 2 of 255": partial(skip_unchanged, 2.0),
    "no detection where faces change by less than 4 of 255": partial(skip_unchanged, 4.0),
    "detection every 10 frames while boxes move by less than 1 %": detect_less_often,
    "detection in pictures of 320 pixels": partial(use_detector, config=Detection(long_side=320)),
    "two threads for the detector": partial(use_detector, threads=2),
    "detector without optimised layout": partial(use_detector, level="ORT_ENABLE_EXTENDED"),
    "no appearance": drop_appearance,
    "no loop filter in unreferenced frames": skip_loop_filter,
    "OpenCV with one thread": lambda _, stack: stack.enter_context(one_opencv_thread()),
}


# --- measurement ---------------------------------------------------------------------------


def measure_cpu(predictor: Predictor, path: Path, count: int) -> float:
    """Return the CPU milliseconds per frame of all stages but the face network."""
    spent = dict(time_stages(predictor, path, count))
    return spent["all"] - spent[NETWORK]


def read_tables(predictor: Predictor, videos: Sequence[Path]) -> dict[Path, pd.DataFrame]:
    """Return the tables of all videos that can be read."""
    tables = {}
    for path in videos:
        try:
            tables[path] = predictor.predict_video(path)
        except AbawError as error:
            print(f"left out: {error}")
    return tables


def compare_tables(before: dict[Path, pd.DataFrame], after: dict[Path, pd.DataFrame]) -> str:
    """Return the share of frames with the same label, and how far probabilities differ."""
    labels, far = [], []
    for path, one in before.items():
        other = after[path]
        labels.append((one["label"] == other["label"]).to_numpy())
        a, b = (table[list(PROBABILITIES)].to_numpy(float) for table in (one, other))
        far.append(np.nan_to_num(np.abs(a - b)).max(axis=1))
    same, worst = np.concatenate(labels), np.concatenate(far)
    equal = all(one.equals(after[path]) for path, one in before.items())
    over = f"{(worst > 0.02).mean():.1%}"
    tables = "equal tables" if equal else "other tables"
    return f"{same.mean():.2%} | {worst.max():.3f} | {over} | {tables}"


def main() -> None:
    """Parse the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", nargs="*", type=Path, help="Videos whose tables are compared.")
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", default=list(CHANGES), choices=list(CHANGES))
    arguments = parser.parse_args()
    leave_one_core()  # as the command does
    predictor = Predictor("compact")
    videos = arguments.videos or sorted(SAMPLE.parent.glob("*.mp4"))
    before = read_tables(predictor, videos)
    print("change | CPU ms before | after | same label | largest difference | over 0.02 | tables")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "face.mp4"
        make_video(path, arguments.frames)
        measure_cpu(predictor, path, arguments.frames)  # warm-up
        for name in arguments.only:
            spent = []
            for _ in range(arguments.rounds):
                plain = measure_cpu(predictor, path, arguments.frames)
                with ExitStack() as stack:
                    CHANGES[name](predictor, stack)
                    spent.append((plain, measure_cpu(predictor, path, arguments.frames)))
            with ExitStack() as stack:
                CHANGES[name](predictor, stack)
                compared = compare_tables(before, read_tables(predictor, list(before)))
            old, new = (statistics.median(column) for column in zip(*spent, strict=True))
            print(f"{name} | {old:.2f} | {new:.2f} | {compared}", flush=True)


if __name__ == "__main__":
    main()
