"""Quality of the embedded encoder's training faces, and the cost of measuring face quality.

    python benchmarks/face_quality.py FACES [VIDEO]

Prints quantiles of the sharpness of the pictures of FACES, the folder of a manifest, and the share
of `faces.quality` in the time of `abaw predict` on a video, by default a sample.
"""

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from abawcli.config import FaceQuality
from abawcli.device import leave_one_core
from abawcli.faces import quality
from abawcli.faces.quality import measure_sharpness
from abawcli.stages.predict import Predictor

SAMPLE = Path(__file__).parents[1] / "sample_videos" / "expressions.mp4"
QUANTILES = (0.01, 0.05, 0.25, 0.5)
EVERY = 10  # pictures


def rate_training(folder: Path) -> None:
    """Print quantiles of the sharpness of training pictures."""
    with (folder / "manifest.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)][::EVERY]
    images = [
        cv2.imdecode(np.fromfile(folder / name, np.uint8), cv2.IMREAD_COLOR) for name in names
    ]
    found = [measure_sharpness(np.asarray(i, np.uint8), FaceQuality().side) for i in images]
    shares = ", ".join(f"{q:.0%}: {np.quantile(found, q):.3f}" for q in QUANTILES)
    print(f"sharpness of {len(found)} pictures of {folder.name}: {shares}")


def time_quality(video: Path) -> None:
    """Print the share of face quality in the time of a prediction."""
    leave_one_core()
    predictor = Predictor()
    predictor.predict_video(video)  # loads what is loaded for the first video
    spent: list[float] = []
    for name in ("measure_sharpness", "rate_face", "_cut_box"):
        setattr(quality, name, add_time(getattr(quality, name), spent))
    start = time.process_time()
    faces = int(predictor.predict_video(video)["found"].sum())
    whole_s = time.process_time() - start
    print(
        f"{video.name}: {faces} faces, {1e6 * sum(spent) / faces:.0f} us each, "
        f"{sum(spent) / whole_s:.1%} of {whole_s:.2f} s of all threads"
    )


def add_time(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """Return a function that keeps the seconds that each call takes."""

    def timed(*arguments: Any) -> Any:
        start = time.thread_time()
        found = function(*arguments)
        spent.append(time.thread_time() - start)
        return found

    return timed


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path)
    parser.add_argument("video", type=Path, nargs="?", default=SAMPLE)
    arguments = parser.parse_args()
    rate_training(arguments.faces)
    time_quality(arguments.video)


if __name__ == "__main__":
    main()
