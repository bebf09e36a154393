"""The training task of heads, on single frames or windows of frames of annotated videos.

Modality dropout and the audio swap change the samples (`window_samples`).
"""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from abawcli import __version__
from abawcli.config import ENCODER, EXPR, HeadTraining
from abawcli.datasets.annotated import VideoSet
from abawcli.errors import InputError, UsageError
from abawcli.formats.json_values import JsonObject
from abawcli.labels import N_CLASSES
from abawcli.models.classifier import EncoderClassifier, SpeechClassifier
from abawcli.models.encoder import load_own_classifier
from abawcli.models.heads import (
    HEADS,
    Head,
    TrainedHead,
    WithEncoders,
    add_encoders,
    build_head,
    narrow_head,
    save_head,
)
from abawcli.models.metadata import HeadMetadata
from abawcli.models.normalise import ModalityNorm, Moments
from abawcli.models.output_forms import OUTPUT_FORMS
from abawcli.models.precision import choose_training_precision
from abawcli.models.speech_classifier import load_speech_classifier
from abawcli.models.training_metadata import (
    EpochResult,
    TrainingMetadata,
    Validation,
    ValueValidation,
)
from abawcli.progress import Progress
from abawcli.training.distributed import Part
from abawcli.training.loop import Batches, TrainingLoop, cast, start_accelerator
from abawcli.training.objectives import OBJECTIVES, Objective
from abawcli.training.schedule import Schedule
from abawcli.training.window_samples import WindowSamples, drop_modalities, swap_audio

LOG = logging.getLogger(__name__)
HEAD_NAME = "head.safetensors"
PROBE_FRAMES = 256  # of training data, on which number formats are compared
Batch = Tensor  # numbers of windows (B,)


