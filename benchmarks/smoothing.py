"""Speed and memory of smoothing a test set of ABAW's size, compared with SciPy's median filter.

Makes the probabilities of 1,022,655 frames in 228 videos, in which a tenth of the faces are missing
in runs, and smooths them as arrays and as a prediction table. SciPy filters the same eight columns
as a whole, without regard to videos, edges or missing frames. Peak memory is that of the process.

    python benchmarks/smoothing.py [--rows 1022655] [--videos 228] [--window 101]
"""

import argparse
import logging
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from abawcli.config import Smoothing
from abawcli.formats.table_schemas import COLUMNS, PROBABILITIES
from abawcli.smoothing import smooth_probabilities
from abawcli.stages.smooth import smooth_table


def make_predictions(rows: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return probabilities (N, 8) with drift and noise, and whether each row is valid (N,)."""
    rng = np.random.default_rng(0)
    slow = np.repeat(rng.normal(0, 2, (rows // 100 + 1, 8)), 100, axis=0)[:rows]
    p = np.exp(slow + rng.normal(0, 1, (rows, 8)))
    valid = np.repeat(rng.random(rows // 50 + 1) > 0.1, 50)[:rows]
    return p / p.sum(axis=1, keepdims=True), valid


def make_table(p: NDArray[np.float64], valid: NDArray[np.bool_], videos: int) -> pd.DataFrame:
    """Return the prediction table of these rows, cut into videos of equal length."""
    number = np.arange(len(p)) * videos // len(p)
    frame = np.arange(len(p)) - np.searchsorted(number, number) + 1
    columns = {
        "video": np.char.add("video", number.astype(str)),
        "frame": frame,
        "time_s": (frame - 1) / 30,
        "subject": "main",
        "found": valid,
        "source": np.where(valid, "visual", "none"),
        "label": np.where(valid, p.argmax(axis=1), -1),
        "confidence": np.where(valid, p.max(axis=1), np.nan),
        **dict.fromkeys(["face_score", *"xywh"], np.where(valid, 0.9, np.nan)),
        **dict(zip(PROBABILITIES, np.where(valid[:, None], p, np.nan).T, strict=True)),
    }
    return pd.DataFrame(columns).reindex(columns=COLUMNS)


def smooth_videos(
    p: NDArray[np.float64], valid: NDArray[np.bool_], videos: int, config: Smoothing
) -> None:
    """Smooth each video's rows."""
    parts = zip(np.array_split(p, videos), np.array_split(valid, videos), strict=True)
    for rows, has in parts:
        frame = np.arange(1, len(rows) + 1)
        smooth_probabilities(rows, has, frame, (frame - 1) / 30, config=config)


def filter_columns(p: NDArray[np.float64], window: int) -> None:
    """Filter each class with SciPy."""
    for c in range(p.shape[1]):
        ndimage.median_filter(p[:, c], window, mode="nearest")


def report(name: str, work: Callable[[], object]) -> None:
    """Print the duration of `work` and the peak memory of this process so far."""
    start, start_cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    print(f"{name:44s}{seconds:8.2f} s {cpu:8.2f} s of CPU {peak:8.0f} MB", flush=True)


def main() -> None:
    """Parse the arguments and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_022_655)
    parser.add_argument("--videos", type=int, default=228)
    parser.add_argument("--window", type=int, default=101)
    arguments = parser.parse_args()
    logging.disable()  # frames that stay without a label are no news here
    videos, window = arguments.videos, arguments.window
    p, valid = make_predictions(arguments.rows)
    print(f"{arguments.rows:,} rows x 8 classes, {videos} videos, median of {window} frames")
    report("scipy.ndimage.median_filter, columns alone", lambda: filter_columns(p, window))
    for space in ("probabilities", "logits"):
        how = Smoothing("median", window, None, space)
        report(f"arrays, {space}", lambda how=how: smooth_videos(p, valid, videos, how))  # type: ignore[misc]
    table = make_table(p, valid, videos)
    report("table, probabilities", lambda: smooth_table(table, Smoothing("median", window)))


if __name__ == "__main__":
    main()
