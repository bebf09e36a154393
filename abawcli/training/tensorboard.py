"""The metrics of a run for TensorBoard, beside metrics.jsonl, if tensorboard is installed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from abawcli.models.training_metadata import EpochResult

FOLDER_NAME = "tensorboard"  # of a run's folder


@contextmanager
def open_tensorboard(out: str | Path, epochs: int) -> Iterator[Callable[[EpochResult], None]]:
    """Return a function that writes an epoch's metrics to the folder of a run.

    It writes nothing if tensorboard is not installed. TensorBoard hides earlier metrics of epochs
    after the first `epochs`, from an interrupted run or one that is overwritten.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield lambda result: None
        return
    with SummaryWriter(str(Path(out) / FOLDER_NAME), purge_step=epochs + 1) as writer:
        yield partial(_write_epoch, writer)


def _write_epoch(writer: Any, result: EpochResult) -> None:
    """Write every metric of an epoch; those of classes and corpora are called `f1/Anger`."""
    for name, value in result.to_json().items():
        parts = value if isinstance(value, dict) else {"": value}
        for part, number in parts.items():
            if isinstance(number, int | float) and name != "epoch":
                writer.add_scalar(f"{name}/{part}".rstrip("/"), number, result.epoch)
    writer.flush()
