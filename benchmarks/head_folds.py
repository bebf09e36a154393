"""Cross-validate all heads on the same features, and what smoothing and class biases gain.

Trains every head on the same folds of source videos (`abaw crossval`), and prints a table in
Markdown: macro-F1 as predicted and smoothed, with mean and deviation over the folds; that of all
videos pooled; and the gains of the best smoothing, and of class biases beside it, each found on
other folds than it is scored on (`abaw score --sweep`).

    python benchmarks/head_folds.py --features DIR --labels DIR --out DIR [--folds 5] [--head NAME]

Settings are those for backbones and data sets as small as the composed videos of
benchmarks/embedded_heads.py: OUT/features/valid and OUT/valid/labels, of faces and speakers that no
encoder was trained on. Runs are stored under --out and reused.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from fusion import SETTINGS
from missing import DUAL_SETTINGS

from abawcli.config import HEAD_NAMES, HeadTraining, SequenceHead, Smoothing, Sweeping
from abawcli.stages.crossval import PREDICTIONS_NAME, FoldScore, cross_validate
from abawcli.stages.sweep import sweep_files

# The speakers are as unknown to the audio encoder in training as in scoring: no audio is swapped.
FRAME = replace(SETTINGS, audio_swap=0.0, smoothing=Smoothing())
DUAL = replace(DUAL_SETTINGS, audio_swap=0.0)
SEQUENCE = SequenceHead(hidden=DUAL.network.hidden, dropout=DUAL.network.dropout)
TEMPORAL = {
    "dual-branch": DUAL,
    "tcn": replace(DUAL, network=SEQUENCE),
    "gru": replace(DUAL, network=replace(SEQUENCE, layers=2)),
}
CONFIGS: dict[str, HeadTraining] = {name: TEMPORAL.get(name, FRAME) for name in HEAD_NAMES}
SWEEPING = Sweeping(windows=(11, 25, 51, 101))  # frames; half of the default ones, for time
COLUMNS = (
    "head", "as predicted", "smoothed", "pooled, as predicted", "gain of smoothing",
    "gain of smoothing and class biases",
)  # fmt: skip


def show_folds(folds: list[FoldScore], kind: str) -> str:
    """Return mean and sample deviation over the folds."""
    values = [getattr(fold, kind).macro_f1 for fold in folds]
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def show_head(name: str, folds: list[FoldScore], out: Path, annotations: list[Path]) -> str:
    """Return a head's row of the table."""
    tables = sorted((out / name / PREDICTIONS_NAME).glob("*.parquet"))
    sweep = sweep_files(tables, annotations, SWEEPING)
    raw = float(sweep.macro_f1[0])
    gains = sweep.cross_validated - raw, sweep.biased_cross_validated - raw
    cells = [show_folds(folds, "raw"), show_folds(folds, "smoothed"), f"{raw:.3f}"]
    return " | ".join([f"| {name}", *cells, *(f"{gain:+.3f}" for gain in gains)]) + " |"


def main() -> None:
    """Train what is not there, and print the table head by head."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--head", choices=HEAD_NAMES, action="append")
    options = parser.parse_args()
    files = sorted(options.features.rglob("*.safetensors")), sorted(options.labels.glob("*.txt"))
    print(f"| {' | '.join(COLUMNS)} |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    for name in options.head or HEAD_NAMES:
        out = options.out / name
        scores = cross_validate(
            *files, out, [name], folds=options.folds, configs=CONFIGS, device="cpu"
        )
        print(show_head(name, scores[name], out, files[1]), flush=True)


if __name__ == "__main__":
    main()
