"""Means of a network's weights: over the steps of a training (EMA), or with other weights."""

import copy
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def average_weights(network: Network, other: Mapping[str, Tensor], share: float) -> Network:
    """Return a copy of a network whose weights and buffers are averaged with others.

    Args:
        network: stays as it is.
        other: tensors by name; those that are missing, and counters, are the network's.
        share: of the others in the mean.
    """
    mean = copy.deepcopy(network)
    for name, value in mean.state_dict().items():
        if name in other and value.is_floating_point():
            value.lerp_(other[name].to(value.device), share)
    return mean


class Ema(nn.Module):
    """The EMA of a network's weights and buffers, which is updated after every step.

    The decay of step n is (1 + n) / (10 + n) until that exceeds `decay`, so the initial random
    weights have little influence even in a short run. The steps are counted on the CPU, because
    reading a counter on a GPU would wait for all its work.
    """

    n_averaged: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network)
        self.decay = decay
        self.register_buffer("n_averaged", torch.tensor(0))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Update the average with the weights of a network after a step; the first are copied."""
        n = int(self.n_averaged)
        share = 1 - min(self.decay, (1 + n) / (10 + n)) if n else 1.0
        pairs = zip(self._list_tensors(self.module), self._list_tensors(network), strict=True)
        means, values = [], []
        for mean, value in pairs:
            if mean.is_floating_point():
                means.append(mean)
                values.append(value)
            else:
                mean.copy_(value)  # a counter
        torch._foreach_lerp_(means, values, share)
        self.n_averaged += 1

    @staticmethod
    def _list_tensors(network: nn.Module) -> list[Tensor]:
        return [*(p.detach() for p in network.parameters()), *network.buffers()]
