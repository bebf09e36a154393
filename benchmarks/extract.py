"""Speed of everything in `abaw extract` but the image backbone, which is replaced by zeros.

python benchmarks/extract.py [--workers N ...] [--rounds N] [--videos N]

Inputs are sample_videos/expressions.mp4, N times, and its crops at three scales. Crops are resized
to 256 pixels as for a large backbone. Each round measures all numbers of processes one after the
other, so that other load on the machine falls on all of them; figures are medians.

CPU time a frame is that of the command, without its processes. Its inverse is the rate that it
cannot exceed with any number of processes.
"""

import argparse
import logging
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawcli.config import Cropping
from abawcli.device import leave_one_core
from abawcli.formats.metadata import Preprocess
from abawcli.pipeline.batching import CropFeatures, Crops
from abawcli.pipeline.feature_stream import Extractor
from abawcli.stages.crop import crop_video
from abawcli.stages.extract import extract_features

VIDEO = Path(__file__).parents[1] / "sample_videos" / "expressions.mp4"
HOW = Preprocess(
    256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225),
    crop_scales=(0.9, 1.2, 1.5), resample="bicubic",
)  # fmt: skip


def make_extractor(workers: int) -> Extractor:
    """Return an extractor whose image backbone takes no time."""
    extractor = Extractor(modality="visual", device="cpu", workers=workers)
    assert extractor.encoder and extractor.backbones.visual
    extractor.encoder.preprocess = HOW
    visual = replace(extractor.backbones.visual, preprocess=HOW)
    extractor.backbones = replace(extractor.backbones, visual=visual)
    dim = extractor.encoder.dim

    def encode(crops: Crops) -> CropFeatures:
        return np.zeros((len(crops), dim), np.float32)

    extractor.encode_crops = encode  # type: ignore[method-assign]
    return extractor


def measure(extractor: Extractor, path: Path, videos: int) -> NDArray[np.float64]:
    """Return frames a second, and milliseconds of CPU time of this process a frame."""
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu, frames = time.perf_counter(), time.process_time(), 0
        for k in range(videos):
            out = Path(folder, f"{k}.safetensors")
            frames += extract_features(path, out, extractor).frames
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return np.array([frames / wall, 1000 * cpu / frames])


def main() -> None:
    """Print a table: a row an input and number of processes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    leave_one_core()
    extractors = {count: make_extractor(count) for count in arguments.workers}
    print(f"{'input':8s}{'--workers':>11s}{'frames/s':>11s}{'CPU ms/frame':>15s}")
    with tempfile.TemporaryDirectory() as folder:
        crops = Path(folder, "crops")
        crop_video(VIDEO, crops, cropping=Cropping(scales=HOW.crop_scales))
        for name, path in (("crops", crops), ("video", VIDEO)):
            for extractor in extractors.values():
                measure(extractor, path, 1)  # processes start
            rounds = [
                [measure(extractor, path, arguments.videos) for extractor in extractors.values()]
                for _ in range(arguments.rounds)
            ]
            for count, (rate, cpu) in zip(extractors, np.median(rounds, axis=0), strict=True):
                print(f"{name:8s}{count:11d}{rate:11.0f}{cpu:15.2f}", flush=True)


if __name__ == "__main__":
    main()
