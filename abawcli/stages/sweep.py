"""Stage score --sweep: the best smoothing on annotated videos, and its cross-validated gain.

Every method, space and window is scored on all videos. The score of the best one is optimistic,
because it was chosen on these videos. The cross-validated score is not: the videos of each fold are
smoothed with the best candidate of the other folds. Tracks of one source video are in one fold.
"""

import json
import logging
import os
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawcli.config import SMOOTHING_METHODS, SMOOTHING_SPACES, Smoothing, Sweeping
from abawcli.datasets.folds import Folds, make_folds
from abawcli.datasets.pairing import (
    ANNOTATION_SUFFIXES,
    LABEL_SUFFIXES,
    Pair,
    gather_tracks,
    gather_truth,
    pair_tracks,
    summarise_failures,
)
from abawcli.datasets.smoothed_tracks import count_biased, smooth_labels, tune_bias
from abawcli.errors import InputError
from abawcli.formats.abaw import split_side
from abawcli.formats.inputs import expand_inputs
from abawcli.formats.json_values import JsonObject
from abawcli.formats.outputs import check_results
from abawcli.formats.provenance import (
    Provenance,
    describe_work,
    read_provenance,
    write_result,
)
from abawcli.labels import CLASSES, IGNORE
from abawcli.metrics import Counts, count_confusion, find_macro_f1
from abawcli.progress import Progress, ignore_progress

LOG = logging.getLogger(__name__)
AS_PREDICTED = 0  # index of the candidate that leaves predictions as they are


@dataclass(frozen=True)
class FoldChoice:
    """One fold's videos, scored with the best candidate of the other folds."""

    fold: int
    videos: list[str]
    chosen: int  # index of a candidate
    as_predicted: float  # macro-F1 of these videos
    macro_f1: float


@dataclass(frozen=True)
class Sweep:
    """The result of `sweep_files`; C candidates, the first of which is no smoothing."""

    candidates: list[Smoothing]  # (C,)
    macro_f1: NDArray[np.float64]  # (C,) of all videos
    best: int  # index of the candidate that wins on all videos
    cross_validated: float  # macro-F1 of all videos, each with what wins on the other folds
    folds: list[FoldChoice]
    videos: list[str]
    frames: int  # annotated
    failed: dict[str, str]  # file or annotation -> why it is left out
    bias: tuple[float, ...]  # of each class, found on all videos after the best smoothing
    biased_macro_f1: float  # of all videos with it
    biased_cross_validated: float  # each with the smoothing and the bias of the other folds

    @property
    def windows(self) -> list[int]:
        """Return the windows that were compared, in frames, ascending."""
        compared = {one.window_frames for one in self.candidates[AS_PREDICTED + 1 :]}
        return sorted(frames for frames in compared if frames is not None)


SweepWriter = Callable[[Sweep, Path, Provenance], None]


def list_candidates(windows: Iterable[int]) -> list[Smoothing]:
    """Return the candidates: no smoothing (a window of 1), then every smoothing, narrow first.

    A vote of logits equals one of probabilities, and is left out.
    """
    smoothings = [
        Smoothing(method, window, None, space)
        for window in windows
        for space in SMOOTHING_SPACES
        for method in SMOOTHING_METHODS
        if (method, space) != ("vote", "logits")
    ]
    return [Smoothing(window_frames=1), *smoothings]


def count_pair(pair: Pair, candidates: Sequence[Smoothing]) -> Counts:
    """Count one annotation's frames under every candidate, (C, 8, 9)."""
    smoothed = (smooth_labels(pair.track, candidate) for candidate in candidates[1:])
    return np.stack(
        [
            count_confusion(pair.annotation, labels[pair.rows])
            for labels in (pair.track.labels, *smoothed)
        ]
    )


def choose_by_folds(counts: Counts, fold_of: Folds) -> tuple[list[FoldChoice], float]:
    """Score each fold's videos with the best candidate of the others; also return the macro-F1.

    `counts` (C, V, 8, 9) has the videos in the order of `fold_of`. Of equally good candidates, the
    first is chosen.
    """
    names, folds = np.array(list(fold_of)), np.array(list(fold_of.values()))
    choices, pooled = [], np.zeros(counts.shape[2:], np.int64)
    for fold in sorted(set(folds.tolist())):
        held = folds == fold
        chosen = int(find_macro_f1(counts[:, ~held].sum(axis=1)).argmax())
        mine = counts[:, held].sum(axis=1)  # (C, 8, 9)
        pooled += mine[chosen]
        raw, score = find_macro_f1(mine[[AS_PREDICTED, chosen]]).tolist()
        choices.append(
            FoldChoice(
                fold=fold,
                videos=names[held].tolist(),
                chosen=chosen,
                as_predicted=raw,
                macro_f1=score,
            )
        )
    return choices, float(find_macro_f1(pooled))


