"""The exponential moving average (EMA) of a network's weights."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def make_ema(network: nn.Module, decay: float) -> AveragedModel:
    """Return the EMA of a network's weights and buffers, which is updated after every step.

    The decay of step n is (1 + n) / (10 + n) until that exceeds `decay`, so that even in a short
    run the initial random weights have little influence.
    """

    def average(mean: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        if not mean.is_floating_point():
            return current  # a counter
        n = int(steps)
        return torch.lerp(mean, current, 1 - min(decay, (1 + n) / (10 + n)))

    return AveragedModel(network, avg_fn=average, use_buffers=True)
