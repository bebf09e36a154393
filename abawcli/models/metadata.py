"""The metadata of checkpoints, as records: encoders and heads.

The keys are checked as in `formats.metadata`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self

from abawcli.config import COMPACT_VOICE, EXPR, HEAD, SINGLE_CHOICES, Smoothing
from abawcli.errors import InputError
from abawcli.formats.json_values import (
    JsonObject,
    read_numbers,
    read_optional,
    read_value,
)
from abawcli.formats.metadata import Backbones, Preprocess
from abawcli.labels import CLASSES
from abawcli.models.training_metadata import TrainingMetadata, read_task
from abawcli.tasks import TASK_COLUMNS


class CheckpointMetadata(Protocol):
    """The metadata of one kind of checkpoint."""

    kind: ClassVar[str]  # stands in the file

    def to_json(self) -> JsonObject:
        """Return it as JSON, with its kind."""

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`; raises InputError."""


def _check_classes(values: JsonObject, path: str | Path, task: str = EXPR) -> None:
    if values.get("classes") != list(TASK_COLUMNS[task]):
        raise InputError(f"{path} was trained for other classes: {values.get('classes')}")


@dataclass(frozen=True)
class Calibration:
    """A calibration: logits / temperature + bias."""

    temperature: float
    bias: tuple[float, ...]  # of each class

    def to_json(self) -> JsonObject:
        """Return it as JSON."""
        return {"temperature": self.temperature, "bias": list(self.bias)}

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value is missing or has another type, or cannot be.
        """
        temperature = read_value(values, "temperature", float, path)
        bias = read_numbers(values, "bias", path)
        if not 0 < temperature < math.inf:
            raise InputError(f"{path}: the calibration's temperature cannot be {temperature}")
        if len(bias) != len(CLASSES) or not all(map(math.isfinite, bias)):
            raise InputError(f"{path}: the calibration needs {len(CLASSES)} biases, not {bias}")
        return cls(temperature, bias)

    def then(self, other: "Calibration") -> "Calibration":
        """Return the composition of this calibration and a later one."""
        bias = (a / other.temperature + b for a, b in zip(self.bias, other.bias, strict=True))
        return Calibration(self.temperature * other.temperature, tuple(bias))


NO_CALIBRATION = Calibration(1.0, (0.0,) * len(CLASSES))


def _read_neutral(values: JsonObject, path: str | Path) -> tuple[float, ...] | None:
    if read_optional(values, "neutral", list, path) is None:
        return None
    neutral = read_numbers(values, "neutral", path)
    if len(neutral) != len(CLASSES) or not all(map(math.isfinite, neutral)):
        raise InputError(f"{path}: `neutral` needs {len(CLASSES)} numbers, not {neutral}")
    return neutral


def _read_calibration(values: JsonObject, path: str | Path) -> Calibration | None:
    given = read_optional(values, "calibration", dict, path)
    return None if given is None else Calibration.from_json(given, path)


@dataclass(frozen=True)
class FaceEncoderMetadata:
    """An image backbone with a classifier."""

    backbone: str
    preprocess: Preprocess
    network: JsonObject  # what builds it: the shape of our own, or transformers' configuration
    training: TrainingMetadata | None = None
    calibration: Calibration | None = None  # of the classifier
    neutral: tuple[float, ...] | None = None  # mean log-probabilities of neutral faces, calibrated
    kind: ClassVar[str] = "encoder"

    def to_json(self) -> JsonObject:
        """Return it as JSON."""
        return {
            "kind": self.kind,
            "backbone": self.backbone,
            "preprocess": self.preprocess.to_json(),
            "network": self.network,
            "classes": list(CLASSES),
            **_describe_calibration(self),
            **(self.training.to_json() if self.training else {}),
        }

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value is missing or has another type, or other classes.
        """
        _check_classes(values, path)
        return cls(
            backbone=read_value(values, "backbone", str, path),
            preprocess=Preprocess.from_json(read_value(values, "preprocess", dict, path), path),
            network=read_value(values, "network", dict, path),
            training=TrainingMetadata.from_json(values, path),
            calibration=_read_calibration(values, path),
            neutral=_read_neutral(values, path),
        )


