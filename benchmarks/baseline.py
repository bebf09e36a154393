"""What `predict --baseline` costs on still images when the baseline is drawn from wrong frames.

python benchmarks/baseline.py --images DIR --manifest FILE [--encoder FILE] [--draws 20]

All images of the valid split count as frames of one person, although each shows another one. Draws
some images as this person's neutral frames, with replacement, removes that baseline from all of
them, as `abaw predict --baseline FROM-TO` does, and prints accuracy and macro-F1: of baselines of
neutral images, of one other expression each, and of any images. `all` takes all images of the kind.
`auto` is given people of 100 images each, as they come or without a neutral one.

The last table is about resting faces that look like a smile: neutral images that the encoder takes
for Happiness. Half of them are one person's neutral frames; the other half are labelled, and what
becomes of images of Happiness if the same is taken off these.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from encoder import BATCH, read_crops
from numpy.typing import NDArray
from scipy import special

from abawcli.config import COMPACT_FACE
from abawcli.formats.manifest import read_manifest
from abawcli.formats.table_schemas import LOGITS, PROBABILITIES
from abawcli.labels import CLASSES, N_CLASSES, NEUTRAL
from abawcli.metrics import score_labels
from abawcli.models.encoder import load_encoder
from abawcli.models.recipes import find_weights
from abawcli.pipeline.baseline import Baseline, remove_baseline
from abawcli.sources import VISUAL

Logits = NDArray[np.float64]
Labels = NDArray[np.int64]
Rows = NDArray[np.int64]
HAPPINESS = CLASSES.index("Happiness")
COUNTS = (1, 5, 25)  # frames of a baseline
PERSON = 100  # images


def tabulate(logits: Logits, neutral_frames: int) -> pd.DataFrame:
    """Return a table of one person, (N, 8); the first frames are in the first second."""
    p = special.softmax(logits, axis=1)
    columns = {
        "subject": "main",
        "source": VISUAL,
        "time_s": np.where(np.arange(len(logits)) < neutral_frames, 0.0, 2.0),
        "label": p.argmax(axis=1),
        "confidence": p.max(axis=1),
        **dict(zip(PROBABILITIES, p.T, strict=True)),
        **dict(zip(LOGITS, logits.T, strict=True)),
    }
    return pd.DataFrame(columns)


def relabel(logits: Logits, chosen: Rows, neutral: Sequence[float]) -> Labels:
    """Return the labels (N,) after the baseline of the rows `chosen` is removed from all."""
    table = tabulate(np.concatenate([logits[chosen], logits]), len(chosen))
    changed = remove_baseline(table, Baseline(span_s=(0.0, 1.0)), neutral, "images")
    return changed["label"].to_numpy(np.int64)[len(chosen) :]


def relabel_auto(logits: Logits, people: NDArray[np.int64], neutral: Sequence[float]) -> Labels:
    """Return the labels (N,) with the baseline `auto` of each person."""
    table = tabulate(logits, 0).assign(subject=people.astype(str))
    return remove_baseline(table, Baseline(), neutral, "images")["label"].to_numpy(np.int64)


def describe(labels: Labels, answers: Sequence[Labels]) -> str:
    """Return the mean accuracy and macro-F1 of several answers, and the lowest accuracy."""
    scores = [score_labels(labels, answer) for answer in answers]
    accuracy = [score.accuracy for score in scores]
    macro = np.mean([score.macro_f1 for score in scores])
    return f"{np.mean(accuracy):.3f} / {macro:.3f} ({min(accuracy):.3f})"


def print_draws(logits: Logits, labels: Labels, neutral: Sequence[float], draws: int) -> None:
    """Print a row for each kind of neutral frames."""
    random = np.random.default_rng(0)
    kinds = {name: np.flatnonzero(labels == k) for k, name in enumerate(CLASSES)}
    kinds["any"] = np.arange(len(labels))
    print(f"| frames | {' | '.join(f'{count}' for count in COUNTS)} | all |")
    print("|---" * (len(COUNTS) + 2) + "|")
    print(f"| no baseline |{' |' * len(COUNTS)} {describe(labels, [logits.argmax(axis=1)])} |")
    for name, rows in kinds.items():
        cells = []
        for count in COUNTS:
            chosen = [random.choice(rows, count) for _ in range(draws)]
            cells.append(describe(labels, [relabel(logits, each, neutral) for each in chosen]))
        cells.append(describe(labels, [relabel(logits, rows, neutral)]))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def print_auto(logits: Logits, labels: Labels, neutral: Sequence[float]) -> None:
    """Print what `auto` makes of people, as they come, and without a neutral image."""
    order = np.random.default_rng(1).permutation(len(labels))
    print("\n| people of 100 images | without baseline | auto |\n|---|---|---|")
    for name, rows in (("as they come", order), ("none neutral", order[labels[order] != NEUTRAL])):
        own, truth = logits[rows], labels[rows]
        found = relabel_auto(own, np.arange(len(rows)) // PERSON, neutral)
        print(f"| {name} | {describe(truth, [own.argmax(axis=1)])} | {describe(truth, [found])} |")


def print_smiles(logits: Logits, labels: Labels, neutral: Sequence[float], draws: int) -> None:
    """Print what becomes of neutral faces that look like a smile, and of smiles."""
    random = np.random.default_rng(2)
    smiling = np.flatnonzero((labels == NEUTRAL) & (logits.argmax(axis=1) == HAPPINESS))
    happy = np.flatnonzero(labels == HAPPINESS)
    rest, smile = [], []
    for _ in range(draws):
        mixed = random.permutation(smiling)
        chosen, others = np.split(mixed, [len(mixed) // 2])
        found = relabel(logits, chosen, neutral)
        rest.append(np.bincount(found[others], minlength=N_CLASSES) / len(others))
        smile.append((found[happy] == HAPPINESS).mean())
    shares = np.mean(rest, axis=0)
    before = (logits[happy].argmax(axis=1) == HAPPINESS).mean()
    print(f"\n{len(smiling)} resting faces that look like a smile: {shares[NEUTRAL]:.3f} Neutral, "
          f"{shares[HAPPINESS]:.3f} Happiness afterwards; {len(happy)} smiles: {before:.3f} found "
          f"before, {np.mean(smile):.3f} if the same is taken off them")  # fmt: skip


def main() -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, default=find_weights(COMPACT_FACE))
    parser.add_argument("--draws", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    encoder, metadata = load_encoder(arguments.encoder, torch.device("cpu"))
    if metadata.neutral is None:
        raise SystemExit(f"{arguments.encoder} does not know its answer for neutral faces")
    valid = read_manifest(arguments.manifest, arguments.images)["valid"]
    crops = read_crops(valid.files, encoder.preprocess.resize)
    parts = [encoder.find_logits(crops[k : k + BATCH]) for k in range(0, len(crops), BATCH)]
    logits = np.concatenate(parts).astype(np.float64)
    print(f"{len(logits)} images; accuracy / macro-F1 (lowest accuracy of {arguments.draws})\n")
    print_draws(logits, valid.labels, metadata.neutral, arguments.draws)
    print_auto(logits, valid.labels, metadata.neutral)
    print_smiles(logits, valid.labels, metadata.neutral, arguments.draws)


if __name__ == "__main__":
    main()
