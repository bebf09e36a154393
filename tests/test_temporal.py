"""The heads that mix frames over time by convolutions or a GRU."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_features import SMALL_SEQUENCE
from torch import Tensor, nn

from abawcli.config import SequenceHead
from abawcli.errors import UsageError
from abawcli.models.temporal import KERNEL, Gru, Recurrence, Tcn

KINDS = (Tcn, Gru)
kinds, seeds = st.sampled_from(KINDS), st.integers(0, 99)
both = pytest.mark.parametrize("kind", KINDS)
checked = settings(max_examples=12, deadline=None)


def make_head(kind: type[Tcn] | type[Gru], config: SequenceHead = SMALL_SEQUENCE) -> Tcn | Gru:
    torch.manual_seed(0)
    return kind(6, 4, config).eval()


def make_inputs(seed: int, share: float = 0.6, frames: int = 12) -> tuple[Tensor, ...]:
    """Features (3, T, 6), (3, T, 4), and masks with that share of frames; all of the third."""
    torch.manual_seed(seed)
    has = torch.rand(2, 3, frames) < share
    has[:, 2] = True
    return torch.randn(3, frames, 6), torch.randn(3, frames, 4), *has


@checked
@given(kinds, seeds, st.sampled_from([torch.nan, torch.inf, 7.0]))
def test_values_behind_a_mask_change_nothing(
    kind: type[Tcn] | type[Gru], seed: int, junk: float
) -> None:
    head = make_head(kind)
    v, a, has_v, has_a = make_inputs(seed)
    filled = v.masked_fill(~has_v[..., None], junk), a.masked_fill(~has_a[..., None], junk)
    torch.testing.assert_close(
        head(*filled, has_v, has_a), head(v, a, has_v, has_a), rtol=0, atol=0, equal_nan=True
    )


@checked
@given(kinds, seeds, st.integers(1, 11))
def test_padding_changes_nothing(kind: type[Tcn] | type[Gru], seed: int, frames: int) -> None:
    head, inputs = make_head(kind), make_inputs(seed, frames=frames)
    v, a, has_v, has_a = inputs
    rest = 12 - frames
    junk = torch.randn(3, rest, 6), torch.randn(3, rest, 4), *(torch.zeros(2, 3, rest) > 0)
    padded = [torch.cat(pair, dim=1) for pair in zip(inputs, junk, strict=True)]
    found, expected = head(*padded)[:, :frames], head(v, a, has_v, has_a)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, equal_nan=True)


@both
def test_a_frame_follows_its_own_features_and_those_around(kind: type[Tcn] | type[Gru]) -> None:
    """Frame t is changed most by the features of frame t, and by others within reach."""
    v, a, has_v, has_a = make_inputs(1, share=1.0)
    v.requires_grad_()
    head = make_head(kind)
    for t in range(12):
        (slope,) = torch.autograd.grad(head(v, a, has_v, has_a)[2, t].square().sum(), v)
        size = slope[2].norm(dim=-1)  # (T,)
        assert size.argmax() == t and not slope[:2].any()
        assert (size > 0).sum() > 1


def test_the_reach_of_convolutions_doubles_with_each_layer() -> None:
    config = replace(SMALL_SEQUENCE, layers=3, window_frames=40, stride_frames=20)
    head = make_head(Tcn, config)
    v, a, has_v, has_a = make_inputs(2, share=1.0, frames=40)
    v.requires_grad_()
    (slope,) = torch.autograd.grad(head(v, a, has_v, has_a)[0, 20].square().sum(), v)
    reach = (KERNEL - 1) // 2 * (1 + 2 + 4)
    read = slope[0].norm(dim=-1).nonzero().flatten().tolist()
    assert read == list(range(20 - reach, 20 + reach + 1))


def test_a_gru_skips_frames_without_features() -> None:
    torch.manual_seed(0)
    mixer = Recurrence(SMALL_SEQUENCE).eval()
    x, known = torch.randn(1, 9, 16), torch.tensor([[0, 1, 1, 0, 0, 1, 0, 1, 0]]).bool()
    states = mixer.gru(x[:, known[0]])[0][0]  # (4, 2 * 16)
    zero = torch.zeros(16)
    before = [zero, *states[[0, 1, 1, 1, 2, 2, 3, 3], :16]]
    behind = [*states[[0, 0, 1, 2, 2, 2, 3, 3], 16:], zero]
    expected = x[0] + mixer.out(torch.cat([torch.stack(before), torch.stack(behind)], dim=-1))
    torch.testing.assert_close(mixer(x, known)[0], expected)


@both
def test_a_window_without_features_has_no_result_and_finite_gradients(
    kind: type[Tcn] | type[Gru],
) -> None:
    head = make_head(kind).train()
    v, a, has_v, has_a = make_inputs(3)
    has_v[0], has_a[0], has_v[1, 3], has_a[1, 3] = False, False, False, False
    logits = head(v, a, has_v, has_a)
    assert logits[0].isnan().all() and logits[1:].isfinite().all()
    logits[1:].square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@both
def test_windows_leave_no_frame_out(kind: type[nn.Module]) -> None:
    with pytest.raises(UsageError, match="windows of 12 frames every 13"):
        kind(6, 4, replace(SMALL_SEQUENCE, stride_frames=13))
