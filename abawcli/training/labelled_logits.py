"""Logits of a head or a face encoder on labelled examples, the data of a calibration."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawcli.config import CALIBRATION, ENCODER, EXPR
from abawcli.datasets.annotated import AnnotatedFeatures, read_annotated
from abawcli.datasets.folds import make_folds
from abawcli.device import choose_device
from abawcli.errors import InputError, UsageError
from abawcli.formats.abaw import split_side
from abawcli.formats.feature_sets import FeaturePaths
from abawcli.formats.manifest import read_labelled_images
from abawcli.labels import IGNORE
from abawcli.logits import restore_logits
from abawcli.models.calibration import draw_folds
from abawcli.models.encoder import load_encoder
from abawcli.models.heads import check_features, load_head
from abawcli.progress import Progress, ignore_progress
from abawcli.training.image_data import ImageDataset

BATCH = 64  # images


@dataclass(frozen=True)
class LabelledLogits:
    """The logits of N labelled frames or images, from the checkpoint without a new calibration."""

    logits: NDArray[np.float64]  # (N, 8)
    labels: NDArray[np.int64]  # (N,) 0 to 7
    groups: NDArray[np.int64]  # (N,) number of the source video, or of the image
    folds: NDArray[np.int64]  # (N,) of which each has whole groups
    own: NDArray[np.bool_]  # (N,) False: an encoder's classifier beside the head gave them
    faces: NDArray[np.bool_]  # (N,) there is a face

    def select(self, rows: NDArray[np.bool_]) -> "LabelledLogits":
        """Return some of the examples, given by a mask (N,)."""
        return LabelledLogits(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def read_labelled_frames(
    checkpoint: str | Path,
    features: Sequence[str | Path | FeaturePaths],
    annotations: Iterable[str | Path],
    device: str = "auto",
) -> LabelledLogits:
    """Return the logits of a head on the annotated frames of feature files.

    Raises:
        CheckpointError: the head cannot be loaded.
        InputError: as `read_annotated`, or no annotated frame has features that the head uses.
        UsageError: the device is unknown, all frames belong to one source video, or the head has
            another task.
    """
    head, metadata = load_head(checkpoint, choose_device(device))
    if metadata.task != EXPR:
        raise UsageError(
            f"{checkpoint} is of --task {metadata.task}; only heads of expressions are calibrated"
        )
    data = read_annotated(features, annotations)
    check_features(metadata, data.backbones, "the features")
    outputs = [
        head.find_outputs(data.visual[r], data.audio[r], data.has_visual[r], data.has_audio[r])[0]
        for _, r in data.videos()
    ]
    logits = restore_logits(np.concatenate(outputs))
    own = np.ones(len(logits), bool)
    if metadata.face_only == ENCODER:
        own &= ~data.has_visual | data.has_audio
    if metadata.speech_only == ENCODER:
        own &= data.has_visual | ~data.has_audio
    groups, folds = _split_videos(data)
    kept = (data.labels != IGNORE) & ~np.isnan(logits[:, 0])
    if not kept.any():
        raise InputError("no annotated frame has a face or speech that the head reads")
    found = LabelledLogits(
        logits=logits,
        labels=data.labels,
        groups=groups,
        folds=folds,
        own=own,
        faces=data.has_visual,
    )
    return found.select(kept)


def _split_videos(data: AnnotatedFeatures) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of the source video and the fold of each row, (N,)."""
    slices = [rows for _, rows in data.videos()]
    labels = [data.labels[rows] for rows in slices]
    sources = [split_side(name)[0] for name in data.names]
    annotated = [s for s, part in zip(sources, labels, strict=True) if (part != IGNORE).any()]
    count = min(CALIBRATION.folds, len(set(annotated)))
    if count < 2:
        raise UsageError(
            f"calibration needs two annotated source videos or more, and there is {annotated[0]}"
        )
    fold_of = make_folds(data.names, labels, count)
    number = {source: k for k, source in enumerate(dict.fromkeys(sources))}
    lengths = [rows.stop - rows.start for rows in slices]
    return (
        np.repeat([number[source] for source in sources], lengths),
        np.repeat([fold_of[name] for name in data.names], lengths),
    )


def read_labelled_faces(
    checkpoint: str | Path,
    images: str | Path,
    manifest: str | Path,
    split: str = "valid",
    *,
    device: str = "auto",
    progress: Progress = ignore_progress,
) -> LabelledLogits:
    """Return the logits of a face encoder on the labelled images of a manifest.

    Raises:
        CheckpointError: the encoder cannot be loaded.
        InputError: as `read_labelled_images`, or an image cannot be read.
        UsageError: the device is unknown.
    """
    chosen = choose_device(device)
    encoder, _ = load_encoder(checkpoint, chosen)
    faces = read_labelled_images(manifest, images, split)
    dataset, count, parts = ImageDataset(faces, encoder.preprocess, chosen), len(faces.files), []
    for start in range(0, count, BATCH):
        end = min(start + BATCH, count)
        crops = np.stack([dataset[k][0].numpy() for k in range(start, end)])
        parts.append(encoder.find_logits(crops[:, None]))
        progress(end, count, "")
    everything = np.ones(count, bool)
    number = np.arange(count)
    return LabelledLogits(
        np.concatenate(parts).astype(np.float64),
        faces.labels,
        number,
        draw_folds(count),
        own=everything,
        faces=everything,
    )
