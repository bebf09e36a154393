"""The exponential moving average (EMA) of a network's weights."""

import copy

import torch
from torch import Tensor, nn


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