@dataclass(frozen=True)
class VoiceEncoderMetadata:
    """A voice encoder of this package: an audio backbone with its classifiers."""

    network: JsonObject  # its shape
    training: TrainingMetadata | None = None
    # Lowest confidence from which on at least half of the labels of unknown corpora are right;
    # None: not measured.
    reliable_confidence: float | None = None
    kind: ClassVar[str] = "voice-encoder"

    def to_json(self) -> JsonObject:
        """Return it as JSON."""
        reliable = self.reliable_confidence
        return {
            "kind": self.kind,
            "backbone": COMPACT_VOICE,
            "network": self.network,
            "classes": list(CLASSES),
            **({} if reliable is None else {"reliable_confidence": reliable}),
            **(self.training.to_json() if self.training else {}),
        }

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value is missing or has another type, or other classes.
        """
        _check_classes(values, path)
        return cls(
            network=read_value(values, "network", dict, path),
            training=TrainingMetadata.from_json(values, path),
            reliable_confidence=read_optional(values, "reliable_confidence", float, path),
        )


@dataclass(frozen=True)
class HeadMetadata:
    """A head: its network, the features it was trained on, and how its predictions are smoothed."""

    head: str  # one of `models.heads.HEADS`
    network: JsonObject  # the head's settings
    backbones: Backbones
    smoothing: Smoothing | None = None
    training: TrainingMetadata | None = None
    # What classifies a face without speech, and speech without a face, of SINGLE_CHOICES.
    face_only: str = HEAD
    speech_only: str = HEAD
    calibration: Calibration | None = None  # of the head, not of an encoder's classifier beside it
    neutral: tuple[float, ...] | None = None  # mean log-probabilities of neutral faces, calibrated
    task: str = EXPR  # of `config.TASK_NAMES`
    kind: ClassVar[str] = "head"

    def to_json(self) -> JsonObject:
        """Return it as JSON."""
        training = self.training.to_json() if self.training else {}
        return {
            "kind": self.kind,
            "head": self.head,
            "network": self.network,
            **({} if self.task == EXPR else {"task": self.task}),
            "classes": list(TASK_COLUMNS[self.task]),
            **self.backbones.to_json(),
            "smoothing": self.smoothing and self.smoothing.to_json(),
            "face_only": self.face_only,
            **({} if self.speech_only == HEAD else {"speech_only": self.speech_only}),
            **_describe_calibration(self),
            **training,
        }

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value is missing or has another type, or other classes.
        """
        task = read_task(values, path)
        _check_classes(values, path, task)
        return cls(
            head=read_value(values, "head", str, path),
            network=read_value(values, "network", dict, path),
            backbones=Backbones.from_json(values, path),
            smoothing=_read_smoothing(values, path),
            training=TrainingMetadata.from_json(values, path),
            face_only=_read_single(values, "face_only", path),
            speech_only=_read_single(values, "speech_only", path),
            calibration=_read_calibration(values, path),
            neutral=_read_neutral(values, path),
            task=task,
        )


def _describe_calibration(metadata: FaceEncoderMetadata | HeadMetadata) -> JsonObject:
    """Return the calibration and the output for neutral faces as JSON, if they are known."""
    known: JsonObject = {}
    if metadata.calibration:
        known["calibration"] = metadata.calibration.to_json()
    if metadata.neutral:
        known["neutral"] = list(metadata.neutral)
    return known


def _read_single(values: JsonObject, key: str, path: str | Path) -> str:
    given = read_optional(values, key, str, path) or HEAD  # older files have none
    if given not in SINGLE_CHOICES:
        choices = " or ".join(SINGLE_CHOICES)
        raise InputError(f"{path}: its metadata has {given!r} as {key}, not {choices}")
    return given


def _read_smoothing(values: JsonObject, path: str | Path) -> Smoothing | None:
    given = read_optional(values, "smoothing", dict, path)
    if given is None:
        return None
    window_s = read_optional(given, "window_s", float, path)
    window_frames = read_optional(given, "window_frames", int, path)
    return Smoothing(
        method=read_value(given, "method", str, path),
        window_frames=window_frames if window_s is None else None,  # older files may have both
        window_s=window_s,
        space=read_value(given, "space", str, path),
        bias=read_numbers(given, "bias", path) if given.get("bias") else None,
    )
