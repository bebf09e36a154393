"""Losses and the class weights that go with them."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from abawcli.labels import IGNORE, N_CLASSES


def class_weights(mass: Tensor, power: float) -> Tensor:
    """Return weights (8,) of mean 1: w_c = (N / (8 n_c)) ** power over the mean of all w.

    `mass` (8,) is the count of each class, or the sum of soft labels. `power` 1 is the
    published choice (arXiv 2603.12221), 0 is no weighting. A class that never occurs gets the
    largest weight of the others: it takes no part in the loss, and must not blow up the mean.
    """
    present = mass > 0
    raw = torch.where(present, mass.sum() / (N_CLASSES * mass.clamp_min(1e-12)), 0.0) ** power
    return _complete_weights(raw, present)


def effective_weights(counts: Tensor, beta: float) -> Tensor:
    """Return weights (8,) of mean 1 that fall with each class's effective number of samples.

    That is (1 - beta ** n) / (1 - beta): n while it is small, and never more than 1 / (1 - beta),
    as a further sample is likely to resemble one that is there (arXiv 1901.05555). `beta` 0 is no
    weighting. A class that never occurs is treated as in `class_weights`.
    """
    present = counts > 0
    log_beta = math.log(beta) if beta > 0 else -math.inf
    share = -torch.expm1(counts.double().clamp_min(1) * log_beta)  # (8,) 1 - beta ** n
    return _complete_weights(1 / share.float(), present)


def _complete_weights(raw: Tensor, present: Tensor) -> Tensor:
    """Give absent classes the largest weight of the others; bring the mean to 1."""
    raw = torch.where(present, raw, raw[present].max())  # (8,)
    return raw / raw.mean()


def focal_loss(
    logits: Tensor, labels: Tensor, gamma: float = 0.0, weight: Tensor | None = None
) -> Tensor:
    """Return the mean of -w_y (1 - p_y) ** gamma log p_y over logits (N, 8) and labels (N,).

    Rows labelled -1 take no part. Weighted as torch's cross-entropy, over the sum of weights,
    which it is for `gamma` 0. With nothing labelled it is 0.
    """
    known = labels != IGNORE
    labels = labels[known]  # (M,)
    log_p = logits[known].log_softmax(dim=-1).gather(1, labels[:, None])[:, 0]  # (M,)
    each = torch.ones_like(log_p) if weight is None else weight[labels]  # (M,)
    # 1 - p, accurate where p is almost 1, and not 0: the power's slope there may be infinite
    miss = -torch.expm1(log_p.clamp_max(-1e-7))  # (M,)
    return -(each * miss**gamma * log_p).sum() / each.sum().clamp_min(1e-12)


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
    # torch's Beta takes no generator; NumPy's draws from a seed that the generator gives.
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    other = torch.randperm(len(images), generator=generator).to(images.device)  # (B,)
    return torch.lerp(images[other], images, share), torch.lerp(target[other], target, share)
