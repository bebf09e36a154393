"""Losses and the class weights that go with them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from abawcli.labels import N_CLASSES


def class_weights(mass: Tensor, power: float) -> Tensor:
    """Return weights (8,) of mean 1: w_c = (N / (8 n_c)) ** power over the mean of all w.

    `mass` (8,) is the count of each class, or the sum of soft labels. `power` 1 is the
    published choice (arXiv 2603.12221), 0 is no weighting. A class that never occurs gets the
    largest weight of the others: it takes no part in the loss, and must not blow up the mean.
    """
    present = mass > 0
    raw = torch.where(present, mass.sum() / (N_CLASSES * mass.clamp_min(1e-12)), 0.0) ** power
    raw = torch.where(present, raw, raw[present].max())  # (8,)
    return raw / raw.mean()


def soft_cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Return the mean weighted cross-entropy of logits (B, 8) with distributions (B, 8)."""
    return F.cross_entropy(logits, target, weight=weight, label_smoothing=smoothing)


def mix_up(
    images: Tensor, target: Tensor, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Blend each image (B, C, H, W) and target (B, 8) with another of the batch.

    One blend share per batch, drawn from Beta(alpha, alpha). `alpha` 0 changes nothing.
    """
    if alpha <= 0:
        return images, target
    # Beta(a, a) as X / (X + Y) with X, Y ~ Gamma(a); torch's Beta takes no generator.
    concentration = torch.full((2,), alpha, dtype=torch.float64)
    x, y = torch._standard_gamma(concentration, generator=generator).tolist()
    share = x / (x + y)
    other = torch.randperm(len(images), generator=generator).to(images.device)  # (B,)
    return torch.lerp(images[other], images, share), torch.lerp(target[other], target, share)
