"""Features of one modality on a common scale: unit length, then z-scores.

Means and deviations are those of the training features, and are saved with the weights.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONSTANT = 1e-6  # deviation of a unit vector's entry below which it has not varied


class ModalityNorm(nn.Module):
    """Scale each vector to length 1 and standardise its entries; 0 for missing vectors."""

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))  # 1 / deviation

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Map features (..., D) to z-scores (..., D); rows that are not `valid` (...) become 0.

        0 is the training mean, the best guess for a missing vector.
        """
        scores = F.normalize(features, dim=-1).sub_(self.mean).mul_(self.scale)  # (..., D)
        return torch.where(valid.unsqueeze(-1), scores, 0)

    def set_moments(self, moments: "Moments") -> None:
        """Set the mean and deviation of the training features.

        Entries that did not vary in training become 0: any deviation would give a huge z-score.
        """
        deviation = moments.deviation()  # (D,)
        varied = deviation > CONSTANT
        self.mean.copy_(moments.mean)
        self.scale.copy_(torch.where(varied, 1 / deviation.clamp_min(CONSTANT), 0))


class NormalisedHead(nn.Module):
    """The base of heads with a `ModalityNorm` at `<modality>.norm` for each modality they use."""

    def width(self, modality: str) -> int:
        """Return the width of the features of a modality that is used."""
        return len(self.get_submodule(f"{modality}.norm").get_buffer("mean"))


class Moments:
    """Mean and deviation of unit-length features, added up block by block in float64."""

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64)
        self.squares = torch.zeros(dim, dtype=torch.float64)  # sum of squared deviations

    def add(self, features: Tensor) -> None:
        """Add the features (B, D)."""
        unit = F.normalize(features.double(), dim=-1)  # (B, D)
        rows = len(unit)
        if rows == 0:
            return
        total = self.count + rows
        mean = unit.mean(dim=0)  # (D,)
        step = mean - self.mean
        self.squares += ((unit - mean) ** 2).sum(dim=0) + step**2 * (self.count * rows / total)
        self.mean += step * (rows / total)
        self.count = total

    def deviation(self) -> Tensor:
        """Return the standard deviation of each entry, (D,)."""
        return (self.squares / max(self.count, 1)).sqrt()
