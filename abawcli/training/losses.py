"""Losses, class weights, and mixup."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from abawcli.labels import IGNORE, N_CLASSES


def class_weights(mass: Tensor, power: float) -> Tensor:
    """Return class weights (8,) of mean 1: (N / (8 n_c)) ** power, over their mean.

    A class without samples gets the largest weight of the others, so that it does not dominate the
    mean.

    Args:
        mass: (8,) number of samples n_c of each class, or the sum of soft labels; N is its sum.
        power: 1 as published (arXiv 2603.12221); 0: no weighting.
    """
    present = mass > 0
    raw = torch.where(present, mass.sum() / (N_CLASSES * mass.clamp_min(1e-12)), 0.0) ** power
    return _complete_weights(raw, present)


def effective_weights(counts: Tensor, beta: float) -> Tensor:
    """Return class weights (8,) of mean 1: the inverse of the effective number of samples.

    That number is (1 - beta ** n) / (1 - beta): about n while n is small, and at most
    1 / (1 - beta), because new samples resemble those that exist (arXiv 1901.05555). A class
    without samples is treated as in `class_weights`.

    Args:
        counts: (8,) number of samples n of each class.
        beta: from 0 (no weighting) to below 1.
    """
    present = counts > 0
    log_beta = math.log(beta) if beta > 0 else -math.inf
    share = -torch.expm1(counts.double().clamp_min(1) * log_beta)  # (8,) 1 - beta ** n
    return _complete_weights(1 / share.float(), present)


def _complete_weights(raw: Tensor, present: Tensor) -> Tensor:
    """Set the weights of absent classes to the largest of the others; scale the mean to 1."""
    raw = torch.where(present, raw, raw[present].max())  # (8,)
    return raw / raw.mean()


def focal_loss(
    logits: Tensor, labels: Tensor, gamma: float = 0.0, weight: Tensor | None = None
) -> Tensor:
    """Return the focal loss, the weighted mean of -(1 - p_y) ** gamma log p_y.

    With `gamma` 0 it is the cross-entropy.

    Args:
        logits: (N, 8).
        labels: (N,), -1 for rows that are ignored. The loss is 0 if all are.
        gamma: focusing parameter.
        weight: (8,) class weights w_y; None: all 1. The mean is over the sum of weights, as in
            torch's cross-entropy.
    """
    known = labels != IGNORE
    labels = labels[known]  # (M,)
    log_p = logits[known].log_softmax(dim=-1).gather(1, labels[:, None])[:, 0]  # (M,)
    each = torch.ones_like(log_p) if weight is None else weight[labels]  # (M,)
    # 1 - p, accurate where p is almost 1, and never 0, where the power may have infinite slope
    miss = -torch.expm1(log_p.clamp_max(-1e-7))  # (M,)
    return -(each * miss**gamma * log_p).sum() / each.sum().clamp_min(1e-12)


def ccc_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return 1 - CCC, the mean over the columns of (N, K).

    CCC is the concordance correlation coefficient of the rows of a column that are not NaN in
    either; it is 0 where there are none, or nothing varies.
    """
    known = ~(predicted.isnan() | truth.isnan())  # (N, K)
    count = known.sum(dim=0).clamp_min(1)  # (K,)
    x, y = (torch.where(known, values, 0) for values in (predicted, truth))
    mean_x, mean_y = x.sum(dim=0) / count, y.sum(dim=0) / count
    x, y = torch.where(known, x - mean_x, 0), torch.where(known, y - mean_y, 0)
    covariance = (x * y).sum(dim=0) / count
    spread = (x**2 + y**2).sum(dim=0) / count + (mean_x - mean_y) ** 2
    return 1 - (2 * covariance / spread.clamp_min(1e-8)).mean()


