"""Losses and class weights."""

import torch
from torch.nn import functional as F

from abawcli.models.losses import class_weights, mix_up, soft_cross_entropy


def test_class_weights_are_inverse_frequencies_over_their_mean() -> None:
    counts = torch.tensor([80.0, 40, 20, 10, 10, 20, 40, 80])
    raw = counts.sum() / (8 * counts)
    assert torch.allclose(class_weights(counts, 1.0), raw / raw.mean())


def test_class_weights_with_power_zero_are_one() -> None:
    assert torch.allclose(class_weights(torch.arange(1.0, 9.0), 0.0), torch.ones(8))


def test_absent_class_gets_the_largest_weight_and_not_an_infinite_one() -> None:
    weights = class_weights(torch.tensor([5.0, 1, 0, 5, 5, 5, 5, 5]), 1.0)
    assert torch.isfinite(weights).all()
    assert weights[2] == weights[1] == weights.max()
    assert torch.allclose(weights.mean(), torch.ones(()))


def test_soft_cross_entropy_is_the_definition() -> None:
    logits, target = torch.randn(6, 8), torch.rand(6, 8).softmax(dim=1)
    weight = torch.rand(8) + 0.5
    expected = -(weight * target * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
    assert torch.allclose(soft_cross_entropy(logits, target, weight), expected, atol=1e-6)


def test_mix_up_blends_images_and_targets_alike() -> None:
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    target = torch.eye(8)[:4]
    mixed, soft = mix_up(images, target, 0.2, torch.Generator().manual_seed(3))
    assert torch.allclose(soft.sum(dim=1), torch.ones(4))
    assert torch.allclose(mixed[:, 0, 0, 0], soft[:, :4] @ torch.arange(4.0), atol=1e-6)


def test_mix_up_share_is_beta_distributed() -> None:
    source = torch.Generator().manual_seed(0)
    images, target = torch.zeros(2, 1, 1, 1), torch.eye(8)[:2]
    images[1] = 1.0
    shares = torch.tensor([mix_up(images, target, 0.2, source)[0][1].item() for _ in range(3000)])
    # of U = share or 1 (own partner drawn): mean of Beta(.2, .2) is .5, of the mixture .75
    assert abs(shares.mean().item() - 0.75) < 0.03


def test_mix_up_off() -> None:
    images, target = torch.rand(2, 1, 2, 2), torch.eye(8)[:2]
    same, soft = mix_up(images, target, 0.0, torch.Generator())
    assert same is images and soft is target
