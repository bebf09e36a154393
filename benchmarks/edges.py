"""Accuracy of image encoders' own classifiers on faces that exceed the picture's edge.

Compares crops at several scales, and encoders with and without PadAug, on composed videos of one
person (benchmarks/compose.py). Uses every frame in which a face is drawn and detected, without
smoothing.

    python benchmarks/edges.py --valid DIR NAME=ENCODER[@SCALE,SCALE,...] ...
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from abawcli.device import leave_one_core
from abawcli.formats.abaw import read_annotation
from abawcli.labels import IGNORE
from abawcli.metrics import score_labels
from abawcli.models.checkpoint import load_checkpoint, save_checkpoint
from abawcli.models.metadata import FaceEncoderMetadata
from abawcli.stages.predict import Predictor


def change_scales(encoder: Path, scales: tuple[float, ...], out: Path) -> Path:
    """Write a copy of an encoder for crops of these scales."""
    tensors, metadata = load_checkpoint(encoder, FaceEncoderMetadata)
    preprocess = replace(metadata.preprocess, crop_scales=scales)
    save_checkpoint(out, tensors, replace(metadata, preprocess=preprocess))
    return out


def predict_all(encoder: Path, folder: Path) -> pd.DataFrame:
    """Return label, truth and plan of every frame of the videos of one person."""
    predictor = Predictor(str(encoder))
    parts = []
    for video in sorted((folder / "videos").glob("*.mp4")):
        if video.stem.endswith("_pair"):
            continue
        table = predictor.predict_video(video, smooth=False)[["found", "label"]]
        plan = pd.read_csv(folder / "plan" / f"{video.stem}.csv")[["face", "edge"]]
        truth = read_annotation(folder / "labels" / f"{video.stem}.txt")
        parts.append(pd.concat([table, plan], axis=1).assign(truth=truth))
    return pd.concat(parts, ignore_index=True)


def describe_row(name: str, frames: pd.DataFrame) -> str:
    """Return a row: macro-F1 and accuracy of whole faces and of those over the edge."""
    seen = frames["found"] & frames["face"] & (frames["truth"] != IGNORE)
    cells = []
    for edge in (False, True):
        rows = frames[seen & (frames["edge"] == edge)]
        score = score_labels(np.asarray(rows["truth"]), np.asarray(rows["label"]))
        cells += [f"{score.macro_f1:.3f}", f"{score.accuracy:.3f}", f"{score.frames:,}"]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--valid", type=Path, required=True, help="Of benchmarks/compose.py.")
    parser.add_argument("encoders", nargs="+", metavar="NAME=ENCODER[@SCALES]")
    options = parser.parse_args()
    leave_one_core()
    print("| encoder | macro-F1, whole | accuracy | frames | macro-F1, edge | accuracy | frames |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for number, entry in enumerate(options.encoders):
            name, _, place = entry.partition("=")
            path, _, scales = place.partition("@")
            encoder = Path(path)
            if scales:
                chosen = tuple(float(scale) for scale in scales.split(","))
                encoder = change_scales(
                    encoder, chosen, Path(folder) / f"encoder{number}.safetensors"
                )
            print(describe_row(name, predict_all(encoder, options.valid)), flush=True)


if __name__ == "__main__":
    main()
