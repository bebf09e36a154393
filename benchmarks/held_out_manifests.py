"""Manifests of training data without a part, for the held-out encoders of embedded_heads.py.

    python benchmarks/held_out_manifests.py --faces DIR --voices DIR --out DIR

Writes OUT/folds.csv, the fold of each train image; OUT/without-fold0.csv and so on, the images of
the other folds; and OUT/without-held.csv, the recordings without the train speakers of
composed_features.is_held, with a fourth of those of valid speakers, which choose the epoch.
docs/experiments.md has the trainings on them.
"""

import argparse
from pathlib import Path

import pandas as pd
from compose import Voices
from composed_features import hold_speakers
from distil_faces import Job, write_fold_manifests

VALID_STEP = 4


def keep_speakers(folder: Path) -> pd.DataFrame:
    """Return the manifest of recordings in a folder without the speakers that are held out."""
    voices = Voices(folder, "train")
    held = voices.table["speaker"][hold_speakers(voices)]
    table = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)
    train, valid = (table[table["split"] == split] for split in ("train", "valid"))
    return pd.concat([train[~train["speaker"].isin(held)], valid[::VALID_STEP]])


def main() -> None:
    """Write the manifests."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("faces", "voices", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    faces = options.faces
    write_fold_manifests(Job(faces, faces / "manifest.csv", options.out, "cpu", (1, 1)))
    keep_speakers(options.voices).to_csv(options.out / "without-held.csv", index=False)


if __name__ == "__main__":
    main()
