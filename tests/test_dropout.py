"""Dropout: rate, scale, gradient and seeds."""

import pytest
import torch

from abawcli.models.dropout import Dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [0.1, 0.25, 0.6])
def test_entries_are_dropped_at_the_rate_and_the_others_scaled(
    p: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    x = torch.full((40, 30, 333), 2.0, dtype=dtype, requires_grad=True)
    layer = Dropout(p)
    out = torch.stack([layer(each) for each in x])
    kept = torch.tensor([0, 2 / (1 - p)], dtype=dtype)
    assert out.dtype == dtype
    torch.testing.assert_close(out.detach().unique(), kept, atol=0, rtol=0.01)
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.002)
    along = (out[..., 1:] == 0) & (out[..., :-1] == 0)  # entries of the same random word
    assert along.float().mean().item() == pytest.approx(p * p, abs=0.005)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, out.detach() / 2)


@pytest.mark.parametrize("p", [0.0, 1e-7, 1.0])
def test_rates_at_the_ends_are_torchs(p: float) -> None:
    x = torch.ones(4, 5)
    torch.testing.assert_close(Dropout(p)(x), x * (p < 1))


def test_the_seed_is_torchs_and_inference_drops_nothing() -> None:
    x, layer = torch.ones(2, 3, 7), Dropout(0.5)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(layer(x))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert layer.eval()(x) is x
