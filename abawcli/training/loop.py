"""The training loop: epochs, steps, learning rate, EMA, validation, resume and the metrics log.

It trains a `TrainingTask`: a face encoder, a voice encoder or a head. A run that is interrupted and
resumed ends with the same weights as one that is not, because every epoch has its own random seed.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Generator, Tensor, nn

from abawcli.device import choose_device
from abawcli.errors import UsageError
from abawcli.formats.json_values import JsonObject
from abawcli.models.training_metadata import EpochResult, Validation, ValueValidation
from abawcli.progress import Progress
from abawcli.training.distributed import Part, share_buffers
from abawcli.training.ema import Ema
from abawcli.training.run_folder import (
    History,
    load_state,
    open_run,
    save_state,
    warn_of_changes,
)
from abawcli.training.schedule import Schedule
from abawcli.training.tensorboard import open_tensorboard

# Steps from one copy of the loss from a GPU to the next: the copy waits for all its work.
LOSS_STEPS = 16
Network = TypeVar("Network", bound=nn.Module)
Batch = TypeVar("Batch")
BatchOut = TypeVar("BatchOut", covariant=True)


class Batches(Protocol[BatchOut]):
    """The batches of one epoch, of one process."""

    def __len__(self) -> int:
        """Return the number of batches."""

    def __iter__(self) -> Iterator[BatchOut]:
        """Yield the batches in order."""


class TrainingTask(Protocol[Network, Batch]):
    """A network with its data, loss and validation, which the loop trains."""

    result_name: str  # of the checkpoint in the run's folder
    network: Network

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return AdamW's groups, each with its highest learning rate `lr`."""

    def describe(self) -> JsonObject:
        """Return all settings that the result depends on; only equal runs are resumed."""

    def load_data(self, progress: Progress) -> None:
        """Read the training data; not called for a finished run."""

    def make_batches(self, generator: Generator, part: Part) -> Batches[Batch]:
        """Return the batches of an epoch; `generator` has the same state in all processes."""

    def find_loss(self, model: nn.Module, batch: Batch, generator: Generator) -> Tensor:
        """Return the loss of a batch, a scalar; `model` may be wrapped for several processes."""

    def validate(self, network: Network) -> Validation | ValueValidation | None:
        """Return the metrics of a network, called in each process; None without validation data."""

    def save(self, network: Network, out: str | Path, result: EpochResult) -> None:
        """Write the checkpoint of a network with the result of its epoch."""


