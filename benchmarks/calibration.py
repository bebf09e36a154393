"""Choose the temperature of a face encoder: on validation images, as video shows them, on others.

    python benchmarks/calibration.py --images DIR --manifest FILE --other DIR --other-manifest FILE
        [--encoder FILE] [--write FILE]

Prints a row for each choice of temperature: none; the one in the file; the best one for the
validation images (measured out of fold), for these in all the changes of robustness.py, and for the
other faces; and the compromise, which meets as many of three targets as any temperature does, with
the least excess over the others: a calibration error of 0.02 on the validation images, one of 0.05
on all changed images together, and a mean confidence of other faces within 0.1 of their accuracy.
--write FILE writes the encoder with the compromise, by `abaw calibrate --temperature`.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from encoder import BATCH, read_crops
from numpy.typing import NDArray
from robustness import CASES, change_all
from scipy import special

from abawcli.config import COMPACT_FACE, Scores
from abawcli.formats.manifest import read_labelled_images
from abawcli.labels import index_of
from abawcli.metrics import find_calibration_error
from abawcli.models.calibration import calibrate_out_of_fold, draw_folds, fit_calibration
from abawcli.models.encoder import Encoder, load_encoder
from abawcli.models.metadata import NO_CALIBRATION
from abawcli.models.recipes import find_weights
from abawcli.stages.calibrate import CalibrationChoice, calibrate_encoder

TARGETS = np.array([0.02, 0.05, 0.1])  # of `Row.measured`
TEMPERATURES = np.arange(0.3, 2.501, 0.01)
Logits = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """What a temperature does."""

    name: str
    temperature: float
    measured: NDArray[np.float64]  # (3,) valid: error; changed: error; other: |confidence - right|
    worst: float  # error of one of the changes
    other_error: float

    @property
    def met(self) -> int:
        """Return how many targets are met."""
        return int((self.measured <= TARGETS).sum())

    @property
    def excess(self) -> float:
        """Return by how much targets are missed, each as a share of itself."""
        return float(np.maximum(self.measured / TARGETS - 1, 0).sum())


@dataclass(frozen=True)
class Faces:
    """The encoder's logits without its temperature: of validation images as changed, and others.

    The first of the changes is none.
    """

    cases: list[Logits]  # (N, 8) each
    labels: Labels  # (N,)
    others: Logits  # (M, 8)
    other_labels: Labels  # (M,)
    temperature: float  # of the file

    def measure(self, name: str, temperature: float, valid: Logits | None = None) -> Row:
        """Measure a temperature; `valid` (N, 8) are calibrated out of fold, if it was fitted."""
        own = self.cases[0] / temperature if valid is None else valid
        changed = [case / temperature for case in self.cases[1:]]
        together = np.concatenate(changed), np.tile(self.labels, len(changed))
        others = special.softmax(self.others / temperature, axis=1)
        right = others.argmax(axis=1) == self.other_labels
        gap = abs(others.max(axis=1).mean() - right.mean())
        error = find_error(self.others / temperature, self.other_labels)
        measured = np.array([find_error(own, self.labels), find_error(*together), gap])
        worst = max(find_error(case, self.labels) for case in changed)
        return Row(name, temperature, measured, worst, error)


def find_error(logits: Logits, labels: Labels) -> float:
    """Return the expected calibration error."""
    p = special.softmax(logits, axis=1)
    right = p.argmax(axis=1) == labels
    return find_calibration_error(p.max(axis=1), right, Scores().calibration_bins)


def find_logits(encoder: Encoder, crops: NDArray[np.uint8], temperature: float) -> Logits:
    """Return the logits (N, 8) of crops, without the encoder's temperature."""
    parts = [encoder.find_logits(crops[k : k + BATCH]) for k in range(0, len(crops), BATCH)]
    return np.concatenate(parts).astype(np.float64) * temperature


def compare(faces: Faces) -> Iterator[Row]:
    """Yield a row for each choice of temperature; the last is the compromise."""
    x, y = faces.cases[0], faces.labels
    held_out = calibrate_out_of_fold(x, y, draw_folds(len(y)), biases=False)
    changed = np.concatenate(faces.cases), np.tile(y, len(faces.cases))
    yield faces.measure("none", 1.0)
    yield faces.measure("in the file", faces.temperature)
    best = fit_calibration(x, y, biases=False).temperature
    yield faces.measure("best for valid, out of fold", best, held_out)
    yield faces.measure("best for changed", fit_calibration(*changed, biases=False).temperature)
    other = fit_calibration(faces.others, faces.other_labels, biases=False).temperature
    yield faces.measure("best for other", other)
    rows = [faces.measure("compromise", float(t)) for t in TEMPERATURES]
    yield min(rows, key=lambda row: (-row.met, row.excess))


def read_faces(options: argparse.Namespace) -> Faces:
    """Return the logits of all images."""
    encoder, metadata = load_encoder(options.encoder, torch.device("cpu"))
    how = metadata.calibration or NO_CALIBRATION
    if any(how.bias):
        raise SystemExit(f"{options.encoder} has biases; give an encoder without a calibration")
    side = encoder.preprocess.resize
    valid = read_labelled_images(options.manifest, options.images)
    crops = read_crops(valid.files, side)
    table = pd.read_csv(options.other_manifest)
    others = read_crops([options.other / name for name in table["file"]], side)
    return Faces(
        [
            find_logits(encoder, change_all(crops, change), how.temperature)
            for change in CASES.values()
        ],
        valid.labels,
        find_logits(encoder, others, how.temperature),
        np.array([index_of(name) for name in table["label"]], np.int64),
        how.temperature,
    )


def main() -> None:
    """Print the table, and write the encoder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--other-manifest", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, default=find_weights(COMPACT_FACE))
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    print(
        "| temperature | | valid: error | changed: error | worst change | "
        "other: confidence - accuracy | other: error | targets met |"
    )
    print("|---|---|---|---|---|---|---|---|")
    rows = list(compare(read_faces(options)))
    for row in rows:
        valid, changed, gap = row.measured
        print(
            f"| {row.name} | {row.temperature:.2f} | {valid:.3f} | {changed:.3f} | "
            f"{row.worst:.3f} | {gap:.3f} | {row.other_error:.3f} | {row.met} of 3 |"
        )
    if options.write:
        choice = CalibrationChoice("no", round(rows[-1].temperature, 2))
        calibrate_encoder(
            options.encoder, options.images, options.manifest, options.write, choice=choice
        )


if __name__ == "__main__":
    main()