def _pair_up(
    predictions: Iterable[str | Path],
    annotations: Iterable[str | Path],
    failed: dict[str, str],
) -> dict[str, Pair]:
    """Read and match all files; add those that fail or have no probabilities to `failed`."""
    pairs = pair_tracks(
        gather_truth(annotations, failed), gather_tracks(predictions, failed), failed
    )
    for name in [name for name, pair in pairs.items() if pair.track.probabilities is None]:
        failed[name] = f"{name}: its predictions are labels alone; a sweep needs a prediction table"
        del pairs[name]
    if not pairs:
        raise InputError(summarise_failures(failed))
    return pairs


def _make_folds(pairs: Mapping[str, Pair], count: int) -> Folds:
    labels = [pair.annotation for pair in pairs.values()]
    sources = {split_side(n)[0] for n, pair in pairs.items() if (pair.annotation != IGNORE).any()}
    if len(sources) < 2:
        raise InputError(
            f"a sweep needs 2 or more annotated source videos, not {len(sources)}: "
            "what is chosen on one is scored on another"
        )
    return make_folds(list(pairs), labels, min(count, len(sources)))


def find_smoothed(predictions: Iterable[str | Path]) -> list[Path]:
    """Return the prediction files that are smoothed already, by their provenance."""
    made = {path: read_provenance(path) for path in map(Path, predictions)}
    return [
        path
        for path, provenance in made.items()
        if provenance.get("command") == "smooth"
        or (
            provenance.get("command") == "predict"
            and (provenance.get("settings") or {}).get("smoothing")
        )
    ]


def sweep_files(
    predictions: Collection[str | Path],
    annotations: Collection[str | Path],
    config: Sweeping | None = None,
    progress: Progress = ignore_progress,
) -> Sweep:
    """Compare smoothings of prediction tables by their macro-F1 against annotation files.

    Files that cannot be read, annotations without predictions, and predictions without
    probabilities are named in `failed`; the others are swept.

    Raises:
        InputError: nothing can be swept, or the annotations belong to fewer than 2 source videos.
        UsageError: too few annotated frames for folds.
    """
    config = config or Sweeping()
    failed: dict[str, str] = {}
    pairs = _pair_up(predictions, annotations, failed)
    fold_of = _make_folds(pairs, config.folds)
    if smoothed := find_smoothed(predictions):
        LOG.warning(
            "%d of %d prediction files are smoothed already (%s); make them anew with "
            "`abaw predict --no-smooth`", len(smoothed), len(predictions), smoothed[0],
        )  # fmt: skip
    candidates = list_candidates(config.windows)
    parts = []
    for done, (name, pair) in enumerate(pairs.items()):
        progress(done, len(pairs), name)
        parts.append(count_pair(pair, candidates))
    counts = np.stack(parts, axis=1)  # (C, V, 8, 9)
    macro_f1 = find_macro_f1(counts.sum(axis=1))
    folds, cross_validated = choose_by_folds(counts, fold_of)
    best = candidates[int(macro_f1.argmax())]
    progress(len(pairs), len(pairs), "class biases")
    bias = tune_bias([*pairs.values()], best)
    held_out = [_count_held_out(pairs, choice, candidates) for choice in folds]
    return Sweep(
        candidates=candidates,
        macro_f1=macro_f1,
        best=int(macro_f1.argmax()),
        cross_validated=cross_validated,
        folds=folds,
        videos=list(pairs),
        frames=int(counts[AS_PREDICTED].sum()),
        failed=failed,
        bias=bias,
        biased_macro_f1=float(find_macro_f1(count_biased([*pairs.values()], best, bias))),
        biased_cross_validated=float(find_macro_f1(np.sum(held_out, axis=0))),
    )


