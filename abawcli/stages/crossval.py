"""Cross-validate heads on the same folds of annotated videos.

Each fold's head is trained on the other folds for the configured number of epochs. The held-out
fold has no say in it, not even in which epoch is kept, so that its score is one of videos never
seen. Scores pool the frames of a fold, once as predicted and once smoothed.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.config import HeadTraining, Smoothing, default_head_training
from abawcli.datasets.annotated import AnnotatedFeatures, VideoSet, read_annotated
from abawcli.datasets.folds import Folds, make_folds, read_folds, write_folds
from abawcli.device import choose_device
from abawcli.errors import OutputError, UsageError
from abawcli.metrics import Score, score_labels
from abawcli.models.heads import HEADS, TrainedHead, load_head
from abawcli.progress import Progress, ignore_progress
from abawcli.smoothing import smooth_probabilities
from abawcli.training.head_task import (
    HEAD_NAME,
    HeadTask,
    classify_videos,
    make_loop,
    predict_labels,
)

FOLDS_NAME = "folds.csv"
FIGURES = ("macro_f1", "accuracy")
KINDS = ("raw", "smoothed")  # of `FoldScore`


@dataclass(frozen=True)
class FoldScore:
    """What one head's prediction of one held-out fold is worth."""

    fold: int
    videos: int
    raw: Score
    smoothed: Score


Results = dict[str, list[FoldScore]]  # head -> folds


def cross_validate(
    features: Iterable[str | Path],
    annotations: Iterable[str | Path],
    out: str | Path,
    heads: Sequence[str] = ("gated",),
    *,
    folds: int = 5,
    configs: Mapping[str, HeadTraining] | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = ignore_progress,
) -> Results:
    """Train and score every head on every fold, by its defaults or its entry in `configs`.

    Writes `folds.csv`, which a later call with the same videos uses again, and a run folder
    `<head>/fold<k>` each. Folds that are trained already are only scored.

    Raises:
        InputError: features or annotations cannot be read or do not fit, or are none.
        OutputError: the folder holds other folds or runs with other settings, or cannot be written.
        UsageError: no such head or device, or more folds than source videos.
    """
    out = Path(out)
    unknown = [head for head in heads if head not in HEADS]
    if unknown:
        raise UsageError(f"unknown head {unknown[0]!r}; known are {', '.join(HEADS)}")
    chosen = choose_device(device)
    data = read_annotated(features, annotations)
    fold_of = _open_folds(out / FOLDS_NAME, data, folds, overwrite)
    results: Results = {}
    for head in dict.fromkeys(heads):
        results[head] = []
        config = (configs or {}).get(head) or default_head_training(head)
        for fold in range(1, folds + 1):
            held = frozenset(name for name in data.names if fold_of[name] == fold)
            train = VideoSet(data, frozenset(data.names) - held)
            task = HeadTask(head, config, train=train, valid=None, device=chosen)
            run = out / head / f"fold{fold}"
            named = _name_work(progress, f"{head}, fold {fold}/{folds}")
            make_loop(task, run).run(overwrite, named)
            trained, _ = load_head(run / HEAD_NAME, chosen)
            valid = VideoSet(data, held)
            results[head].append(_score_fold(fold, trained, valid, config.smoothing))
    return results


def _name_work(progress: Progress, name: str) -> Progress:
    return lambda done, total, what: progress(done, total, f"{name}, {what}")


def _open_folds(path: Path, data: AnnotatedFeatures, count: int, overwrite: bool) -> Folds:
    """Return the folds that are there, or make them."""
    if os.path.exists(path) and not overwrite:
        there = read_folds(path)
        if set(there) != set(data.names) or max(there.values()) != count:
            raise OutputError(
                f"{path} has {max(there.values())} folds of {len(there)} annotations, not "
                f"{count} of these {len(data.names)}; choose another folder, or --overwrite"
            )
        return there
    made = make_folds(data.names, [data.labels[rows] for _, rows in data.videos()], count)
    write_folds(made, path)
    return made


def _score_fold(fold: int, head: TrainedHead, valid: VideoSet, smoothing: Smoothing) -> FoldScore:
    raw, smoothed = [], []
    for rows, p in zip(valid.slices(), classify_videos(head, valid), strict=True):
        raw.append(predict_labels(p))
        smoothed.append(predict_labels(_smooth(p, valid.data.time_s[rows], smoothing)))
    scores = (score_labels(valid.labels(), np.concatenate(parts)) for parts in (raw, smoothed))
    return FoldScore(fold, len(raw), *scores)


def _smooth(
    p: NDArray[np.float32], time_s: NDArray[np.float64], config: Smoothing
) -> NDArray[np.float64]:
    """Smooth the rows (T, 8) of one video, which are frames 1 to T."""
    known, frame = ~np.isnan(p[:, 0]), np.arange(1, len(p) + 1)
    return smooth_probabilities(p.astype(np.float64), known, frame, time_s, config=config)


def describe_results(results: Results) -> dict[str, Any]:
    """Return results as JSON: every fold's figures, their mean and sample standard deviation."""
    return {head: _summarise_head(folds) for head, folds in results.items()}


def _summarise_head(folds: Sequence[FoldScore]) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "folds": [
            {"fold": f.fold, "videos": f.videos, "frames": f.raw.frames}
            | {kind: {k: getattr(getattr(f, kind), k) for k in FIGURES} for kind in KINDS}
            for f in folds
        ]
    }
    for kind in KINDS:
        values = {k: [getattr(getattr(f, kind), k) for f in folds] for k in FIGURES}
        summary[kind] = {
            k: {"mean": float(np.mean(v)), "deviation": float(np.std(v, ddof=1))}
            for k, v in values.items()
        }
    return summary
