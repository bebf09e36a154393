"""Stage score, for valence and arousal or action units, over the frames of all videos."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abawcli.config import Scores
from abawcli.datasets.pairing import summarise_failures
from abawcli.datasets.source_videos import find_better_shift, find_interval, sum_sources
from abawcli.datasets.task_pairing import (
    VALUE_SUFFIXES,
    ValuePair,
    gather_value_tracks,
    gather_values,
    pair_values,
)
from abawcli.errors import InputError
from abawcli.formats.inputs import expand_inputs
from abawcli.formats.json_values import JsonObject
from abawcli.formats.outputs import check_results
from abawcli.formats.provenance import describe_work, write_result
from abawcli.tasks import Task, Values


@dataclass(frozen=True)
class TaskScoring:
    """The result of `score_values`."""

    task: str
    measure: str  # of a column: CCC or F1
    mean: float  # of the columns, the challenge's score
    interval: tuple[float, float] | None  # 95 % bootstrap interval of the mean over source videos
    columns: dict[str, float]
    frames: dict[str, int]  # annotated, by column
    # Annotated values without a prediction, which count as 0, of annotations that have some.
    unpredicted: dict[str, int]
    shifts: dict[int, float]  # mean if annotated frame k is predicted in frame k + shift
    better_shift: int | None  # one that is clearly better than 0
    videos: dict[str, float | None]  # mean of each annotation; None: nothing in it is annotated
    failed: dict[str, str]  # file or annotation -> why it could not be scored


def score_values(
    predictions: Iterable[str | Path],
    annotations: Iterable[str | Path],
    task: Task,
    config: Scores | None = None,
) -> TaskScoring:
    """Score tables, text files or submissions of predictions against annotation files.

    Values that are not annotated are left out; annotated ones without a prediction count as
    predicted 0. Files that cannot be read are named in `failed`; the others are scored.

    Raises:
        InputError: nothing can be scored.
    """
    config = config or Scores()
    failed: dict[str, str] = {}
    predicted = gather_value_tracks(predictions, task, failed)
    truth = gather_values(annotations, task, failed)
    pairs = pair_values(truth, predicted, failed)
    if not pairs:
        raise InputError(summarise_failures(failed))
    frames = sum((~np.isnan(pair.annotation)).sum(axis=0) for pair in pairs.values())
    if not np.any(frames):
        raise InputError(
            f"no annotated frame to score (all annotations are {task.ignore}, or there are none)"
        )
    sums = {
        shift: np.stack([task.summarise(*_align(pair, shift)) for pair in pairs.values()])
        for shift in config.shifts
    }  # (V, K, S)
    sources = {shift: sum_sources(list(pairs), each) for shift, each in sums.items()}
    means = task.find_mean_score(sums[0])
    return TaskScoring(
        task=task.name,
        measure=task.measure,
        mean=float(task.find_mean_score(sums[0].sum(axis=0))),
        interval=find_interval(sources[0], task.find_mean_score, config),
        columns=_name(task, task.find_score(sums[0].sum(axis=0)).tolist()),
        frames=_name(task, np.asarray(frames).tolist()),
        unpredicted={
            name: count for name, pair in pairs.items() if (count := _count_unpredicted(pair))
        },
        shifts={k: float(task.find_mean_score(each.sum(axis=0))) for k, each in sums.items()},
        better_shift=find_better_shift(sources, task.find_mean_score, config),
        videos={
            name: None if np.isnan(pair.annotation).all() else float(mean)
            for (name, pair), mean in zip(pairs.items(), means, strict=True)
        },
        failed=failed,
    )


def _align(pair: ValuePair, shift: int) -> tuple[Values, Values]:
    """Return annotation and prediction (R, K) of predictions shifted by `shift` frames."""
    rows = np.clip(pair.rows + shift, 0, len(pair.predicted) - 1)
    return pair.annotation, np.nan_to_num(pair.predicted[rows], nan=0.0)


def _count_unpredicted(pair: ValuePair) -> int:
    return int((~np.isnan(pair.annotation) & np.isnan(pair.predicted[pair.rows])).sum())


def _name(task: Task, values: list[Any]) -> JsonObject:
    return dict(zip(task.columns, values, strict=True))


def score_value_paths(
    predictions: str | Path,
    annotations: str | Path,
    task: Task,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
) -> TaskScoring:
    """Score files, folders or globs, and write the score to `output` as JSON, if it is given.

    Raises:
        InputError: nothing can be scored.
        UsageError: the output is an input.
        OutputError: the output exists and may not be replaced, or cannot be written.
    """
    output = Path(output) if output else None
    settings = asdict(Scores()) | {"task": task.name}
    work = describe_work("score", [Path(predictions), Path(annotations)], settings)
    predicted = expand_inputs([str(predictions)], VALUE_SUFFIXES)
    annotated = expand_inputs([str(annotations)], VALUE_SUFFIXES)
    outputs = [output] if output else []
    check_results(outputs, [*predicted, *annotated], work, overwrite)
    scoring = score_values(predicted, annotated, task)
    for path in outputs:
        with write_result(path, work) as temporary:
            temporary.write_text(json.dumps(describe_values(scoring), indent=2) + "\n")
    return scoring


def describe_values(scoring: TaskScoring) -> JsonObject:
    """Return a score as JSON."""
    described = asdict(scoring) | {"unpredicted": sum(scoring.unpredicted.values())}
    described["shifts"] = {str(shift): score for shift, score in scoring.shifts.items()}
    described["interval"] = scoring.interval and list(scoring.interval)
    return described
