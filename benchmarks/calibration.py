"""What a calibration of the image encoder on FER+ does on its validation images and on other faces.

    python benchmarks/calibration.py --images DIR --manifest FILE --other DIR --other-manifest FILE
        [--encoder FILE]

Prints accuracy, macro-F1 and the expected calibration error (15 bins). For the validation images,
calibrations are fitted on the other folds; for the other faces, on all validation images.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from encoder import BATCH, read_crops
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from abawcli.config import COMPACT_FACE
from abawcli.formats.manifest import read_manifest
from abawcli.labels import N_CLASSES, index_of
from abawcli.metrics import find_calibration_error, score_labels
from abawcli.models.calibration import calibrate_logits, fit_calibration
from abawcli.models.encoder import Encoder, load_encoder
from abawcli.models.metadata import Calibration
from abawcli.models.recipes import find_weights

BINS = 15
FOLDS = 5
Logits = NDArray[np.float64]
Labels = NDArray[np.int64]
Fit = Callable[[Logits, Labels], Calibration]


def softmax(logits: Logits) -> Logits:
    """Return probabilities (N, 8)."""
    out: Logits = torch.from_numpy(logits).softmax(dim=1).numpy()
    return out


@torch.inference_mode()
def find_logits(encoder: Encoder, files: list[Path]) -> Logits:
    """Return the logits (N, 8) of images."""
    crops = read_crops(files, encoder.preprocess.resize)
    parts = [encoder.encode(crops[k : k + BATCH]) for k in range(0, len(crops), BATCH)]
    out: Logits = encoder.classifier(torch.cat(parts).float()).double().numpy()
    return out


def fit_nothing(logits: Logits, labels: Labels) -> Calibration:
    """Return a calibration that changes nothing."""
    return Calibration(1.0, (0.0,) * N_CLASSES)


def fit_temperature(logits: Logits, labels: Labels) -> Calibration:
    """Return the temperature with the lowest cross-entropy, without biases."""

    def miss(power: float) -> float:
        right = softmax(logits / np.exp(power))[np.arange(len(labels)), labels]
        return float(-np.log(right).mean())

    best = minimize_scalar(miss, bounds=(-2, 2), method="bounded").x
    return Calibration(float(np.exp(best)), (0.0,) * N_CLASSES)


def calibrate_folds(logits: Logits, labels: Labels, fit: Fit) -> Logits:
    """Return logits (N, 8), each calibrated by what was fitted on the other folds."""
    fold = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    out = np.empty_like(logits)
    for k in range(FOLDS):
        how = fit(logits[fold != k], labels[fold != k])
        out[fold == k] = calibrate_logits(logits[fold == k], how)
    return out


def describe(logits: Logits, labels: Labels) -> str:
    """Return accuracy, macro-F1 and calibration error as cells of a table."""
    probabilities = softmax(logits)
    chosen = probabilities.argmax(axis=1)
    score = score_labels(labels, chosen)
    error = find_calibration_error(probabilities.max(axis=1), chosen == labels, BINS)
    return f"{score.accuracy:.3f} | {score.macro_f1:.3f} | {error:.3f}"


def find_share_right(logits: Logits, labels: Labels, low: float, high: float) -> float:
    """Return the share of right labels among those with a confidence from `low` to `high`."""
    probabilities = softmax(logits)
    confidence = probabilities.max(axis=1)
    chosen = (confidence >= low) & (confidence < high)
    return float((probabilities.argmax(axis=1) == labels)[chosen].mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--other-manifest", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, default=find_weights(COMPACT_FACE))
    options = parser.parse_args()
    encoder, _ = load_encoder(options.encoder, torch.device("cpu"))
    valid = read_manifest(options.manifest, options.images)["valid"]
    table = pd.read_csv(options.other_manifest)
    truth = np.array([index_of(name) for name in table["label"]])
    ours = find_logits(encoder, valid.files)
    others = find_logits(encoder, [options.other / name for name in table["file"]])
    figures = "accuracy | macro-F1 | error"
    print(f"| calibration | valid: {figures} | other: {figures} |")
    print("|---|---|---|---|---|---|---|")
    fits = {"none": fit_nothing, "temperature": fit_temperature, "and biases": fit_calibration}
    for name, fit in fits.items():
        how = fit(ours, valid.labels)
        own = describe(calibrate_folds(ours, valid.labels, fit), valid.labels)
        print(f"| {name} ({how.temperature:.2f}) | {own} | ", end="")
        print(f"{describe(calibrate_logits(others, how), truth)} |")
    for name, logits, labels in (("valid", ours, valid.labels), ("other", others, truth)):
        right = find_share_right(logits, labels, 0.65, 0.75)
        print(f"{name}, uncalibrated, confidence 0.65 to 0.75: {right:.1%} right")


if __name__ == "__main__":
    main()
