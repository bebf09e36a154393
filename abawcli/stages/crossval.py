"""Stage crossval: cross-validation of heads on the same folds of annotated videos.

Each fold's head is trained on the other folds for the configured number of epochs. The held-out
fold has no influence, not even on the choice of the epoch: its score is that of unseen videos.
Scores pool the frames of a fold, once as predicted and once smoothed.

Published figures of five folds are often those of each fold's best epoch, chosen on the scored
videos, which is optimistic. `best_epoch` adds these figures under their own names.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from abawcli.config import EXPR, HeadTraining, Smoothing, default_head_training
from abawcli.datasets.annotated import AnnotatedFeatures, VideoSet, read_annotated
from abawcli.datasets.folds import Folds, make_folds, read_folds, write_folds
from abawcli.errors import OutputError, UsageError
from abawcli.formats.feature_sets import FeaturePaths, read_joined_features
from abawcli.formats.json_values import JsonObject
from abawcli.formats.provenance import describe_work, find_finished, write_result
from abawcli.formats.table_forms import TABLE_FORMS
from abawcli.formats.table_schemas import OUTPUTS
from abawcli.formats.tables import write_table
from abawcli.labels import IGNORE
from abawcli.logits import restore_logits
from abawcli.metrics import Score
from abawcli.models.heads import HEADS, load_head
from abawcli.models.training_metadata import ValueValidation
from abawcli.pipeline.prediction_columns import tabulate_features
from abawcli.progress import Progress, ignore_progress
from abawcli.smoothing import smooth_rows
from abawcli.training.head_task import (
    HEAD_NAME,
    HeadTask,
    make_loop,
    predict_videos,
)
from abawcli.training.loop import choose_training_device
from abawcli.training.objectives import score_outputs

FOLDS_NAME = "folds.csv"
RESULTS_NAME = "results.json"
BEST_NAME = "best.safetensors"  # the head of a fold's best epoch
PREDICTIONS_NAME = "predictions"  # the folder of out-of-fold predictions
FrameScore = Score | ValueValidation
KINDS = ("raw", "smoothed", "best_raw", "best_smoothed")  # of `FoldScore`


@dataclass(frozen=True)
class FoldScore:
    """The scores of one head on one held-out fold."""

    fold: int
    videos: int
    frames: int  # annotated
    raw: FrameScore
    smoothed: FrameScore
    best_epoch: int | None = None  # chosen on the fold itself; None: not asked for
    best_raw: FrameScore | None = None
    best_smoothed: FrameScore | None = None


Results = dict[str, list[FoldScore]]  # head -> folds


def cross_validate(
    features: Iterable[str | Path | FeaturePaths],
    annotations: Iterable[str | Path],
    out: str | Path,
    heads: Sequence[str] = ("gated",),
    *,
    folds: int = 5,
    configs: Mapping[str, HeadTraining] | None = None,
    best_epoch: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    task: str = EXPR,
    progress: Progress = ignore_progress,
) -> Results:
    """Train and score every head on every fold, by its defaults or its entry in `configs`.

    Writes these files into `out`; a later call with the same videos uses them again:

        folds.csv, results.json               the folds, and the figures of `describe_results`
        <head>/fold<k>/                       a run folder each; metrics.jsonl is the curve
        <head>/predictions/<name>.parquet     out-of-fold predictions, not smoothed, with logits

    Args:
        features: feature files, as `read_annotated` takes them.
        annotations: annotation files.
        out: the folder.
        heads: names of heads.
        folds: number of folds.
        configs: settings by head; missing ones are the head's defaults.
        best_epoch: also score each epoch on the held-out fold, and save the best as
            `best.safetensors`, beside the last as `head.safetensors`.
        device: device of the networks.
        overwrite: train again, also if there are results.
        task: of the annotations and heads, one of `config.TASK_NAMES`.
        progress: called as batches are done.

    Raises:
        InputError: features or annotations are missing, cannot be read, or do not match.
        OutputError: the folder has other folds or runs with other settings, or cannot be written.
        UsageError: the head or device is unknown, or there are more folds than source videos.
    """
    out = Path(out)
    _check_heads(heads)
    chosen = choose_training_device(device)
    data = read_annotated(features, annotations, task)
    fold_of = _open_folds(out / FOLDS_NAME, data, folds, overwrite)
    results: Results = {}
    for head in dict.fromkeys(heads):
        results[head] = []
        config = (configs or {}).get(head) or default_head_training(head, task)
        for fold in range(1, folds + 1):
            held = VideoSet(data, frozenset(n for n in data.names if fold_of[n] == fold))
            run = _FoldRun(out / head, fold, held, config, device=chosen, overwrite=overwrite)
            named = _name_work(progress, f"{head}, fold {fold}/{folds}")
            results[head].append(run.score(run.train(best_epoch, named)))
            run.write_predictions()
    _write_results(out / RESULTS_NAME, results, out / FOLDS_NAME, overwrite)
    return results


def _check_heads(heads: Sequence[str]) -> None:
    unknown = [head for head in heads if head not in HEADS]
    if unknown:
        raise UsageError(f"unknown head {unknown[0]!r}; known are {', '.join(HEADS)}")


@dataclass(frozen=True)
class _FoldRun:
    """The training of one head without one fold, and its predictions of the fold."""

    folder: Path  # of the head, whose name it has
    fold: int
    held: VideoSet  # the videos of the fold
    config: HeadTraining
    device: torch.device
    overwrite: bool

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder / f"fold{self.fold}"

    def train(self, best_epoch: bool, progress: Progress) -> int | None:
        """Train the head; return its best epoch on the fold, if that is requested."""
        data, head = self.held.data, self.folder.name
        train = VideoSet(data, frozenset(data.names) - self.held.names)
        if not best_epoch:
            task = HeadTask(head, self.config, train=train, valid=None, device=self.device)
            make_loop(task, self.path).run(self.overwrite, progress)
            return None
        task = HeadTask(
            head, self.config, train=train, valid=self.held, device=self.device,
            result_name=BEST_NAME,
        )  # fmt: skip
        loop = make_loop(task, self.path)
        history = loop.run(self.overwrite, progress)
        task.save_as(self.path / HEAD_NAME, loop.result, history[-1])
        best = max(history, key=lambda epoch: -1.0 if epoch.criterion is None else epoch.criterion)
        return best.epoch

    def score(self, best_epoch: int | None) -> FoldScore:
        """Score the head on the fold; and that of its best epoch, if there is one."""
        frames = int((self.held.labels() != IGNORE).sum())
        raw, smoothed = self._score_head(HEAD_NAME)
        found = FoldScore(
            fold=self.fold,
            videos=len(self.held.names),
            frames=frames,
            raw=raw,
            smoothed=smoothed,
        )
        if best_epoch is None:
            return found
        raw, smoothed = self._score_head(BEST_NAME)
        return replace(found, best_epoch=best_epoch, best_raw=raw, best_smoothed=smoothed)

    def _score_head(self, name: str) -> tuple[FrameScore, FrameScore]:
        """Return the scores of a head of the run, as predicted and smoothed."""
        head, metadata = load_head(self.path / name, self.device)
        task, width = metadata.task, len(OUTPUTS[metadata.task])
        raw, smoothed = [], []
        for rows, (outputs, source) in zip(
            self.held.slices(), predict_videos(head, self.held), strict=True
        ):
            raw.append(outputs[:, :width])
            times = self.held.data.time_s[rows]
            smoothed.append(_smooth(task, outputs, source, times, config=self.config.smoothing))
        first, second = (
            score_outputs(task, np.concatenate(parts), self.held) for parts in (raw, smoothed)
        )
        return first, second

    def write_predictions(self) -> None:
        """Write the table of each video of the fold; finished ones are kept."""
        head, metadata = load_head(self.path / HEAD_NAME, self.device)
        kind: JsonObject = {"logits": True} if metadata.task == EXPR else {"task": metadata.task}
        for (name, _), paths in zip(self.held.data.videos(), self.held.data.paths, strict=True):
            output = self.folder / PREDICTIONS_NAME / f"{name}.parquet"
            if name not in self.held.names:
                continue
            work = describe_work("crossval", paths, {"fold": self.path.name} | kind,
                                 companions=[self.path / HEAD_NAME])  # fmt: skip
            if find_finished(output, work, self.overwrite):
                continue
            found = read_joined_features(paths)
            arrays = found.visual, found.audio, found.has_visual, found.has_audio
            outputs, source = head.find_outputs(*arrays)
            table = tabulate_features(found, found.has_visual, outputs, source, task=metadata.task)
            write_table(table, output, work)


def _name_work(progress: Progress, name: str) -> Progress:
    return lambda done, total, what: progress(done, total, f"{name}, {what}")


def _open_folds(path: Path, data: AnnotatedFeatures, count: int, overwrite: bool) -> Folds:
    """Return the existing folds, or make them; `overwrite` replaces those of other annotations."""
    if os.path.exists(path):
        there = read_folds(path)
        same, folds = set(there) == set(data.names), max(there.values())
        if same and folds == count:
            return there
        if not overwrite:
            keep = f"give --folds {folds} to use them, " if same else ""
            raise OutputError(
                f"{path} has {folds} folds of {len(there)} annotations, not "
                f"{count} of these {len(data.names)}; {keep}choose another folder, or --overwrite"
            )
    made = make_folds(data.names, [data.labels[rows] for _, rows in data.videos()], count)
    write_folds(made, path)
    return made


def _smooth(
    task: str,
    outputs: NDArray[np.float32],
    source: NDArray[np.str_],
    time_s: NDArray[np.float64],
    *,
    config: Smoothing,
) -> NDArray[np.float64]:
    """Smooth the outputs (T, M) of one video, whose rows are frames 1 to T, to (T, K).

    As `abaw smooth` does it, by the sources (T,) of the rows.
    """
    form = TABLE_FORMS[task]
    values = outputs[:, : len(form.outputs)].astype(np.float64)
    logits = restore_logits(outputs) if task == EXPR else None
    frame = np.arange(1, len(values) + 1)
    smooth = smooth_rows(
        values, source, frame, time_s, config=config, logits=logits, smooth=form.smooth
    )
    return smooth[0]


def _write_results(path: Path, results: Results, folds: Path, overwrite: bool) -> None:
    """Write the figures, unless they exist."""
    described = describe_results(results)
    work = describe_work("crossval", [folds], {"results": described})
    if not find_finished(path, work, overwrite):
        with write_result(path, work) as temporary:
            temporary.write_text(json.dumps(described, indent=1) + "\n")


def describe_results(results: Results) -> JsonObject:
    """Return results as JSON: every fold's figures, and their mean and deviations.

    `deviation` is that of a sample (n - 1), `population_deviation` divides by n, as published
    figures often do. Kinds that begin with `best_` are of each fold's best epoch.
    """
    return {head: _summarise_head(folds) for head, folds in results.items()}


def _summarise_head(folds: Sequence[FoldScore]) -> JsonObject:
    kinds = [kind for kind in KINDS if all(getattr(f, kind) for f in folds)]
    summary: JsonObject = {
        "folds": [
            {"fold": f.fold, "videos": f.videos, "frames": f.frames}
            | ({"best_epoch": f.best_epoch} if f.best_epoch else {})
            | {kind: getattr(f, kind).figures for kind in kinds}
            for f in folds
        ]
    }
    for kind in kinds:
        figures = [getattr(f, kind).figures for f in folds]
        values = {k: [each[k] for each in figures] for k in figures[0]}
        summary[kind] = {
            k: {
                "mean": float(np.mean(v)),
                "deviation": float(np.std(v, ddof=1)),
                "population_deviation": float(np.std(v)),
            }
            for k, v in values.items()
        }
    return summary