def _count_held_out(
    pairs: Mapping[str, Pair], choice: FoldChoice, candidates: Sequence[Smoothing]
) -> Counts:
    """Count a fold's frames with the smoothing and the class biases of the others, (8, 9)."""
    held = [pairs[name] for name in choice.videos]
    others = [pair for name, pair in pairs.items() if name not in choice.videos]
    smoothing = candidates[choice.chosen]
    return count_biased(held, smoothing, tune_bias(others, smoothing))


def sweep_paths(
    predictions: str | Path,
    annotations: str | Path,
    outputs: Mapping[Path, SweepWriter],
    *,
    config: Sweeping | None = None,
    overwrite: bool = False,
    progress: Progress = ignore_progress,
) -> Sweep:
    """Sweep files, folders or globs, and write `outputs`: paths with the functions that write them.

    Raises:
        InputError, UsageError: as `sweep_files`.
        UsageError: an output is an input.
        OutputError: an output exists and may not be replaced, or cannot be written.
    """
    config = config or Sweeping()
    settings = {"sweep": asdict(config)}
    work = describe_work("score", [Path(predictions), Path(annotations)], settings)
    predicted = expand_inputs([str(predictions)], LABEL_SUFFIXES)
    annotated = expand_inputs([str(annotations)], ANNOTATION_SUFFIXES)
    check_results(outputs, [*predicted, *annotated], work, overwrite)
    sweep = sweep_files(predicted, annotated, config, progress)
    for path, write in outputs.items():
        write(sweep, path, work)
    return sweep


def write_sweep(sweep: Sweep, predictions: str, path: str | Path, work: Provenance) -> None:
    """Write a sweep of `predictions`, as the user named them, as JSON with its provenance.

    Raises:
        OutputError: it cannot be written.
    """
    with write_result(path, work) as temporary:
        temporary.write_text(json.dumps(describe_sweep(sweep, predictions), indent=2) + "\n")


def write_command(
    predictions: str, smoothing: Smoothing, bias: tuple[float, ...] | None = None
) -> str:
    """Return the command line that smooths `predictions`, as the user named them.

    The output is beside a file or folder, as `smooth` requires, and is the folder `smoothed` for a
    glob or a list.
    """
    path = Path(predictions)
    if os.path.isdir(path):
        full = path if path.name not in ("", "..") else Path(os.path.abspath(path))
        output = full.parent / f"{full.name}-smoothed"
    elif os.path.exists(path):
        output = path.with_stem(path.stem + "-smoothed")
    else:
        output = Path("smoothed")
    # A name that begins with a dash would be an option.
    given, made = (f"./{n}" if n.startswith("-") else n for n in (predictions, str(output)))
    return (
        f"abaw smooth {shlex.quote(given)} -o {shlex.quote(made)} --smoothing {smoothing.method} "
        f"--window {smoothing.window_frames} --space {smoothing.space}"
        + (f" --bias {','.join(f'{b:g}' for b in bias)}" if bias else "")
    )


def describe_sweep(sweep: Sweep, predictions: str) -> JsonObject:
    """Return a sweep as JSON; `command` is None if no smoothing is better than none."""

    def describe(index: int) -> JsonObject:
        one = sweep.candidates[index]
        return {"method": one.method, "window_frames": one.window_frames, "space": one.space}

    scores = sweep.macro_f1.tolist()
    return {
        "as_predicted": scores[AS_PREDICTED],
        "cross_validated": sweep.cross_validated,
        "best": describe(sweep.best) | {"macro_f1": scores[sweep.best]},
        "command": write_command(predictions, sweep.candidates[sweep.best])
        if sweep.best != AS_PREDICTED
        else None,
        "bias": {
            "values": dict(zip(CLASSES, sweep.bias, strict=True)),
            "macro_f1": sweep.biased_macro_f1,
            "cross_validated": sweep.biased_cross_validated,
            "command": write_command(predictions, sweep.candidates[sweep.best], sweep.bias),
        },
        "candidates": [describe(k) | {"macro_f1": score} for k, score in enumerate(scores)],
        "folds": [
            {
                "fold": choice.fold,
                "videos": choice.videos,
                "chosen": describe(choice.chosen),
                "as_predicted": choice.as_predicted,
                "macro_f1": choice.macro_f1,
            }
            for choice in sweep.folds
        ],
        "videos": sweep.videos,
        "frames": sweep.frames,
        "failed": sweep.failed,
    }