def unit_weights(truth: Tensor, power: float, beta: float | None = None) -> Tensor:
    """Return the weight (K,) of active frames of each action unit; that of inactive ones is 1.

    A unit without active frames or without inactive ones gets 1.

    Args:
        truth: (N, K) 1 where a unit is active, 0 where it is not, NaN where it is not annotated.
        power: the weight is (inactive / active) ** power.
        beta: use effective numbers of frames instead, as `effective_weights`.
    """
    active, inactive = (truth == 1).sum(dim=0).double(), (truth == 0).sum(dim=0).double()  # (K,)
    if beta is not None:
        log_beta = math.log(beta) if beta > 0 else -math.inf
        active, inactive = (-torch.expm1(count * log_beta) for count in (active, inactive))
        power = 1.0
    both = (active > 0) & (inactive > 0)
    return torch.where(both, (inactive / active.clamp_min(1e-12)) ** power, 1.0).float()


def unit_loss(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of action units; 0 if none is annotated.

    Args:
        logits: (N, K).
        truth: (N, K) 1 or 0; NaN, as in the logits, is left out.
        weight: (K,) of active frames.
    """
    known = ~(logits.isnan() | truth.isnan())
    z, y = torch.where(known, logits, 0), torch.where(known, truth, 0)
    each = F.binary_cross_entropy_with_logits(z, y, reduction="none", pos_weight=weight)
    return (each * known).sum() / known.sum().clamp_min(1)


def soft_cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Return the mean cross-entropy of logits (B, 8) and target distributions (B, 8).

    `weight` (8,) are class weights, `smoothing` the share of label smoothing.
    """
    return F.cross_entropy(logits, target, weight=weight, label_smoothing=smoothing)


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean divergence of softened probabilities from the teacher's (arXiv 1503.02531).

    It is T ** 2 KL(teacher || softmax(logits / T)); the factor keeps the size of the gradient.

    Args:
        logits: (B, 8) of the student.
        teacher: (B, 8) probabilities of the teacher at the temperature.
        temperature: T.
    """
    log_p = (logits / temperature).log_softmax(dim=-1)  # (B, 8)
    return F.kl_div(log_p, teacher, reduction="batchmean") * temperature**2


def feature_loss(features: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of features (B, D) from the teacher's (B, D).

    It is relative to the variance of the teacher's features in the batch.
    """
    return F.mse_loss(features, teacher) / teacher.var(dim=0).mean().clamp_min(1e-12)


def mix_up(
    inputs: Tensor, target: Tensor, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Blend each input and target with those of another sample of the batch (mixup).

    Args:
        inputs: (B, ...), such as images (B, C, H, W) or features (B, D).
        target: (B, 8) distributions.
        alpha: the share of the blend is drawn from Beta(alpha, alpha), once per batch; 0: no mixup.
        generator: of the random numbers, on the CPU.

    Returns:
        blended inputs (B, ...) and targets (B, 8).
    """
    if alpha <= 0:
        return inputs, target
    # torch's Beta takes no generator, so NumPy's is seeded by the generator.
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    other = torch.randperm(len(inputs), generator=generator).to(inputs.device)  # (B,)
    return torch.lerp(inputs[other], inputs, share), torch.lerp(target[other], target, share)


def contrast_corpora(
    features: Tensor, labels: Tensor, corpora: Tensor, temperature: float = 0.1
) -> Tensor:
    """Return the supervised contrastive loss between corpora; 0 if no class is in two of them.

    Features of a class in different corpora are to be more alike than those of different classes.
    Pairs of a class within a corpus, which are alike anyway, are left out (arXiv 2004.11362).

    Args:
        features: (B, D); the mean of the batch is subtracted.
        labels: (B,) classes.
        corpora: (B,) numbers.
        temperature: divisor of the cosines, of the source.
    """
    z = F.normalize(features - features.mean(dim=0), dim=1)
    same = labels[:, None] == labels
    pairs = same & (corpora[:, None] != corpora)  # (B, B)
    cosines = (z @ z.T / temperature).masked_fill(same & ~pairs, -torch.inf)
    known = pairs.any(dim=1)
    if not known.any():
        return features.sum() * 0
    log_p = cosines[known].log_softmax(dim=1).masked_fill(~pairs[known], 0)  # (K, B)
    return -(log_p.sum(dim=1) / pairs[known].sum(dim=1)).mean()
