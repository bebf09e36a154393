"""Dropout with random numbers that cost little on a CPU."""

import torch
from torch import Tensor, nn

LEVELS = 256  # values of the random number of an entry


def draw_factors(x: Tensor, p: float) -> Tensor:
    """Return factors of the shape and type of `x` (...): 0 with probability p, else 1 / (1 - p).

    An entry takes 8 random bits, so the share that is dropped is a multiple of 1 / 256: one of the
    two next to p, at random, so that it is p on average.
    """
    dropped = int(p * LEVELS + torch.rand(()))
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    numbers = words.view(torch.int8)[: x.numel()].view(x.shape)  # from -128 to 127
    # A comparison, and the conversion of its result, would take ten times as long as these.
    last = dropped - LEVELS // 2 - 1  # the highest number that drops an entry
    kept = numbers.clamp_(last, last + 1).sub_(last)  # 0 or 1
    whole = torch.int16 if x.element_size() == 2 else torch.int32
    factor = torch.tensor(1 / (1 - p), dtype=x.dtype)
    return kept.to(whole).mul_(int(factor.view(whole))).view(x.dtype)  # the factor's bits, or 0


class Dropout(nn.Dropout):
    """`nn.Dropout`, several times as fast on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (...) to (...)."""
        usual = 1 / LEVELS <= self.p < 1 - 1 / LEVELS
        if not self.training or x.device.type != "cpu" or not usual:
            return super().forward(x)
        return x * draw_factors(x, self.p)