def start_accelerator(device: torch.device) -> Accelerator:
    """Return an accelerator: for one device, or for each process if a launcher started several.

    Its mixed precision is off, because that is a setting of the whole process, which may train
    several networks.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    # The class token does not depend on all weights: not on a mask token or a pooler.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(cpu=device.type == "cpu", mixed_precision="no", kwargs_handlers=[unused])


def choose_training_device(name: str) -> torch.device:
    """Return the device of a name; if a launcher started several processes, each has its own GPU.

    Raises:
        UsageError: as `choose_device`.
    """
    device: torch.device = start_accelerator(choose_device(name)).device
    return device


def cast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context of a forward pass in a precision of `config.PRECISIONS`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def split_decay(parameters: Sequence[Tensor], lr: float, decay: float) -> list[dict[str, Any]]:
    """Return groups of parameters (...) for AdamW, without weight decay on biases and norms."""
    groups = (
        {"params": [p for p in parameters if p.ndim > 1], "lr": lr, "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "lr": lr, "weight_decay": 0.0},
    )
    return [group for group in groups if group["params"]]


def make_generator(seed: int, epoch: int, process: int) -> Generator:
    """Return a generator seeded by run, epoch and process, so that a resumed run is identical.

    Process -1 is for numbers that must be the same in all processes.
    """
    return Generator().manual_seed((seed * 10_007 + epoch) * 1_009 + process + 1)


class TrainingLoop(Generic[Network, Batch]):
    """One training run: its folder, its state between epochs, and the steps of an epoch."""

    def __init__(
        self,
        task: TrainingTask[Network, Batch],
        out: str | Path,
        schedule: Schedule,
        accelerator: Accelerator,
        *,
        seed: int = 0,
        ema_decay: float = 0.0,
        clip_norm: float | None = None,
        patience: int | None = None,
        keep_last: bool = False,
    ) -> None:
        """Prepare the network of a task for training.

        Args:
            task: the network with its data and loss.
            out: folder of the run.
            schedule: number of epochs and learning rate.
            accelerator: of `start_accelerator`.
            seed: of all random numbers.
            ema_decay: decay of the EMA of the weights, which is validated and saved; 0: no EMA.
            clip_norm: largest norm of the gradient; None: no clipping.
            patience: end after this many epochs without a better one; None: after the last epoch.
            keep_last: save the network of the last epoch, not that of the best one.
        """
        out = Path(out)
        self.task, self.out, self.schedule = task, out, schedule
        self.seed, self.clip_norm, self.patience = seed, clip_norm, patience
        self.keep_last = keep_last
        self.accelerator = accelerator
        self.network = task.network.to(self.accelerator.device)
        groups = [group | {"initial_lr": group["lr"]} for group in task.parameter_groups()]
        fused = self.accelerator.device.type in ("cuda", "cpu")  # one kernel for all weights
        # Not prepared by accelerate, whose wrapper looks for another package in each step.
        self.optimizer = torch.optim.AdamW(groups, fused=fused)
        self.ema = Ema(self.network, ema_decay) if ema_decay else None
        self.model = self.accelerator.prepare(self.network)
        self.history: History = []

    @property
    def result(self) -> Network:
        """Return the network that is validated and saved: the EMA, if there is one."""
        result: Network = self.ema.module if self.ema else self.network  # type: ignore[assignment]
        return result

    @property
    def state(self) -> nn.Module:
        """Return the weights that are saved to resume the run, with the EMA."""
        if self.ema is None:
            return self.network
        return nn.ModuleDict({"network": self.network, "ema": self.ema})

    def run(self, overwrite: bool, progress: Progress) -> History:
        """Train, or resume training, to the last epoch; return the result of each epoch.

        Raises:
            InputError: the data cannot be read.
            OutputError: the folder holds a run with other settings, or cannot be written.
            UsageError: the loss of an epoch is not finite.
        """
        settings = self.task.describe()
        open_run(self.out, settings, self.task.result_name, overwrite)
        self.history = load_state(self.out, self.state, self.optimizer)
        if not self._is_finished():
            warn_of_changes(self.out, settings)
            self.task.load_data(progress)
        with self._open_log() as log:
            while not self._is_finished():
                loss = self._train_epoch(len(self.history), progress)
                self._finish_epoch(loss)
                log(self.history[-1])
        return self.history

    def _open_log(self) -> AbstractContextManager[Callable[[EpochResult], None]]:
        """Return a function that logs metrics for TensorBoard, in one process of the run."""
        if self._is_finished() or not self.accelerator.is_main_process:
            return nullcontext(lambda result: None)
        return open_tensorboard(self.out, len(self.history))

    def _is_finished(self) -> bool:
        """Tell whether the last epoch is done, or no epoch was better for `patience` epochs."""
        if len(self.history) >= self.schedule.epochs:
            return True
        scores = [each.criterion for each in self.history if each.criterion is not None]
        if self.patience is None or not scores:
            return False
        return len(scores) - 1 - scores.index(max(scores)) >= self.patience

    def _train_epoch(self, epoch: int, progress: Progress) -> float:
        """Train for one epoch and return the mean loss.

        Raises:
            UsageError: it is not finite; the weights are not then either, and stay so.
        """
        epochs, accelerator = self.schedule.epochs, self.accelerator
        part = Part.own()
        batches = self.task.make_batches(make_generator(self.seed, epoch, -1), part)
        generator = make_generator(self.seed, epoch, part.index)
        torch.manual_seed(generator.initial_seed())  # dropout and drop-path
        self.model.train()
        total = torch.zeros((), device=accelerator.device)
        every = LOSS_STEPS if accelerator.device.type == "cuda" else 1
        for step, batch in enumerate(batches, 1):
            self._set_rates(epoch * len(batches) + step - 1, epochs * len(batches))
            total += self.take_step(batch, generator)
            if step % every == 0 or step == len(batches):
                what = f"epoch {epoch + 1}/{epochs}, loss {float(total) / step:.3f}"
                progress(step, len(batches), what)
        loss = float(total) / len(batches)
        if not math.isfinite(loss):
            raise UsageError(
                f"{self.out}: the loss of epoch {epoch + 1} is {loss}, so training cannot go on; "
                "give a lower learning rate"
            )
        return loss

    def take_step(self, batch: Batch, generator: Generator) -> Tensor:
        """Update the weights by the gradient of a batch's loss; return the loss, a scalar."""
        loss = self.task.find_loss(self.model, batch, generator)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        if self.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        if self.ema:
            self.ema.update(self.network)
        return loss.detach()

    def _set_rates(self, step: int, steps: int) -> None:
        share = self.schedule.find_share(step, steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * share

    def _finish_epoch(self, loss: float) -> None:
        """Validate an epoch, log its metrics, and save its network if it is the best so far.

        Without validation, or if the last epoch is wanted, every epoch's network is saved, so the
        last one remains.
        """
        network = self.result
        share_buffers(network)
        rate = max(group["lr"] for group in self.optimizer.param_groups)
        result = EpochResult(len(self.history) + 1, loss, self.task.validate(network), rate)
        past = [each.criterion for each in self.history if each.criterion is not None]
        self.history.append(result)
        if not self.accelerator.is_main_process:
            return
        best, score = max(past, default=-1.0), result.criterion
        if self.keep_last or score is None or score > best:
            self.task.save(network, self.out, result)
        save_state(self.out, self.state, self.optimizer, self.history)
