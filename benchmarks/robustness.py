"""Accuracy of image encoders on faces as video shows them: coded, small, badly lit, cropped badly.

Every image of the validation split, and of another collection, is changed in each of the ways
below, the same for all encoders. What a moved or wider crop shows beyond the image is its
reflection, as the scene is not known.

    python benchmarks/robustness.py --images DIR --manifest FILE [--encoder FILE ...]
        [--other DIR --other-manifest FILE] [--case NAME ...] [--device cpu]

Prints, in Markdown, for each encoder: accuracy, macro-F1 and expected calibration error. Without
--encoder: the embedded one.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from encoder import BATCH, read_crops
from numpy.random import Generator
from numpy.typing import NDArray

from abawcli.config import COMPACT_FACE, Scores
from abawcli.device import choose_device
from abawcli.formats.manifest import read_manifest
from abawcli.labels import index_of
from abawcli.metrics import find_calibration_error, score_labels
from abawcli.models.encoder import Encoder, load_encoder
from abawcli.models.recipes import find_weights
from abawcli.training.image_augmentation import pad_augment

Image = NDArray[np.uint8]  # (S, S, 3) RGB
Change = Callable[[Image, Generator], Image]
ROTATION = 20.0  # degrees
SHIFT = 0.15  # of the box's side, and relative change of it


def keep(image: Image, rng: Generator) -> Image:
    """Return the image."""
    return image


def jpeg(quality: int) -> Change:
    """Code with JPEG at the size of the crop, which is harder than in a large frame."""

    def change(image: Image, rng: Generator) -> Image:
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)

    return change


def blur(sigma: float) -> Change:
    """Blur with a Gaussian; sigma in pixels of 48."""
    return lambda image, rng: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def shrink(side: int) -> Change:
    """Show a face of `side` pixels."""

    def change(image: Image, rng: Generator) -> Image:
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        size = image.shape[1::-1]
        return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.uint8)

    return change


def light(gain: float = 1.0, contrast: float = 1.0, gamma: float = 1.0) -> Change:
    """Change brightness, contrast around the mean, and gamma."""

    def change(image: Image, rng: Generator) -> Image:
        values = image.astype(np.float32) * gain
        values = values.mean() + (values - values.mean()) * contrast
        values = 255 * (values.clip(0, 255) / 255) ** gamma
        return values.round().astype(np.uint8)

    return change


def cast(red: float, green: float, blue: float) -> Change:
    """Multiply the colours."""
    factors = np.array([red, green, blue], np.float32)
    return lambda image, rng: (image * factors).clip(0, 255).round().astype(np.uint8)


def noise(deviation: float) -> Change:
    """Add Gaussian noise to each pixel, equal in all channels; deviation of 0..255."""

    def change(image: Image, rng: Generator) -> Image:
        added = rng.normal(0, deviation, (*image.shape[:2], 1))
        return (image + added).clip(0, 255).round().astype(np.uint8)

    return change


def warp(degrees: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0, 0)) -> Change:
    """Rotate, change the crop's side by `scale`, and move it by a share of its side."""

    def change(image: Image, rng: Generator) -> Image:
        side = image.shape[0]
        centre = ((side - 1) / 2, (side - 1) / 2)
        matrix = cv2.getRotationMatrix2D(centre, degrees, 1 / scale)
        matrix[:, 2] -= np.array(shift) * side
        flags, border = cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101
        moved = cv2.warpAffine(image, matrix, (side, side), flags=flags, borderMode=border)
        return np.asarray(moved, np.uint8)

    return change


def either(*changes: Change) -> Change:
    """Apply one of several changes, drawn for each image."""
    return lambda image, rng: changes[rng.integers(len(changes))](image, rng)


def hide(height: float, width: float) -> Change:
    """Cover a rectangle, at any place, with any grey; sides are shares of the image's."""

    def change(image: Image, rng: Generator) -> Image:
        side = image.shape[0]
        h, w = round(height * side), round(width * side)
        top, left = rng.integers(side - h + 1), rng.integers(side - w + 1)
        image = image.copy()
        image[top : top + h, left : left + w] = rng.integers(256)
        return image

    return change


