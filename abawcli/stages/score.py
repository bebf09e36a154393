"""Score predictions against annotations, all videos pooled."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.errors import InputError
from abawcli.formats.tracks import (
    Pair,
    gather_tracks,
    gather_truth,
    pair_tracks,
    summarise_failures,
)
from abawcli.labels import CLASSES, IGNORE
from abawcli.metrics import Score, score_labels


@dataclass(frozen=True)
class Scoring:
    """What `score_files` found."""

    overall: Score
    with_face: Score | None  # frames with a face only; None where the predictions do not say
    unlabelled: int  # annotated frames with prediction -1
    videos: list[str]  # annotations that were scored
    failed: dict[str, str]  # file or annotation -> why it could not be scored


def _find_faces(pairs: Iterable[Pair]) -> NDArray[np.bool_] | None:
    """Return for every row of all annotations whether a face was seen; None: not known."""
    seen = [None if pair.track.found is None else pair.track.found[pair.rows] for pair in pairs]
    known = [found for found in seen if found is not None]
    return np.concatenate(known) if len(known) == len(seen) else None


def score_files(predictions: Iterable[Path], annotations: Iterable[Path]) -> Scoring:
    """Score prediction files against annotation files, in any form that `formats.tracks` reads.

    Files that cannot be read and annotations without predictions are named in `failed`; the
    others are scored.

    Raises:
        InputError: nothing can be scored.
    """
    failed: dict[str, str] = {}
    tracks = gather_tracks(predictions, failed)
    truth = gather_truth(annotations, failed)
    pairs = pair_tracks(truth, tracks, failed)
    if not pairs:
        raise InputError(summarise_failures(failed))
    y = np.concatenate([pair.annotation for pair in pairs.values()])
    p = np.concatenate([pair.track.labels[pair.rows] for pair in pairs.values()])
    seen = _find_faces(pairs.values())
    faces = seen is not None and bool((y[seen] != IGNORE).any())
    return Scoring(
        overall=score_labels(y, p),
        with_face=score_labels(y[seen], p[seen]) if faces else None,
        unlabelled=int(((y != IGNORE) & (p == IGNORE)).sum()),
        videos=list(pairs),
        failed=failed,
    )


def describe_scoring(scoring: Scoring) -> dict[str, Any]:
    """Return a score as JSON: overall figures, per class, and the confusion matrix by rows."""
    overall, with_face = scoring.overall, scoring.with_face
    return {
        "macro_f1": overall.macro_f1,
        "accuracy": overall.accuracy,
        "frames": overall.frames,
        "unlabelled_frames": scoring.unlabelled,
        "with_face": with_face
        and {
            "macro_f1": with_face.macro_f1,
            "accuracy": with_face.accuracy,
            "frames": with_face.frames,
        },
        "classes": {
            name: {
                "precision": float(overall.precision[k]),
                "recall": float(overall.recall[k]),
                "f1": float(overall.f1[k]),
                "support": int(overall.support[k]),
            }
            for k, name in enumerate(CLASSES)
        },
        "confusion": overall.confusion.tolist(),
        "videos": scoring.videos,
        "failed": scoring.failed,
    }
