"""Weights for the fusion of predictions, found on annotated videos, and their cross-validated gain.

Weights are found by coordinate ascent of the macro-F1 from equal weights: one member at a time
gets the ratio with the best score. The gain is cross-validated: the videos of each fold are
predicted with the weights of the other folds, and the macro-F1 is over all of them. Tracks of one
source video are in one fold. If that is not above the macro-F1 of equal weights, these are chosen.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawcli.config import Weighting
from abawcli.datasets.folds import make_folds
from abawcli.datasets.pairing import gather_tracks, gather_truth, pair_tracks, summarise_failures
from abawcli.errors import InputError
from abawcli.formats.abaw import Labels, split_side
from abawcli.formats.inputs import warn_left_out
from abawcli.formats.json_values import JsonObject
from abawcli.fusion import average_outputs
from abawcli.labels import IGNORE
from abawcli.metrics import Counts, choose_labels, count_confusion, find_macro_f1

LOG = logging.getLogger(__name__)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class FusedTrack:
    """The annotated frames of one video, with the probabilities of each member."""

    members: Array  # (K, R, 8) NaN: not predicted
    labels: Labels  # (R,) 0 to 7


@dataclass(frozen=True)
class ChosenWeights:
    """Weights of K members, and macro-F1 on the annotated frames."""

    weights: tuple[float, ...]  # (K,) positive
    tuned: tuple[float, ...]  # (K,) the best on all videos, whether chosen or not
    equal: float  # of equal weights
    singles: tuple[float, ...]  # (K,) of each member alone
    cross_validated: float  # of each fold's videos with the weights of the other folds
    best: float  # of `tuned`, on the videos that they were tuned on
    folds: int
    videos: int
    frames: int

    @property
    def gain(self) -> float:
        """The cross-validated gain over equal weights."""
        return self.cross_validated - self.equal

    def describe(self) -> JsonObject:
        """Return it as JSON, for provenance."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}


def read_fused_tracks(
    members: Sequence[Mapping[Path, Path] | Iterable[str | Path]],
    annotations: Iterable[str | Path],
) -> dict[str, FusedTrack]:
    """Read the prediction tables of each member, and the annotations of videos that all predict.

    Annotations without predictions of every member are left out, with a warning.

    Raises:
        InputError: no annotation is left, or a file of predictions has no probabilities.
    """
    failed: dict[str, str] = {}
    predicted = [gather_tracks(files, failed) for files in members]  # first, for their task
    truth = gather_truth(annotations, failed)
    paired = [pair_tracks(truth, tracks, failed) for tracks in predicted]
    names = [name for name in truth if all(name in pairs for pairs in paired)]
    if not names:
        raise InputError(summarise_failures(failed) if failed else "there is no annotation")
    warn_left_out("annotations have no predictions in all inputs", sorted(set(truth) - set(names)))
    tracks = {}
    for name in names:
        pairs = [pairs[name] for pairs in paired]
        rows = pairs[0].annotation != IGNORE
        tables = []
        for pair in pairs:
            if pair.track.probabilities is None or len(pair.annotation) != len(rows):
                raise InputError(f"{name}: weights need prediction tables of the same frames")
            tables.append(pair.track.probabilities[pair.rows[rows]])
        tracks[name] = FusedTrack(np.stack(tables), pairs[0].annotation[rows])
    return tracks


def choose_weights(
    tracks: Mapping[str, FusedTrack], config: Weighting | None = None
) -> ChosenWeights:
    """Find weights on annotated videos, and score them by cross-validation.

    Raises:
        InputError: the annotated frames belong to fewer than 2 source videos.
        UsageError: too few annotated frames for folds.
    """
    config = config or Weighting()
    sources = {split_side(name)[0] for name, track in tracks.items() if len(track.labels)}
    if len(sources) < 2:
        raise InputError(
            f"weights are found on 2 or more annotated source videos, not {len(sources)}: what is "
            "chosen on one is scored on another"
        )
    labels = [track.labels for track in tracks.values()]
    fold_of = make_folds(list(tracks), labels, min(config.folds, len(sources)))
    whole = _concatenate([*tracks.values()])
    pooled = np.sum(
        [_count_fold(tracks, fold_of, fold, config) for fold in sorted(set(fold_of.values()))],
        axis=0,
    )
    count = len(whole.members)
    tuned, equal = tune_weights(whole, config), _score(whole, np.ones(count))
    honest = float(find_macro_f1(pooled))
    return ChosenWeights(
        weights=tuple(tuned.tolist()) if honest > equal else (1.0,) * count,
        tuned=tuple(tuned.tolist()),
        equal=equal,
        singles=tuple(_score(FusedTrack(one[None], whole.labels), np.ones(1))
                      for one in whole.members),
        cross_validated=honest,
        best=_score(whole, tuned),
        folds=len(set(fold_of.values())),
        videos=len(tracks),
        frames=len(whole.labels),
    )  # fmt: skip


def tune_weights(track: FusedTrack, config: Weighting) -> Array:
    """Return the weights (K,) with the best macro-F1; of equally good ones, the most even."""
    p = np.nan_to_num(track.members)  # (K, N, 8); a member without a prediction adds nothing
    known = ~np.isnan(track.members[..., 0]).all(axis=0)  # (N,)
    weights = np.ones(len(p))
    ratios = np.array(sorted(config.ratios, key=lambda ratio: abs(np.log(ratio))))
    for _ in range(config.rounds):
        before = weights.copy()
        for k in range(len(p)):
            others = np.einsum("k,knc->nc", np.where(np.arange(len(p)) == k, 0, weights), p)
            counts = [
                count_confusion(
                    track.labels, np.where(known, (others + r * p[k]).argmax(axis=1), IGNORE)
                )
                for r in ratios
            ]
            weights[k] = ratios[find_macro_f1(np.stack(counts)).argmax()]
        if (weights == before).all():
            break
    return weights


def _count_fold(
    tracks: Mapping[str, FusedTrack], fold_of: Mapping[str, int], fold: int, config: Weighting
) -> Counts:
    """Count the frames of a fold with the weights of the others, (8, 9)."""
    held, others = (
        _concatenate([track for name, track in tracks.items() if (fold_of[name] == fold) == mine])
        for mine in (True, False)
    )
    return _count(held, tune_weights(others, config))


def _concatenate(tracks: Sequence[FusedTrack]) -> FusedTrack:
    return FusedTrack(
        np.concatenate([track.members for track in tracks], axis=1),
        np.concatenate([track.labels for track in tracks]),
    )


def _count(track: FusedTrack, weights: Array) -> Counts:
    fused = average_outputs([*track.members], weights.tolist())
    return count_confusion(track.labels, choose_labels(fused))


def _score(track: FusedTrack, weights: Array) -> float:
    return float(find_macro_f1(_count(track, weights)))
