"""Ablation of Stage I for the compact encoder: short runs with one change each.

Trains the default settings, and variants with one change each, for the same number of epochs on the
same images. Prints accuracy and macro-F1 of the best epoch on the validation split, as it is and
with black borders (as of a face at the frame's edge). Runs are stored under --out and resumed.

    python benchmarks/ablation.py --images DIR --manifest FILE --out DIR [--epochs 3]
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from encoder import BATCH, read_crops
from numpy.typing import NDArray

from abawcli.config import COMPACT_FACE, EncoderTraining, default_training
from abawcli.formats.manifest import LabelledImages, read_manifest
from abawcli.metrics import score_labels
from abawcli.models.encoder import load_encoder
from abawcli.stages.train_face import train_face_encoder
from abawcli.training.image_augmentation import pad_augment


def list_variants(epochs: int) -> dict[str, EncoderTraining]:
    """Return the settings to compare by name."""
    base = replace(default_training(COMPACT_FACE), epochs=epochs)
    return {
        "default": base,
        "no PadAug": replace(base, augmentation=replace(base.augmentation, padaug_p=0.0)),
        "no MoE head": replace(base, moe=None),
        "hard labels": replace(base, soft_labels=False),
    }


def pad_crops(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return crops (N, 1, S, S, 3) with PadAug borders, which are the same in every call."""
    source = torch.Generator().manual_seed(0)
    images = torch.from_numpy(crops[:, 0]).permute(0, 3, 1, 2)  # (N, 3, S, S)
    padded = pad_augment(images, source)
    return padded.permute(0, 2, 3, 1)[:, None].numpy()


def evaluate(path: Path, valid: LabelledImages) -> list[str]:
    """Return accuracy and macro-F1 on the images as they are, and with borders."""
    encoder, _ = load_encoder(path, torch.device("cpu"))
    crops = read_crops(valid.files, encoder.preprocess.resize)
    cells = []
    for shown in (crops, pad_crops(crops)):
        parts = [encoder.classify(shown[k : k + BATCH]) for k in range(0, len(shown), BATCH)]
        score = score_labels(valid.labels, np.concatenate(parts).argmax(axis=1))
        cells += [f"{score.accuracy:.3f}", f"{score.macro_f1:.3f}"]
    return cells


def main() -> None:
    """Train the variants that are not trained yet and print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    valid = read_manifest(arguments.manifest, arguments.images)["valid"]
    print("| training | accuracy | macro-F1 | accuracy, border | macro-F1, border |")
    print("|---|---|---|---|---|")
    for name, config in list_variants(arguments.epochs).items():
        out = arguments.out / name.replace(" ", "-")
        train_face_encoder(arguments.images, arguments.manifest, out, config=config)
        cells = evaluate(out / "encoder.safetensors", valid)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