def pad(image: Image, rng: Generator) -> Image:
    """Paint the black border of a box at the edge of the frame."""
    source = torch.Generator().manual_seed(int(rng.integers(2**31)))
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]  # (1, 3, S, S)
    return pad_augment(pixels, source)[0].permute(1, 2, 0).numpy()


CASES: dict[str, Change] = {
    "as it is": keep,
    "JPEG 50": jpeg(50),
    "JPEG 20": jpeg(20),
    "blur, sigma 1": blur(1.0),
    "blur, sigma 2": blur(2.0),
    "face of 32 pixels": shrink(32),
    "face of 24 pixels": shrink(24),
    "face of 16 pixels": shrink(16),
    "dark (gain 0.4)": light(gain=0.4),
    "bright (gain 1.6)": light(gain=1.6),
    "low contrast (0.4)": light(contrast=0.4),
    "high contrast (1.8)": light(contrast=1.8),
    "gamma 0.5": light(gamma=0.5),
    "gamma 2": light(gamma=2.0),
    "warm colours": cast(1.3, 1.0, 0.6),
    "cold colours": cast(0.6, 0.9, 1.3),
    "noise, deviation 12": noise(12.0),
    "rotation +-20 degrees": either(warp(ROTATION), warp(-ROTATION)),
    "box shifted by 15 %": either(
        *(warp(shift=s) for s in ((SHIFT, 0), (-SHIFT, 0), (0, SHIFT), (0, -SHIFT)))
    ),
    "box 15 % larger": warp(scale=1 + SHIFT),
    "box 15 % smaller": warp(scale=1 - SHIFT),
    "a quarter hidden": hide(0.5, 0.5),
    "a third hidden": either(hide(1.0, 1 / 3), hide(1 / 3, 1.0)),
    "black border": pad,
}


def change_all(crops: NDArray[np.uint8], change: Change) -> NDArray[np.uint8]:
    """Return changed crops (N, 1, S, S, 3), which are the same in every call."""
    rng = np.random.default_rng(0)
    return np.stack([change(crop[0], rng)[None] for crop in crops])


def measure(encoder: Encoder, crops: NDArray[np.uint8], labels: NDArray[np.int64]) -> list[float]:
    """Return accuracy, macro-F1 and calibration error."""
    parts = [encoder.classify(crops[k : k + BATCH]) for k in range(0, len(crops), BATCH)]
    p = np.concatenate(parts)
    chosen = p.argmax(axis=1)
    score = score_labels(labels, chosen)
    bins = Scores().calibration_bins
    error = find_calibration_error(p.max(axis=1), chosen == labels, bins)
    return [score.accuracy, score.macro_f1, error]


def main() -> None:
    """Print a table for each collection."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--other-manifest", type=Path)
    parser.add_argument("--encoder", type=Path, nargs="+", default=[find_weights(COMPACT_FACE)])
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = choose_device(options.device)
    encoders = [load_encoder(path, device)[0] for path in options.encoder]
    side = encoders[0].preprocess.resize
    valid = read_manifest(options.manifest, options.images)["valid"]
    groups = {"valid split": (read_crops(valid.files, side), valid.labels)}
    if options.other:
        table = pd.read_csv(options.other_manifest)
        files = [options.other / name for name in table["file"]]
        labels = np.array([index_of(name) for name in table["label"]], np.int64)
        groups["other collection"] = read_crops(files, side), labels
    for group, (crops, labels) in groups.items():
        print(f"{group}, {len(crops)} images: accuracy, macro-F1, calibration error\n", flush=True)
        print(f"| case |{'|'.join(f' {path} | | ' for path in options.encoder)}|")
        print("|---" * (1 + 3 * len(encoders)) + "|")
        for name in options.case:
            changed = change_all(crops, CASES[name])
            cells = [f"{v:.3f}" for e in encoders for v in measure(e, changed, labels)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        print()


if __name__ == "__main__":
    main()
