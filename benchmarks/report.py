"""Time and size of reports: of one long video, and of many videos in one file, in Chromium.

Makes a clip of 640x360 and its table, and tables of many videos, and writes their reports. Opens
the pages in a headless browser (chromium and chromedriver) and waits until they respond.

    python benchmarks/report.py [--minutes 10] [--videos 200] [--frames 1500]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from selenium.webdriver import Chrome

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import open_browser
from sample_tables import make_table

from abawcli.formats.tables import write_table
from abawcli.views.report.pages import report_files

FPS = 25
SIZE = (640, 360)


def make_labels(frames: int, seed: int) -> NDArray[np.int64]:
    """Return labels (T,) that last 0.4 to 8 seconds each; one in nine is a gap."""
    rng = np.random.default_rng(seed)
    lasts = rng.integers(10, 200, frames // 10 + 1)
    return np.repeat(rng.integers(-1, 8, len(lasts)), lasts)[:frames]


def write_clip(path: Path, frames: int) -> None:
    """Write 25 pictures of blocks in turn with H.264 at its fastest."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (25, SIZE[1] // 40, SIZE[0] // 40, 3), np.uint8)
    pictures = [block.repeat(40, axis=0).repeat(40, axis=1) for block in blocks]
    natives = [
        av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
        for picture in pictures
    ]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for k in range(frames):
            native = natives[k % len(natives)]
            native.pts, native.time_base = k, Fraction(1, FPS)
            out.mux(stream.encode(native))
        out.mux(stream.encode())


def measure(name: str, work: Callable[[], object]) -> None:
    start = time.perf_counter()
    work()
    print(f"{name:<44}{time.perf_counter() - start:8.2f} s")


def show_size(path: Path) -> None:
    print(f"{'  its size':<44}{path.stat().st_size / 1e6:8.2f} MB")


def open_page(browser: Chrome, page: Path) -> None:
    """Load a page until its script has run and the browser has drawn it."""
    browser.get(page.as_uri())
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")


def run(folder: Path, minutes: float, videos: int, frames: int) -> None:
    long = round(60 * minutes * FPS)
    write_clip(folder / "long.mp4", long)
    write_table(make_table(make_labels(long, 0), "long"), folder / "long.csv", {})
    many = [make_table(make_labels(frames, k), f"P{k:04d}") for k in range(videos)]
    write_table(pd.concat(many), folder / "many.parquet", {})
    one, all_ = folder / "one.html", folder / "all.html"
    print(f"{minutes:g} minutes of {SIZE[0]}x{SIZE[1]}; {videos} tables of {frames} frames")
    measure(
        "report of the long video, with pictures",
        lambda: report_files([folder / "long.csv"], one, videos=folder),
    )
    show_size(one)
    measure(
        "report of all tables in one file", lambda: report_files([folder / "many.parquet"], all_)
    )
    show_size(all_)
    with open_browser(folder / "profile") as browser:
        browser.get("about:blank")
        measure("open the long video's page", lambda: open_page(browser, one))
        browser.get("about:blank")
        measure("open the file of all videos", lambda: open_page(browser, all_))
        measure(
            "then sort it by a column",
            lambda: browser.execute_script(
                "document.querySelectorAll('#videos button')[5].click()"
            ),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--frames", type=int, default=1500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), options.minutes, options.videos, options.frames)


if __name__ == "__main__":
    main()
