"""A person's baseline: the offset of the logits in their neutral frames, subtracted from all rows.

A resting face may look like a smile or like anger. A person's offset is the mean log-probabilities
of their neutral frames, minus the model's mean log-probabilities of neutral faces. Offsets sum to 0
over the classes, as softmax ignores a common one. For a linear classifier, this equals subtracting
the difference of the mean features from the features.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import BASELINE_FRAMES, BASELINE_SHARE
from abawcli.errors import InputError
from abawcli.formats.baseline import NeutralFrames
from abawcli.formats.json_values import JsonObject
from abawcli.formats.table_schemas import LOGITS
from abawcli.formats.tables import set_probabilities
from abawcli.labels import NEUTRAL
from abawcli.logits import log_softmax, softmax
from abawcli.sources import AUDIO, NONE, has_face

LOG = logging.getLogger(__name__)
Logits = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Baseline:
    """The neutral frames: a part of each video, those of a file, or, without both, auto.

    auto: the tenth of a person's frames with a face that has the highest probability of Neutral, at
    least 25. If these are as neutral as the model's mean for neutral faces, nothing is subtracted.
    """

    span_s: tuple[float, float] | None = None  # first time, and time to end before
    frames: NeutralFrames | None = None

    def describe(self) -> JsonObject | list[float] | str:
        """Return it as JSON, for provenance."""
        if self.frames:
            return self.frames.describe()
        return list(self.span_s) if self.span_s else "auto"

    def check_recipe(self, settings: JsonObject) -> None:
        """Check that the baseline belongs to the recipe with these settings.

        Raises:
            InputError: it comes from a prediction table of another recipe.
        """
        if self.frames:
            self.frames.check_recipe(settings)


def remove_baseline(
    table: pd.DataFrame, baseline: Baseline, neutral: Sequence[float] | Logits, name: str
) -> pd.DataFrame:
    """Return a table with logits, not smoothed, in which each subject's baseline is removed.

    Rows based on audio alone are not changed. Subjects without a face in their neutral frames are
    not changed either, with a warning.

    Args:
        table: as predicted, with logits.
        baseline: which frames are neutral.
        neutral: (8,) mean log-probabilities of the model for neutral faces.
        name: of the input, for messages.

    Raises:
        InputError: there are faces, and none in a neutral frame.
    """
    logits = table[LOGITS].to_numpy(np.float64, copy=True)  # (N, 8)
    source = table["source"].to_numpy(str)
    face, not_audio = has_face(source), ~np.isin(source, (AUDIO, NONE))
    without = []
    for subject, rows in _split_subjects(table):
        own = rows[face[rows]]
        own_neutral = _find_neutral(table.iloc[own], logits[own], baseline)
        if own_neutral is None:
            without.append(subject)
            continue
        offset = own_neutral - np.asarray(neutral)
        if baseline == Baseline() and offset[NEUTRAL] >= 0:
            continue
        logits[rows[not_audio[rows]]] -= offset - offset.mean()
    if face.any() and len(without) == table["subject"].nunique():
        raise InputError(
            f"{name}: no face in the neutral frames of --baseline; choose other frames"
        )
    for subject in without:
        LOG.warning("%s, subject %s: no face in neutral frames; it has no baseline", name, subject)
    return set_probabilities(table, softmax(logits), source, logits)


def _split_subjects(table: pd.DataFrame) -> Iterator[tuple[str, Ints]]:
    for subject, rows in table.groupby("subject", sort=False).indices.items():
        yield str(subject), np.asarray(rows, np.int64)


def _find_neutral(faces: pd.DataFrame, logits: Logits, baseline: Baseline) -> Logits | None:
    """Return the mean log-probabilities (8,) of a subject's neutral frames; None if there are none.

    `faces` are the subject's rows with a face, `logits` (F, 8) their logits.
    """
    if baseline.frames and baseline.frames.neutral is not None:
        return np.asarray(baseline.frames.neutral)
    log_p = log_softmax(logits)
    if baseline.frames:
        chosen = baseline.frames.find_rows(faces)
    elif baseline.span_s:
        start, end = baseline.span_s
        chosen = faces["time_s"].between(start, end, inclusive="left").to_numpy()
    else:
        count = max(BASELINE_FRAMES, round(BASELINE_SHARE * len(log_p)))
        least = np.sort(log_p[:, NEUTRAL])[-count:].min(initial=np.inf)
        chosen = log_p[:, NEUTRAL] >= least
    found: Logits = log_p[chosen]
    return found.mean(axis=0) if len(found) else None
