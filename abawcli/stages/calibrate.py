"""Stage calibrate: calibration of a head or a face encoder on examples it was not trained on.

Figures are cross-validated: each example is calibrated with the parameters of the other folds, and
all frames of one source video are in one fold. The written calibration is fitted on all examples.
"""

import itertools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawcli.config import BIAS_CHOICES, CALIBRATION
from abawcli.errors import InputError, UsageError
from abawcli.formats.feature_sets import FeaturePaths, list_feature_paths
from abawcli.formats.json_values import JsonObject
from abawcli.formats.provenance import Provenance, describe_work, find_finished, write_result
from abawcli.formats.summary import Summary, keep_warnings, note_summary
from abawcli.labels import CLASSES, N_CLASSES, NEUTRAL
from abawcli.logits import log_softmax
from abawcli.models.calibration import calibrate_logits, calibrate_out_of_fold, fit_calibration
from abawcli.models.checkpoint import (
    load_checkpoint,
    read_kind,
    read_metadata,
    write_tensors,
)
from abawcli.models.metadata import NO_CALIBRATION, Calibration, FaceEncoderMetadata, HeadMetadata
from abawcli.models.recipes import RECIPES
from abawcli.progress import Progress, ignore_progress
from abawcli.reliability import Quality, measure_quality
from abawcli.training.labelled_logits import (
    LabelledLogits,
    read_labelled_faces,
    read_labelled_frames,
)

LOG = logging.getLogger(__name__)
SUFFIX = ".safetensors"
Logits = NDArray[np.float64]


@dataclass(frozen=True)
class CalibrateSummary(Summary):
    """The summary of a calibration. `before` and `after` are each a `reliability.Quality`."""

    examples: int  # that the calibration was fitted on
    groups: int  # source videos, or images
    left_out: int  # frames that an encoder's classifier in the head's file labels
    temperature: float
    bias: list[float]
    before: JsonObject
    after: JsonObject


@dataclass(frozen=True)
class CalibrationChoice:
    """The settings of a calibration."""

    biases: str = BIAS_CHOICES[0]
    temperature: float | None = None  # this one, without biases; None: the best one


@dataclass(frozen=True)
class Fitted:
    """A calibration, and its cross-validated quality."""

    calibration: Calibration
    quality: Quality


def find_checkpoint(name: str | Path) -> tuple[Path, str]:
    """Return the file of a recipe's head or encoder, or of a checkpoint; and its kind.

    Raises:
        CheckpointError: the file is missing, or is not a checkpoint.
        UsageError: it is neither a head nor a face encoder.
    """
    path = Path(RECIPES.get(str(name), name))
    kind = read_kind(path)
    if kind not in (HeadMetadata.kind, FaceEncoderMetadata.kind):
        raise UsageError(
            f"{path} holds {kind!r} weights; heads and face encoders can be calibrated"
        )
    return path, kind


