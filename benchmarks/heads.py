"""Comparison of the embedded heads on composed videos and on the sample clips.

    python benchmarks/heads.py --valid DIR --features DIR

Folders as for benchmarks/fusion.py, of valid videos. Prints the macro-F1 without smoothing and with
that of the head's file, and the accuracy on the sample clips without smoothing.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from fusion import Composed, Mask, predict, show_score
from missing import hide

from abawcli.config import HeadTraining, Smoothing
from abawcli.datasets.annotated import AnnotatedFeatures, read_annotated
from abawcli.formats.abaw import align_rows, read_annotation
from abawcli.metrics import score_labels
from abawcli.models.heads import load_head
from abawcli.models.recipes import RECIPES
from abawcli.stages.predict import Predictor

NAMES = ("compact", "compact-dual-branch")
CLIPS = Path(__file__).parents[1] / "sample_videos"
ALONE = ("expressions", "leaves_and_returns_vfr", "rotated_phone")  # clips of one person


def score_clip(recipe: str, clip: Path) -> float:
    """Return the accuracy on a sample clip, compared with its plan, without smoothing."""
    predicted = Predictor(recipe).predict_video(clip, smooth=False)["label"].to_numpy()
    truth = read_annotation(clip.with_suffix(".txt"))
    return score_labels(truth, predicted[align_rows(truth, len(predicted), clip.stem)]).accuracy


def main() -> None:
    """Print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--valid", type=Path, required=True, help="Composed valid videos.")
    parser.add_argument("--features", type=Path, required=True, help="Theirs.")
    options = parser.parse_args()
    valid = Composed(options.valid, options.features)
    data = read_annotated(*valid.list_files())
    plan = valid.read_plans(data)
    both = (plan["face"] & plan["voice"]).to_numpy()
    every = np.ones(len(both), np.bool_)
    less = hide(data, "visual", 0.5)
    cases: list[tuple[str, AnnotatedFeatures, Mask]] = [
        ("composed videos", data, every),
        ("frames with face and voice", data, both),
        ("half of the faces missing", less, every),
    ]
    print(f"| | {' | '.join(NAMES)} |\n|---|---|---|")
    heads = [load_head(RECIPES[name], torch.device("cpu")) for name in NAMES]
    for what, videos, rows in cases:
        cells = []
        for head, metadata in heads:
            config = replace(HeadTraining(), smoothing=metadata.smoothing or Smoothing())
            labels = predict(head, videos, config)
            cells.append(
                " / ".join(show_score(data.labels, labels[s], rows) for s in (False, True))
            )
        print(f"| {what} | {' | '.join(cells)} |", flush=True)
    for clip in (CLIPS / f"{name}.mp4" for name in ALONE):
        cells = [f"{score_clip(name, clip):.3f}" for name in NAMES]
        print(f"| {clip.stem} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