class HeadTask:
    """A head with its training and validation videos.

    Without validation videos, the head of the last epoch is saved.
    """

    def __init__(
        self,
        name: str,
        config: HeadTraining,
        *,
        train: VideoSet,
        valid: VideoSet | None,
        device: torch.device,
        result_name: str = HEAD_NAME,
    ) -> None:
        """Build the head, which normalises features by the mean and deviation of training videos.

        The loop saves the best epoch as `result_name`, or the last one if `valid` is None.

        Raises:
            InputError: no annotated frame has features that the head uses.
            UsageError: the head or the number format is unknown, epochs or batches are smaller
                than 1, or the learning rate is not positive, or below the last one; or an
                encoder's classifier is requested that is missing, or that the head cannot use.
            CheckpointError: the encoder of that classifier cannot be loaded.
        """
        if name not in HEADS:
            raise UsageError(f"unknown head {name!r}; known are {', '.join(HEADS)}")
        if config.epochs < 1 or config.batch_frames < 1:
            raise UsageError("training needs at least 1 epoch and batches of at least 1 frame")
        if not 0 < config.lr < np.inf:
            raise UsageError(f"a learning rate must be a positive number, not {config.lr:g}")
        if config.last_lr > config.lr:
            raise UsageError(
                f"the learning rate would rise from {config.lr:g} to {config.last_lr:g}; "
                "give a lower --last-lr"
            )
        self.name, self.config, self.device = name, config, device
        self.result_name = result_name
        self.train, self.valid = train, valid
        torch.manual_seed(config.seed)
        # The logits of the task come first; those of auxiliary tasks are not part of the result.
        self.tasks = [config.task, *(t for t in train.data.values if t != config.task)]
        self.widths = [OUTPUT_FORMS[task].logits for task in self.tasks]
        self.network: Head = build_head(
            name, train.data.backbones, config.network, sum(self.widths)
        )
        self.classifiers = _load_classifiers(train, config)
        add_encoders(self.network, *self.classifiers)
        self.samples = self._find_samples()
        self.objectives: list[Objective] = [
            OBJECTIVES[t](config, self.samples, device) for t in self.tasks
        ]
        self._set_moments()
        precision = choose_training_precision(
            config.precision, self.network, self._run_probe, device
        )
        self.config = replace(config, precision=precision)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group for AdamW: weight decay on all parameters, as published."""
        config, parameters = self.config, list(self.network.parameters())
        return [{"params": parameters, "lr": config.lr, "weight_decay": config.weight_decay}]

    def describe(self) -> JsonObject:
        """Return everything that the result of the run depends on."""
        return {
            "head": self.name,
            "training": asdict(self.config),
            "data": self._describe_data(),
            **self.train.data.backbones.to_json(),
        }

    def _describe_data(self) -> JsonObject:
        parts = {"train": self.train, "valid": self.valid}
        return {key: part and part.describe() for key, part in parts.items()}

    def _find_samples(self) -> WindowSamples:
        samples = WindowSamples(
            self.train, self.network.uses, self.network.window, self.network.stride
        )
        if len(samples) == 0:
            raise InputError(
                f"no annotated frame of {len(self.train.names)} videos (such as "
                f"{min(self.train.names)}) has features that the head {self.name!r} uses"
            )
        return samples

    def _set_moments(self) -> None:
        """Set the normalisation from all training features, annotated or not."""
        for modality in HEADS[self.name].uses:
            norm = self.network.get_submodule(f"{modality}.norm")
            assert isinstance(norm, ModalityNorm)
            moments = Moments(len(norm.mean))
            features = getattr(self.train.data, modality)
            has = getattr(self.train.data, f"has_{modality}")
            for rows in self.train.slices():
                moments.add(torch.from_numpy(features[rows][has[rows]]))
            if moments.count == 0:
                raise InputError(
                    f"no training frame has {modality} features; choose another --head"
                )
            norm.set_moments(moments)

    def _run_probe(self) -> Tensor:
        """Return the logits (B, T, K) of the first windows of the training data."""
        first = torch.arange(min(len(self.samples), max(PROBE_FRAMES // self.network.window, 1)))
        v, a, has_v, has_a, _ = (array.to(self.device) for array in self.samples.gather(first))
        logits: Tensor = self.network(v.float(), a.float(), has_v, has_a)
        return logits

    def load_data(self, progress: Progress) -> None:
        """Do nothing: features are in memory already."""

    def make_batches(self, generator: Generator, part: Part) -> Batches[Batch]:
        """Return the batches of an epoch."""
        batches = self.samples.batches(self.config.batch_frames, generator)
        whole = len(batches) - len(batches) % part.count
        return batches[part.index : whole : part.count]

    def find_loss(self, model: nn.Module, batch: Batch, generator: Generator) -> Tensor:
        """Return the loss of the annotated frames of the windows."""
        v, a, has_v, has_a, y = self.samples.gather(batch)  # (B, T, Dv), (B, T, Da), 3 x (B, T)
        if len(self.network.uses) > 1:
            p = self.config.audio_swap
            a, has_a = swap_audio(a, has_v, has_a, p=p, generator=generator)
            has_v, has_a = drop_modalities(has_v, has_a, self.config.modality_dropout, generator)
        v, a, has_v, has_a = (array.to(self.device) for array in (v, a, has_v, has_a))
        with cast(self.device, self.config.precision):
            logits = model(v.float(), a.float(), has_v, has_a).float()  # (B, T, K)
        truth = {EXPR: y} | {t: self.samples.gather_values(batch, t) for t in self.samples.values}
        losses = [
            objective.find_loss(part, truth[task].flatten(0, 1).to(self.device))
            for task, objective, part in zip(
                self.tasks,
                self.objectives,
                logits.flatten(0, 1).split(self.widths, dim=1),
                strict=True,
            )
        ]
        if len(losses) == 1:
            return losses[0]
        return losses[0] + self.config.auxiliary_weight * torch.stack(losses[1:]).mean()

    def validate(self, network: Head) -> Validation | ValueValidation | None:
        """Return the scores of the validation videos; None if there are none."""
        if self.valid is None:
            return None
        head = TrainedHead(self._finish(network), self.device, self.config.task)
        outputs = [own for own, _ in predict_videos(head, self.valid)]
        return self.objectives[0].validate(np.concatenate(outputs), self.valid)

    def _finish(self, network: Head) -> Head | WithEncoders:
        """Return the head to be saved: without the logits of auxiliary tasks."""
        own = narrow_head(network, self.widths[0]) if len(self.tasks) > 1 else network
        return add_encoders(own, *self.classifiers)

    def save(self, network: Head, out: str | Path, result: EpochResult) -> None:
        """Write the head with its training and smoothing as metadata."""
        self.save_as(Path(out) / self.result_name, network, result)

    def save_as(self, path: str | Path, network: Head, result: EpochResult) -> None:
        """Write the head of an epoch to a file."""
        config, data = asdict(self.config), self._describe_data()
        training = TrainingMetadata(
            command="train head", data=data, config=config, result=result, version=__version__
        )
        metadata = HeadMetadata(
            head=self.name,
            network=asdict(self.config.network),
            backbones=self.train.data.backbones,
            smoothing=self.config.smoothing,
            training=training,
            face_only=self.config.face_only,
            speech_only=self.config.speech_only,
            task=self.config.task,
        )
        save_head(path, self._finish(network), metadata)


def _load_classifiers(
    train: VideoSet, config: HeadTraining
) -> tuple[EncoderClassifier | None, SpeechClassifier | None]:
    """Return the encoders' classifiers for a head: that of faces and that of speech.

    Raises:
        UsageError: the head has a task with values.
        CheckpointError: a classifier cannot be loaded.
    """
    chosen = {"--face-only": config.face_only, "--speech-only": config.speech_only}
    for option, value in chosen.items():
        if value == ENCODER and config.task != EXPR:
            raise UsageError(
                f"an encoder classifies expressions, so that {option} {ENCODER} is only for "
                f"--task {EXPR}"
            )
    backbones = train.data.backbones
    face = load_own_classifier(backbones.visual) if config.face_only == ENCODER else None
    speech = load_speech_classifier(backbones.audio) if config.speech_only == ENCODER else None
    return face, speech


def make_loop(task: HeadTask, out: str | Path) -> TrainingLoop[Head, Batch]:
    """Return the training loop of a head; `out` is the folder of the run."""
    out = Path(out)
    config = task.config
    schedule = Schedule(
        config.epochs, warmup_share=config.warmup, last_share=config.last_lr / config.lr
    )
    accelerator = start_accelerator(task.device)
    return TrainingLoop(
        task, out, schedule, accelerator,
        seed=config.seed, ema_decay=config.ema_decay, patience=config.patience,
    )  # fmt: skip


def classify_videos(head: TrainedHead, videos: VideoSet) -> list[NDArray[np.float32]]:
    """Return the probabilities (T, 8) of each video of a set."""
    return [outputs[:, :N_CLASSES] for outputs, _ in predict_videos(head, videos)]


def predict_videos(
    head: TrainedHead, videos: VideoSet
) -> list[tuple[NDArray[np.float32], NDArray[np.str_]]]:
    """Return the outputs (T, M) and sources (T,) of each video of a set."""
    data = videos.data
    return [
        head.find_outputs(data.visual[r], data.audio[r], data.has_visual[r], data.has_audio[r])
        for r in videos.slices()
    ]