def calibrate_head(
    checkpoint: str | Path,
    features: Sequence[str | Path | FeaturePaths],
    annotations: Iterable[str | Path],
    output: str | Path,
    *,
    choice: CalibrationChoice | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> Provenance:
    """Write a head with a calibration that is fitted on feature files and annotations.

    Frames that an encoder's classifier in the head's file labels are left out: their probabilities
    do not change. Finished work is kept. Returns the provenance, whose `summary` is that of
    `CalibrateSummary`.

    Raises:
        CheckpointError, InputError, UsageError: as `read_labelled_frames`, or as `fit`.
        OutputError: the output exists and may not be replaced, or cannot be written.
    """
    path, _ = find_checkpoint(checkpoint)
    choice, output = choice or CalibrationChoice(), Path(output)
    work = _describe(path, _list_files(features, annotations), output, choice, settings={})
    if finished := find_finished(output, work, overwrite):
        return finished
    with keep_warnings(work):
        metadata = read_metadata(path, HeadMetadata)
        found = read_labelled_frames(path, features, annotations, device)
        return _calibrate(path, metadata, found, choice, output=output, work=work)


def _list_files(
    features: Sequence[str | Path | FeaturePaths], annotations: Iterable[str | Path]
) -> list[str | Path]:
    return [*itertools.chain.from_iterable(map(list_feature_paths, features)), *annotations]


def calibrate_encoder(
    checkpoint: str | Path,
    images: str | Path,
    manifest: str | Path,
    output: str | Path,
    *,
    choice: CalibrationChoice | None = None,
    split: str = "valid",
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = ignore_progress,
) -> Provenance:
    """Write a face encoder with a calibration that is fitted on the images of a manifest.

    Heads and features identify an encoder by its hash, so the new file is another encoder:
    calibrate first, then extract features and train heads. Otherwise as `calibrate_head`.

    Raises:
        CheckpointError, InputError, UsageError: as `read_labelled_faces`, or as `fit`.
        OutputError: the output exists and may not be replaced, or cannot be written.
    """
    path, _ = find_checkpoint(checkpoint)
    choice, output = choice or CalibrationChoice(), Path(output)
    work = _describe(path, [manifest], output, choice, settings={"split": split})
    if finished := find_finished(output, work, overwrite):
        return finished
    with keep_warnings(work):
        metadata = read_metadata(path, FaceEncoderMetadata)
        found = read_labelled_faces(path, images, manifest, split, device=device, progress=progress)
        return _calibrate(path, metadata, found, choice, output=output, work=work)


def _describe(
    path: Path,
    files: Sequence[str | Path],
    output: Path,
    choice: CalibrationChoice,
    *,
    settings: JsonObject,
) -> Provenance:
    """Return the provenance of a calibration that is about to be made."""
    if output.suffix.lower() != SUFFIX:
        raise UsageError(f"{output} is no name of a checkpoint; it must end in {SUFFIX}")
    return describe_work("calibrate", [path, *files], asdict(choice) | settings)


def _calibrate(
    path: Path,
    metadata: HeadMetadata | FaceEncoderMetadata,
    found: LabelledLogits,
    choice: CalibrationChoice,
    *,
    output: Path,
    work: Provenance,
) -> Provenance:
    """Fit the calibration, and write the checkpoint with it; return the provenance."""
    own = found.select(found.own)
    fitted = fit(own, choice)
    summary = CalibrateSummary(
        examples=len(own.labels),
        groups=len(np.unique(own.groups)),
        left_out=int((~found.own).sum()),
        temperature=fitted.calibration.temperature,
        bias=list(fitted.calibration.bias),
        before=asdict(measure_quality(own.logits, own.labels, own.groups)),
        after=asdict(fitted.quality),
    )
    note_summary(work, summary)
    before = metadata.calibration or NO_CALIBRATION
    changed = replace(
        metadata,
        calibration=before.then(fitted.calibration),
        neutral=find_neutral(found, fitted.calibration),
    )
    tensors, _ = load_checkpoint(path, type(metadata))
    with write_result(output, work) as temporary:
        write_tensors(temporary, tensors, changed)
    return work


def fit(found: LabelledLogits, choice: CalibrationChoice) -> Fitted:
    """Fit a calibration.

    Biases are left out by `auto` if a class has no example, or if they make the log loss, accuracy
    or macro-F1 of held-out examples worse.

    Raises:
        InputError: there are too few examples; or biases are asked for and a class has none.
    """
    if len(found.labels) < CALIBRATION.least_examples:
        raise InputError(
            f"{len(found.labels)} labelled examples are too few to calibrate on; "
            f"{CALIBRATION.least_examples} or more are needed"
        )
    if choice.temperature is not None:
        given = Calibration(choice.temperature, NO_CALIBRATION.bias)
        return _judge(found, given, calibrate_logits(found.logits, given))
    counts = np.bincount(found.labels, minlength=N_CLASSES)
    absent = ", ".join(CLASSES[k] for k in np.flatnonzero(counts == 0))
    if choice.biases == "yes" and absent:
        raise InputError(
            f"no example of {absent}: a bias needs some of each class; use --biases no"
        )
    if choice.biases == "auto" and absent:
        LOG.warning("no example of %s: the temperature alone is fitted", absent)
    if choice.biases == "no" or absent:
        return _fit_one(found, biases=False)
    both = _fit_one(found, biases=True)
    return both if choice.biases == "yes" else _choose(_fit_one(found, biases=False), both)


def _fit_one(found: LabelledLogits, *, biases: bool) -> Fitted:
    x, y = found.logits, found.labels
    held_out = calibrate_out_of_fold(x, y, found.folds, biases=biases)
    return _judge(found, fit_calibration(x, y, biases=biases), held_out)


def _judge(found: LabelledLogits, calibration: Calibration, logits: Logits) -> Fitted:
    return Fitted(calibration, measure_quality(logits, found.labels, found.groups))


def _choose(plain: Fitted, biased: Fitted) -> Fitted:
    """Return the fit with biases, unless they make a score worse."""
    a, b = plain.quality, biased.quality
    costs = (
        b.log_loss.value > a.log_loss.value
        or b.accuracy.value < a.accuracy.value
        or b.macro_f1.value < a.macro_f1.value
    )
    return plain if costs else biased


def find_neutral(found: LabelledLogits, calibration: Calibration) -> tuple[float, ...] | None:
    """Return the mean calibrated log-probabilities (8,) of Neutral faces; None without any."""
    neutral = found.faces & (found.labels == NEUTRAL)
    if not neutral.any():
        return None
    calibrated = calibrate_logits(found.logits, calibration)
    logits = np.where(found.own[:, None], calibrated, found.logits)[neutral]
    return tuple(log_softmax(logits).mean(axis=0).tolist())
