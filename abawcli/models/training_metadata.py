"""Records of training: the results of epochs, the settings, and the state of a run.

The keys are checked as in `formats.metadata`. `TrainingMetadata` are for people to read.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

from abawcli.config import EXPR
from abawcli.errors import InputError
from abawcli.formats.json_values import JsonObject, read_objects, read_optional, read_value
from abawcli.tasks import TASK_COLUMNS, TASKS


def read_task(values: JsonObject, path: str | Path) -> str:
    """Return the task in the metadata of the file `path`; expressions if they have none.

    Raises:
        InputError: the task is unknown.
    """
    task = read_optional(values, "task", str, path) or EXPR  # older files have none
    if task not in TASK_COLUMNS:
        known = ", ".join(TASK_COLUMNS)
        raise InputError(f"{path} is of the task {task!r}, and known are {known}")
    return task


@dataclass(frozen=True)
class Validation:
    """Scores of a network on the videos, images or recordings for validation."""

    macro_f1: float
    accuracy: float
    f1: dict[str, float]  # of each class
    corpora: dict[str, float] | None = None  # of a voice encoder: macro-F1 of each corpus
    temperature: float | None = None  # of a voice encoder
    loss: float | None = None
    moe_macro_f1: float | None = None  # of a face encoder's training head
    criterion: float | None = None  # by which epochs are compared, if not by `macro_f1`

    @property
    def selection(self) -> float:
        """Return the figure by which epochs are compared."""
        return self.macro_f1 if self.criterion is None else self.criterion

    def list_figures(self) -> list[tuple[str, float]]:
        """Return the name and value of each figure that is shown."""
        corpora = self.corpora or {}
        named = corpora if len(corpora) > 1 else {}
        return [
            *self.f1.items(),
            *((f"macro-F1 {name}", value) for name, value in named.items()),
            ("macro-F1", self.macro_f1),
            ("accuracy", self.accuracy),
        ]

    def to_json(self) -> JsonObject:
        """Return it as JSON, without what is None."""
        values = {"accuracy": self.accuracy, "macro_f1": self.macro_f1, "f1": self.f1}
        values |= {"corpora": self.corpora, "temperature": self.temperature}
        values |= {"valid_loss": self.loss, "moe_macro_f1": self.moe_macro_f1}
        values |= {"criterion": self.criterion}
        return {key: value for key, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value is missing or has another type.
        """
        return cls(
            macro_f1=read_value(values, "macro_f1", float, path),
            accuracy=read_value(values, "accuracy", float, path),
            f1=read_value(values, "f1", dict, path),
            corpora=read_optional(values, "corpora", dict, path),
            temperature=read_optional(values, "temperature", float, path),
            loss=read_optional(values, "valid_loss", float, path),
            moe_macro_f1=read_optional(values, "moe_macro_f1", float, path),
            criterion=read_optional(values, "criterion", float, path),
        )


@dataclass(frozen=True)
class ValueValidation:
    """Scores of a head of a task with values on the videos for validation."""

    task: str  # of `tasks.TASKS`
    mean: float  # of the columns, the challenge's score
    columns: dict[str, float]  # of each valence and arousal, or action unit
    loss: float | None = None

    @property
    def selection(self) -> float:
        """Return the figure by which epochs are compared."""
        return self.mean

    @property
    def figures(self) -> dict[str, float]:
        """Return the figures of a summary: the mean, and those of the columns."""
        return {f"mean_{TASKS[self.task].measure.lower()}": self.mean} | self.columns

    def list_figures(self) -> list[tuple[str, float]]:
        """Return the name and value of each figure that is shown."""
        return [*self.columns.items(), (f"mean {TASKS[self.task].measure}", self.mean)]

    def to_json(self) -> JsonObject:
        """Return it as JSON, without what is None."""
        key = TASKS[self.task].measure.lower()
        loss = {} if self.loss is None else {"valid_loss": self.loss}
        return {"task": self.task, f"mean_{key}": self.mean, key: self.columns} | loss

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value is missing or has another type, or an unknown task.
        """
        task = read_task(values, path)
        key = TASKS[task].measure.lower()
        return cls(
            task=task,
            mean=read_value(values, f"mean_{key}", float, path),
            columns=read_value(values, key, dict, path),
            loss=read_optional(values, "valid_loss", float, path),
        )


def _read_validation(values: JsonObject, path: str | Path) -> "Validation | ValueValidation | None":
    if values.get("task", EXPR) != EXPR:
        return ValueValidation.from_json(values, path)
    return Validation.from_json(values, path) if "macro_f1" in values else None


@dataclass(frozen=True)
class EpochResult:
    """The result of one epoch of training."""

    epoch: int  # from 1
    loss: float
    validation: Validation | ValueValidation | None = None  # None: there is nothing to validate on
    lr: float | None = None  # the highest learning rate of the last step

    @property
    def criterion(self) -> float | None:
        """Return the figure by which epochs are compared."""
        return None if self.validation is None else self.validation.selection

    def to_json(self) -> JsonObject:
        """Return it as one flat JSON object."""
        figures = self.validation.to_json() if self.validation else {}
        rate = {} if self.lr is None else {"lr": self.lr}
        return {"epoch": self.epoch, "loss": self.loss} | rate | figures

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value is missing or has another type.
        """
        return cls(
            epoch=read_value(values, "epoch", int, path),
            loss=read_value(values, "loss", float, path),
            validation=_read_validation(values, path),
            lr=read_optional(values, "lr", float, path),
        )


@dataclass(frozen=True)
class TrainingMetadata:
    """How weights were trained; for people to read, nothing depends on it."""

    command: str | None
    data: JsonObject | None
    config: JsonObject | None  # JSON: training
    result: EpochResult | None  # of the epoch that was saved
    version: str | None  # of abawcli

    def to_json(self) -> JsonObject:
        """Return it as JSON."""
        return {
            "command": self.command,
            "data": self.data,
            "training": self.config,
            "result": self.result and self.result.to_json(),
            "version": self.version,
        }

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value has another type.
        """
        result = read_optional(values, "result", dict, path)
        return cls(
            command=read_optional(values, "command", str, path),
            data=read_optional(values, "data", dict, path),
            config=read_optional(values, "training", dict, path),
            result=None if result is None else EpochResult.from_json(result, path),
            version=read_optional(values, "version", str, path),
        )


@dataclass(frozen=True)
class TrainingState:
    """The state of a training run after its last finished epoch."""

    history: list[EpochResult] = field(default_factory=list)
    kind: ClassVar[str] = "training-state"

    def to_json(self) -> JsonObject:
        """Return it as JSON."""
        return {"kind": self.kind, "history": [result.to_json() for result in self.history]}

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value is missing or has another type.
        """
        rows = read_objects(values, "history", path)
        return cls([EpochResult.from_json(row, path) for row in rows])
