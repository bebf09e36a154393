"""Gated fusion and its baselines: missing modalities, normalisation, gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from abawcli.config import GatedHead
from abawcli.models.gated import AudioOnly, Concatenation, GatedFusion, VisualOnly
from abawcli.models.heads import HEADS
from abawcli.models.normalise import Moments

SMALL = GatedHead(hidden=16)
checked = settings(max_examples=12, deadline=None)
seeds = st.integers(0, 1000)
names = pytest.mark.parametrize("name", [k for k, v in HEADS.items() if v.settings is GatedHead])


def make_inputs(seed: int, rows: int = 12) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    v, a = (torch.randn(1, rows, dim, generator=source) for dim in (6, 4))
    has_v, has_a = (torch.rand(1, rows, generator=source) < 0.6 for _ in "va")
    return v, a, has_v, has_a


def make_head(name: str, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    head = HEADS[name](6, 4, SMALL)  # type: ignore[arg-type]
    moments = {"visual": Moments(6), "audio": Moments(4)}
    for modality in head.uses:
        moments[modality].add(torch.randn(50, len(moments[modality].mean)) + 0.3)
        head.get_submodule(f"{modality}.norm").set_moments(moments[modality])
    return head.eval()


@checked
@given(seeds)
def test_the_fusion_is_the_published_formula(seed: int) -> None:
    head = make_head("gated", seed)
    assert isinstance(head, GatedFusion)
    v, a, _, _ = make_inputs(seed)
    both = torch.ones(1, 12, dtype=torch.bool)

    def score(x: Tensor, norm: torch.nn.Module) -> Tensor:
        return (x / x.norm(dim=-1, keepdim=True) - norm.mean) * norm.scale

    sv, sa = score(v, head.visual.norm), score(a, head.audio.norm)
    first, _, _, second, _ = head.gate
    g = torch.sigmoid(second(torch.relu(first(torch.cat([sv, sa], dim=-1)))))
    z = g * head.visual.project(sv) + (1 - g) * head.audio.project(sa)
    norm, _, linear = head.classifier.layers
    torch.testing.assert_close(head(v, a, both, both), linear(norm(z)))


@checked
@given(seeds)
def test_one_modality_missing_is_exactly_the_others_path(seed: int) -> None:
    head = make_head("gated", seed)
    assert isinstance(head, GatedFusion)
    v, a, has_v, has_a = make_inputs(seed)
    logits = head(v, a, has_v, has_a)
    known = torch.ones_like(has_v)
    alone = {
        "visual": head.classifier(head.visual(v, has_v), known),
        "audio": head.classifier(head.audio(a, has_a), known),
    }
    assert torch.equal(logits[has_v & ~has_a], alone["visual"][has_v & ~has_a])
    assert torch.equal(logits[has_a & ~has_v], alone["audio"][has_a & ~has_v])
    assert logits[~has_a & ~has_v].isnan().all() and not logits[has_a | has_v].isnan().any()


@names
@checked
@given(seed=seeds, garbage=st.sampled_from([0.0, 7.0, float("nan"), float("inf")]))
def test_what_stands_in_missing_rows_does_not_matter(name: str, seed: int, garbage: float) -> None:
    head = make_head(name)
    v, a, has_v, has_a = make_inputs(seed)
    clean = head(v, a, has_v, has_a)
    v[~has_v], a[~has_a] = garbage, garbage
    torch.testing.assert_close(head(v, a, has_v, has_a), clean, rtol=0, atol=0, equal_nan=True)


@names
@checked
@given(seed=seeds)
def test_rows_do_not_depend_on_their_company(name: str, seed: int) -> None:
    head = make_head(name)
    inputs = make_inputs(seed)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    whole = head(*inputs)
    shuffled = head(*(x[:, order] for x in inputs))
    torch.testing.assert_close(shuffled, whole[:, order], rtol=0, atol=1e-5, equal_nan=True)
    alone = torch.cat([head(*(x[:, k : k + 1] for x in inputs)) for k in range(12)], dim=1)
    torch.testing.assert_close(alone, whole, rtol=0, atol=1e-5, equal_nan=True)
    as_batch = head(*(x.transpose(0, 1) for x in inputs)).transpose(0, 1)
    torch.testing.assert_close(as_batch, whole, rtol=0, atol=1e-5, equal_nan=True)


@names
def test_gradients_are_finite_with_missing_modalities(name: str) -> None:
    head = make_head(name).train()
    v, a, has_v, has_a = make_inputs(1)
    logits = head(v, a, has_v, has_a)
    logits[~logits.isnan()].square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_features_are_dropped_in_training_only() -> None:
    head = make_head("gated")
    assert isinstance(head, GatedFusion)
    full = GatedFusion(6, 4, GatedHead())
    assert full.visual.dropout.p == 0.2 and full.audio.dropout.p == 0.25
    v = torch.randn(1, 1000, 6)
    valid = torch.ones(1, 1000, dtype=torch.bool)
    assert (head.visual.prepare(v, valid) == 0).float().mean() < 0.01
    dropped = (head.train().visual.prepare(v, valid) == 0).float().mean()
    assert dropped == pytest.approx(0.2, abs=0.03)


def test_sizes_are_the_published_ones() -> None:
    with torch.device("meta"):
        head = GatedFusion(1024, 1024, GatedHead())
    assert sum(p.numel() for p in head.parameters()) == 2_366_472
    assert (head.visual.dropout.p, head.audio.dropout.p) == (0.20, 0.25)
    assert head.classifier.layers[1].p == 0.2
    assert head.visual.project.out_features == head.audio.project.out_features == 512
    assert [layer.out_features for layer in head.gate if hasattr(layer, "out_features")] == [
        512
    ] * 2


def test_baselines_look_at_what_they_say() -> None:
    v, a, has_v, has_a = make_inputs(0)
    every = torch.ones_like(has_v)
    for name, kind in (("visual", VisualOnly), ("audio", AudioOnly), ("concat", Concatenation)):
        head = make_head(name)
        assert isinstance(head, kind)
        before = head(v, a, every, every)
        changed = head(v + 1, a, every, every), head(v, a * 2 + 1, every, every)
        assert [not torch.equal(before, x) for x in changed] == [
            m in head.uses for m in ("visual", "audio")
        ]
