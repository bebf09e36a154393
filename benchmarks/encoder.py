"""Metrics of an image encoder on the validation split of a manifest, and its speed on one core.

python benchmarks/encoder.py --images DIR --manifest FILE [--encoder FILE]
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from abawcli.config import COMPACT_FACE
from abawcli.faces.crop import read_square
from abawcli.formats.manifest import read_manifest
from abawcli.labels import CLASSES
from abawcli.metrics import score_labels
from abawcli.models.encoder import Encoder, load_encoder
from abawcli.models.recipes import find_weights

BATCH = 64


def read_crops(files: list[Path], side: int) -> NDArray[np.uint8]:
    """Return the images as crops (N, 1, side, side, 3)."""
    images = [read_square(file, side) for file in files]
    read = [image[None] for image in images if image is not None]
    if len(read) < len(files):
        raise SystemExit(f"{len(files) - len(read)} of the images cannot be read")
    return np.stack(read)


def time_one_crop(encoder: Encoder, batch: int, rounds: int = 50) -> float:
    """Return the median CPU time per crop in milliseconds, in batches of `batch`.

    With one thread, it is independent of other load on the machine.
    """
    torch.set_num_threads(1)
    side = encoder.preprocess.resize
    crops = np.random.default_rng(0).integers(0, 255, (batch, 1, side, side, 3), dtype=np.uint8)
    times = []
    for _ in range(rounds):
        start = time.process_time()
        encoder.classify(crops)
        times.append((time.process_time() - start) / batch * 1e3)
    return float(np.median(times))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, default=find_weights(COMPACT_FACE))
    arguments = parser.parse_args()
    encoder, _ = load_encoder(arguments.encoder, torch.device("cpu"))
    valid = read_manifest(arguments.manifest, arguments.images)["valid"]
    crops = read_crops(valid.files, encoder.preprocess.resize)
    parts = [encoder.classify(crops[k : k + BATCH]) for k in range(0, len(crops), BATCH)]
    p = np.concatenate(parts)  # (N, 8)
    score = score_labels(valid.labels, p.argmax(axis=1))
    print(f"{'class':12s}{'precision':>10s}{'recall':>8s}{'F1':>8s}{'images':>8s}")
    rows = zip(CLASSES, score.precision, score.recall, score.f1, score.support, strict=True)
    for name, precision, recall, f1, support in rows:
        print(f"{name:12s}{precision:10.3f}{recall:8.3f}{f1:8.3f}{support:8d}")
    print(f"macro-F1 {score.macro_f1:.3f}, accuracy {score.accuracy:.3f}, {score.frames} images")
    chosen = np.random.default_rng(0).choice(len(p), (200, len(p)))  # bootstrap
    spread = [score_labels(valid.labels[k], p[k].argmax(axis=1)).macro_f1 for k in chosen]
    low, high = np.percentile(spread, [2.5, 97.5])
    print(f"95 % of 200 resamplings of the images: macro-F1 {low:.3f} to {high:.3f}")
    size = arguments.encoder.stat().st_size / 1e6
    alone, together = time_one_crop(encoder, 1), time_one_crop(encoder, 16)
    print(f"{size:.1f} MB; a crop on one core {alone:.2f} ms alone, {together:.2f} ms of 16")


if __name__ == "__main__":
    main()
