"""Distributed training: the processes of a run that torchrun or `accelerate launch` starts."""

from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import nn

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """One process among those that share the batches of an epoch."""

    index: int = 0
    count: int = 1

    @classmethod
    def own(cls) -> "Part":
        """Return the part of this process."""
        state = PartialState()
        return cls(state.process_index, state.num_processes)


def gather_items(items: dict[int, T]) -> list[T]:
    """Return the items of all processes in the order of their keys, the same in each process."""
    found: list[tuple[int, T]] = gather_object(list(items.items()))
    return [item for _, item in sorted(found, key=lambda entry: entry[0])]


def share_buffers(network: nn.Module) -> None:
    """Copy the buffers of the first process, such as the statistics of batch norm, to all others.

    Each process updates them with its own batches, but one network is validated and saved.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, 0)
