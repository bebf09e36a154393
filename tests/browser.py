"""A headless Chromium for tests of pages; where there is none, tests say why they cannot run."""

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_files import Image, read_count
from PIL import Image as Pictures
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.remote.webelement import WebElement

FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
    "disable-background-networking", "disable-component-update", "disable-sync",
    "autoplay-policy=no-user-gesture-required", "window-size=1000,900",
    "disable-features=PreloadTopChromeWebUI",  # a process for what no test looks at
)  # fmt: skip
SHELL = "chromium-headless-shell"  # Chromium without windows, which takes less time


@contextmanager
def open_browser(profile: Path) -> Iterator[Chrome]:
    """Yield a browser with a profile of its own; skip where there is none."""
    shell = shutil.which(SHELL)
    binary = shell or shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip(
            "no chromium and chromedriver; on Debian: apt-get install chromium chromium-driver"
        )
    options = ChromeOptions()
    options.binary_location = binary
    if shell:
        options.set_capability("browserName", "chrome-headless-shell")
    for flag in (*FLAGS, f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options, ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def set_scheme(browser: Chrome, scheme: str) -> None:
    """Let the browser prefer light or dark pages."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def take_picture(element: WebElement) -> Image:
    """Return what an element looks like, (H, W, 3)."""
    with Pictures.open(io.BytesIO(element.screenshot_as_png)) as picture:
        return np.asarray(picture.convert("RGB"))


def read_shown_count(video: WebElement) -> int:
    """Return the number of the counting picture that a player shows."""
    return read_count(take_picture(video))


# Text that is hard to read: (text, contrast) below WCAG's AA, of what is shown.
FIND_PALE_TEXT: Any = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
const ground = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let checked = 0;
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  const shown = walker.currentNode.data.trim() && node.checkVisibility();
  if (!shown || node.closest("svg, script")) continue;
  const [a, b] = [parse(getComputedStyle(node).color), ground(node)].map(luminance);
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  checked += 1;
  if (contrast < 4.5) found.push([walker.currentNode.data.trim(), contrast]);
}
return [checked, found];
"""
