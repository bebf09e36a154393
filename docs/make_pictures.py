"""Make the pictures of README.md from the sample videos: `python docs/make_pictures.py`.

The commands draw them. The picture of the report needs Chromium (`apt-get install chromium`).
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from abawcli.media.video import read_frames

ROOT = Path(__file__).parents[1]
DOCS, SAMPLES = ROOT / "docs", ROOT / "sample_videos"
CLIP, LEAVES = SAMPLES / "expressions.mp4", SAMPLES / "leaves_and_returns_vfr.mp4"
SHOWN_S = 6.0  # of the review video
PAGE = 1000, 1000  # width, height of the window that shows the report
QUALITY = 88  # of JPEG: each file is smaller than 150 kB


def abaw(*arguments: object) -> None:
    """Run a command, which must succeed."""
    command = [sys.executable, "-m", "abawcli", *map(str, arguments), "--quiet", "--overwrite"]
    subprocess.run(command, check=True)


def take_frame(video: Path, time_s: float, output: Path) -> None:
    """Write the first frame of a video from a time on."""
    frame = next(frame for frame in read_frames(video) if frame.time_s >= time_s)
    Image.fromarray(frame.rgb()).save(output, quality=QUALITY)


def take_page(page: Path, output: Path) -> None:
    """Write the first screen of a page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser, "there is no Chromium; on Debian: apt-get install chromium"
    png = page.with_suffix(".png")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    flags += ["--virtual-time-budget=8000", f"--user-data-dir={page.parent / 'profile'}"]
    size = ",".join(map(str, PAGE))
    command = [browser, *flags, f"--window-size={size}", f"--screenshot={png}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True)
    with Image.open(png) as picture:
        picture.convert("RGB").save(output, quality=QUALITY)


def main() -> None:
    """Run the commands and keep one picture of each output."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        labels, truth = out / "labels.csv", CLIP.with_suffix(".txt")
        abaw("predict", CLIP, "-o", labels)
        abaw("plot", labels, "--labels", truth, "-o", out / "timeline.png")
        shutil.copy(out / "timeline.png", DOCS)
        abaw("render", CLIP, labels, "-o", out / "review.mp4")
        take_frame(out / "review.mp4", SHOWN_S, DOCS / "review.jpg")
        abaw("report", labels, "--labels", truth, "--embed", "-o", out / "report.html")
        take_page(out / "report.html", DOCS / "report.jpg")
        abaw("crop", LEAVES, "-o", out / "crops")
        abaw("sheet", out / "crops", "-o", out / "sheets")
        shutil.copy(out / "sheets" / f"{LEAVES.stem}.jpg", DOCS / "sheet.jpg")


if __name__ == "__main__":
    main()
