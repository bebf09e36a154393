"""Normalisation: moments of streams, and what is constant."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from abawcli.models.normalise import ModalityNorm, Moments


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(0, 1000))
def test_moments_of_blocks_are_those_of_the_whole(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(2, 1, (size, 5)).astype(np.float16) for size in sizes]
    moments = Moments(5)
    for block in blocks:
        moments.add(torch.from_numpy(block))
    whole = np.concatenate(blocks).astype(np.float64)
    assert moments.count == len(whole)
    if len(whole):
        unit = whole / np.linalg.norm(whole, axis=1, keepdims=True)
        np.testing.assert_allclose(moments.mean, unit.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(moments.deviation(), unit.std(axis=0), atol=1e-12)


def test_training_features_become_z_scores_of_any_length() -> None:
    x = torch.randn(2000, 7) + 1
    moments = Moments(7)
    moments.add(x)
    norm = ModalityNorm(7)
    norm.set_moments(moments)
    valid = torch.ones(2000, dtype=torch.bool)
    z = norm(x, valid)
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(7), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(dim=0, correction=0), torch.ones(7), atol=1e-4, rtol=0)
    torch.testing.assert_close(norm(x * 100, valid), z, atol=1e-4, rtol=1e-4)
    assert (norm(x, ~valid) == 0).all()


def test_what_never_varied_in_training_counts_nothing() -> None:
    x = torch.eye(3)[torch.arange(30) % 2]  # the third entry is 0 always
    moments = Moments(3)
    moments.add(x)
    norm = ModalityNorm(3)
    norm.set_moments(moments)
    z = norm(torch.tensor([[0.0, 0.0, 5.0]]), torch.tensor([True]))
    assert z[0, 2] == 0 and z.abs().max() == pytest.approx(1.0)
    assert norm.state_dict().keys() == {"mean", "scale"}
