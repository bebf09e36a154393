"""Losses and class weights."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from abawcli.training.losses import (
    class_weights,
    contrast_corpora,
    distillation_loss,
    effective_weights,
    feature_loss,
    focal_loss,
    mix_up,
    soft_cross_entropy,
)


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


def test_mix_up_draws_from_its_generator_by_public_functions_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch, "_standard_gamma")
    images, target = torch.rand(4, 1, 2, 2), torch.eye(8)[:4]
    torch.manual_seed(0)
    first = mix_up(images, target, 0.2, torch.Generator().manual_seed(5))
    torch.manual_seed(1)
    again = mix_up(images, target, 0.2, torch.Generator().manual_seed(5))
    other = mix_up(images, target, 0.2, torch.Generator().manual_seed(6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])


def test_mix_up_off() -> None:
    images, target = torch.rand(2, 1, 2, 2), torch.eye(8)[:2]
    same, soft = mix_up(images, target, 0.0, torch.Generator())
    assert same is images and soft is target


def test_focal_loss_with_gamma_zero_is_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(50, 8), torch.randint(-1, 8, (50,))
    expected = F.cross_entropy(logits, labels, ignore_index=-1)
    torch.testing.assert_close(focal_loss(logits, labels), expected)
    weight = torch.rand(8) + 0.5
    expected = F.cross_entropy(logits, labels, weight, ignore_index=-1)
    torch.testing.assert_close(focal_loss(logits, labels, 0.0, weight), expected)


def test_focal_loss_is_the_definition() -> None:
    torch.manual_seed(1)
    logits, labels, alpha = torch.randn(9, 8), torch.randint(0, 8, (9,)), torch.rand(8) + 0.5
    p = logits.softmax(dim=1)[torch.arange(9), labels]
    each = -alpha[labels] * (1 - p) ** 2 * p.log()
    found = focal_loss(logits, labels, 2.0, alpha)
    torch.testing.assert_close(found, each.sum() / alpha[labels].sum())


def test_focal_loss_never_looks_at_frames_without_label() -> None:
    logits = torch.randn(4, 8)
    logits[1] = torch.nan
    logits.requires_grad_()
    loss = focal_loss(logits, torch.tensor([3, -1, 0, 7]), 2.0)
    loss.backward()
    assert torch.isfinite(loss) and logits.grad is not None
    assert torch.isfinite(logits.grad).all() and not logits.grad[1].any()
    nothing = focal_loss(logits, torch.full((4,), -1), 2.0, torch.ones(8))
    nothing.backward()
    assert nothing == 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_focal_loss_is_finite_where_the_network_is_certain(gamma: float, scale: float) -> None:
    logits = (scale * torch.eye(8)).requires_grad_()
    for labels in (torch.arange(8), torch.arange(8).flip(0)):  # all right, all wrong
        loss = focal_loss(logits, labels, gamma)
        loss.backward()
        assert torch.isfinite(loss) and logits.grad is not None
        assert torch.isfinite(logits.grad).all()


def test_effective_weights_are_inverse_effective_numbers_over_their_mean() -> None:
    counts = torch.tensor([1, 2, 10, 100, 1000, 10_000, 100_000, 1_000_000])
    effective = (1 - 0.999 ** counts.double()) / (1 - 0.999)
    expected = (1 / effective) / (1 / effective).mean()
    torch.testing.assert_close(effective_weights(counts, 0.999), expected.float())
    assert torch.equal(effective_weights(counts, 0.0), torch.ones(8))


def test_effective_weights_of_an_absent_class() -> None:
    weights = effective_weights(torch.tensor([5, 1, 0, 5, 5, 5, 5, 5]), 0.9999)
    assert torch.isfinite(weights).all()
    assert weights[2] == weights[1] == weights.max()


@given(st.integers(0, 1000), st.sampled_from([1.0, 2.0, 5.0]))
def test_distillation_loss_is_zero_at_the_teacher_only(seed: int, temperature: float) -> None:
    source = torch.Generator().manual_seed(seed)
    logits, other = torch.randn(2, 6, 8, generator=source, dtype=torch.float64)
    teacher = (logits / temperature).softmax(dim=1)
    assert float(distillation_loss(logits, teacher, temperature)) == pytest.approx(0, abs=1e-12)
    assert distillation_loss(other, teacher, temperature) > 0


def test_distillation_loss_is_the_divergence_times_the_squared_temperature() -> None:
    logits = torch.zeros(1, 8)
    teacher = torch.tensor([[0.5, 0.5, 0, 0, 0, 0, 0, 0]])
    assert float(distillation_loss(logits, teacher, 3.0)) == pytest.approx(9 * math.log(4))


def test_feature_loss_is_relative_to_the_teachers_variance() -> None:
    teacher = torch.randn(500, 16, generator=torch.Generator().manual_seed(0)) * 30
    assert float(feature_loss(teacher, teacher)) == 0
    constant = teacher.mean(dim=0).expand_as(teacher)
    assert float(feature_loss(constant, teacher)) == pytest.approx(1, abs=0.01)


def test_contrast_is_lower_if_classes_are_alike_in_all_corpora() -> None:
    labels, corpora = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1])
    by_class, by_corpus = torch.eye(2)[labels], torch.eye(2)[corpora]
    assert contrast_corpora(by_class, labels, corpora) < 0.01
    assert contrast_corpora(by_corpus, labels, corpora) > 1


def test_contrast_leaves_out_pairs_within_a_corpus() -> None:
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels, corpora = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 1])
    loss = contrast_corpora(features, labels, corpora)  # no class is in two corpora
    loss.backward()
    assert loss == 0 and features.grad is not None and not features.grad.any()


def test_contrast_is_the_mean_over_the_pairs_of_each_row() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(5, 4, generator=generator)
    labels, corpora = torch.tensor([0, 0, 1, 0, 1]), torch.tensor([0, 1, 0, 1, 1])
    z = F.normalize(features - features.mean(dim=0), dim=1)
    rows = []
    for i in range(5):
        others = [j for j in range(5) if labels[j] != labels[i]]
        pairs = [j for j in range(5) if labels[j] == labels[i] and corpora[j] != corpora[i]]
        weights = {j: torch.exp(z[i] @ z[j] / 0.1) for j in [*others, *pairs]}
        total = sum(weights.values())
        rows.append(-sum(torch.log(weights[j] / total) for j in pairs) / len(pairs))
    expected = torch.tensor(rows).mean()
    torch.testing.assert_close(contrast_corpora(features, labels, corpora), expected)
