"""The dual-branch network: what safe attention, masks and the gate promise."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_features import BACKBONES
from torch import Tensor, nn

from abawcli.config import DualBranchHead, GatedHead
from abawcli.errors import UsageError
from abawcli.models.dualbranch import (
    Branch,
    DualBranch,
    SafeCrossAttention,
    WindowGroups,
    group_windows,
)
from abawcli.models.heads import build_head
from abawcli.models.normalise import Moments

TINY = DualBranchHead(16, 2, 4, 2, 0.1, window_frames=12, stride_frames=6)
DIMS = {"visual": 6, "audio": 4}
checked = settings(max_examples=12, deadline=None)
seeds = st.integers(0, 1000)
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def make_inputs(seed: int, batch: int = 3, frames: int = 12, share: float = 0.6) -> Inputs:
    source = torch.Generator().manual_seed(seed)
    v, a = (torch.randn(batch, frames, dim, generator=source) for dim in DIMS.values())
    has_v, has_a = (torch.rand(batch, frames, generator=source) < share for _ in DIMS)
    return v, a, has_v, has_a


def make_head(seed: int = 0, config: DualBranchHead = TINY) -> DualBranch:
    torch.manual_seed(seed)
    head = DualBranch(DIMS["visual"], DIMS["audio"], config)
    for branch, dim in ((head.visual, 6), (head.audio, 4)):
        moments = Moments(dim)
        moments.add(torch.randn(50, dim) + 0.3)
        branch.norm.set_moments(moments)
    return head.eval()


def walk_alone(branch: Branch, features: Tensor, valid: Tensor) -> Tensor:
    """Return what a branch makes of its window without cross-attention, (B, T, H)."""
    x = branch.embed(features, valid)
    for layer in branch.layers:
        x = layer.feed_forward(layer.attend_self(x, valid))
    return branch.out_norm(x)


def read_alone(head: DualBranch, name: str, features: Tensor, valid: Tensor) -> Tensor:
    """Return the logits of one branch by itself."""
    known = valid.any(dim=1, keepdim=True).expand_as(valid)
    return head.classifier(walk_alone(head.get_submodule(name), features, valid), known)  # type: ignore[arg-type]


# SafeCrossAttention


def make_attention(seed: int, dropout: float = 0.0) -> SafeCrossAttention:
    torch.manual_seed(seed)
    return SafeCrossAttention(16, 4, dropout)


def copy_to_torch(attention: SafeCrossAttention) -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(16, 4, batch_first=True)
    query, key_value = attention.query, attention.key_value
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([query.weight, key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([query.bias, key_value.bias]))
    theirs.out_proj.load_state_dict(attention.out.state_dict())
    return theirs


@checked
@given(seeds, st.booleans())
def test_attention_is_torchs_where_there_is_a_valid_key(seed: int, all_valid: bool) -> None:
    attention = make_attention(seed)
    query, context = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    valid = torch.ones(2, 7, dtype=torch.bool) if all_valid else torch.rand(2, 7) < 0.5
    valid[:, seed % 7] = True
    theirs = copy_to_torch(attention)
    expected, _ = theirs(query, context, context, key_padding_mask=~valid, need_weights=False)
    torch.testing.assert_close(attention(query, context, valid), expected)


def test_attention_has_torchs_gradients() -> None:
    attention = make_attention(0)
    theirs = copy_to_torch(attention)
    query, context = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    attention(query, context, torch.ones(2, 7, dtype=torch.bool)).square().sum().backward()
    theirs(query, context, context, need_weights=False)[0].square().sum().backward()
    own = torch.cat([attention.query.weight.grad, attention.key_value.weight.grad])  # type: ignore[list-item]
    torch.testing.assert_close(own, theirs.in_proj_weight.grad)
    torch.testing.assert_close(attention.out.weight.grad, theirs.out_proj.weight.grad)


@pytest.mark.parametrize("training", [True, False])
def test_without_valid_keys_attention_is_exactly_zero(training: bool) -> None:
    attention = make_attention(1, dropout=0.5).train(training)
    query = torch.randn(2, 5, 16, requires_grad=True)
    context = torch.randn(2, 7, 16, requires_grad=True)
    valid = torch.zeros(2, 7, dtype=torch.bool)
    out = attention(query, context, valid)
    assert torch.equal(out, torch.zeros(2, 5, 16))
    (query + out).square().sum().backward()
    assert query.grad is not None and torch.equal(query.grad, 2 * query)  # only the residual
    assert context.grad is not None and torch.equal(context.grad, torch.zeros(2, 7, 16))
    grads = [p.grad for p in attention.parameters()]
    assert all(grad is not None and torch.equal(grad, torch.zeros_like(grad)) for grad in grads)


def test_samples_without_valid_keys_do_not_touch_the_others() -> None:
    attention = make_attention(2)
    query, context = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    valid = torch.tensor([[False] * 7, [True] * 7])
    out = attention(query, context, valid)
    assert torch.equal(out[0], torch.zeros(5, 16))
    torch.testing.assert_close(out[1:], attention(query[1:], context[1:], valid[1:]))


@pytest.mark.parametrize("junk", [-3.0, 1e30])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_what_stands_behind_the_mask_changes_nothing(junk: float, share: float) -> None:
    attention = make_attention(3)
    query, context = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    valid = torch.rand(2, 7) < share
    filled = context.masked_fill(~valid[..., None], junk).requires_grad_()
    out = attention(query, filled, valid)
    assert torch.equal(out, attention(query, context, valid))
    out.square().sum().backward()
    grads = [filled.grad, *(p.grad for p in attention.parameters())]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in grads)
    assert filled.grad is not None and not filled.grad[~valid].any()


@pytest.mark.parametrize("own", [True, False])
def test_training_computes_what_inference_does(monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    monkeypatch.setattr("abawcli.models.dropout.draw_factors", lambda x, p: torch.ones_like(x))
    layer, valid = make_attention(0, dropout=0.5), torch.rand(3, 9) < 0.5
    valid[0] = False
    query = torch.randn(3, 9, 16, requires_grad=True)
    context = query if own else torch.randn(3, 9, 16, requires_grad=True)
    found = []
    for training in (True, False):
        out = layer.train(training)(query, context, valid)
        inputs = [query, context, *layer.parameters()]
        found.append((out, *torch.autograd.grad(out.square().sum(), inputs)))
    for trained, inferred in zip(*found, strict=True):
        torch.testing.assert_close(trained, inferred)


def test_heads_must_share_the_width() -> None:
    with pytest.raises(UsageError, match="3 attention heads cannot share 16 dimensions"):
        DualBranch(6, 4, DualBranchHead(hidden=16, heads=3))


# Missing modalities


@checked
@given(seeds, st.sampled_from(["visual", "audio"]))
def test_without_one_modality_the_result_is_exactly_the_others_path(seed: int, name: str) -> None:
    head = make_head(seed)
    v, a, has_v, has_a = make_inputs(seed)
    nothing = torch.zeros_like(has_v)
    if name == "audio":
        logits, alone = head(v, a, nothing, has_a), read_alone(head, name, a, has_a)
    else:
        logits, alone = head(v, a, has_v, nothing), read_alone(head, name, v, has_v)
    assert torch.equal(logits.nan_to_num(99), alone.nan_to_num(99))


def test_a_silent_branch_learns_nothing_and_spoils_nothing() -> None:
    head = make_head().train()
    v, a, _, has_a = make_inputs(1)
    head(v, a, torch.zeros_like(has_a), has_a).nan_to_num().square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
        if name.startswith("visual.") or "audio" in name and "cross" in name:
            assert parameter.grad is None or not parameter.grad.any(), name


def test_samples_of_a_batch_are_judged_one_by_one() -> None:
    head = make_head()
    v, a, has_v, has_a = make_inputs(2, batch=4)
    has_v[0], has_a[1], has_v[2], has_a[2] = False, False, False, False
    logits = head(v, a, has_v, has_a)
    assert torch.isnan(logits[2]).all() and not torch.isnan(logits[[0, 1, 3]]).any()
    for k in range(4):
        one = head(v[k : k + 1], a[k : k + 1], has_v[k : k + 1], has_a[k : k + 1])
        torch.testing.assert_close(logits[k : k + 1], one, equal_nan=True)


def test_branches_compute_only_windows_with_their_modality(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head, rows = make_head(), []
    v, a, has_v, has_a = make_inputs(8, batch=6)
    has_v[:2], has_a[1:4] = False, False  # with visual: 2 to 5, with audio: 0, 4 and 5
    for name in ("visual.layers.0.self_norm", "audio.layers.0.cross_attention.out"):
        part = head.get_submodule(name)
        part.register_forward_hook(lambda module, inputs, out: rows.append(len(out)))
    found = []
    all_both = WindowGroups(torch.arange(6), 0, 6)  # as on a GPU
    for group in (group_windows, lambda *masks: all_both):
        monkeypatch.setattr("abawcli.models.dualbranch.group_windows", group)
        logits = head(v, a, has_v, has_a)
        loss = logits[~logits.isnan()].square().sum()
        found.append((logits.nan_to_num(99), *torch.autograd.grad(loss, list(head.parameters()))))
    assert rows == [4, 2, 6, 6]
    for sorted_, whole in zip(*found, strict=True):
        torch.testing.assert_close(sorted_, whole)


def test_a_frame_without_a_face_listens_to_the_faces_of_its_window() -> None:
    head = make_head()
    v, a, has_v, has_a = make_inputs(3)
    has_v[:, 5], has_a[:, 5], has_v[:, 2] = False, False, True
    before = head(v, a, has_v, has_a)
    assert not torch.isnan(before[:, 5]).any()  # neither modality, but the window has both
    v[:, 2] = -v[:, 2]
    assert (head(v, a, has_v, has_a) - before)[:, 5].abs().amin() > 0


@checked
@given(seeds)
def test_what_stands_in_missing_frames_does_not_matter(seed: int) -> None:
    head = make_head(seed)
    v, a, has_v, has_a = make_inputs(seed)
    junk_v = v.masked_fill(~has_v[..., None], torch.nan)
    junk_a = a.masked_fill(~has_a[..., None], -7e4)
    found, expected = (head(x, y, has_v, has_a) for x, y in ((v, a), (junk_v, junk_a)))
    assert torch.equal(found.nan_to_num(99), expected.nan_to_num(99))


@pytest.mark.parametrize("junk", [torch.nan, torch.inf, 1e30])
def test_what_stands_in_missing_frames_changes_no_gradient(junk: float) -> None:
    v, a, has_v, has_a = make_inputs(6)
    has_v[0] = False  # a sample without faces
    grads = []
    for value in (0.0, junk):
        head = make_head()
        filled = (x.masked_fill(~has[..., None], value) for x, has in ((v, has_v), (a, has_a)))
        head(*filled, has_v, has_a).square().sum().backward()
        grads.append([p.grad for p in head.parameters()])
    for ours, theirs in zip(*grads, strict=True):
        assert ours is not None and theirs is not None and torch.isfinite(ours).all()
        assert torch.equal(ours, theirs)


@checked
@given(seeds, st.integers(1, 11))
def test_padding_changes_no_frame_that_is_there(seed: int, frames: int) -> None:
    head = make_head(seed)
    inputs = make_inputs(seed, frames=frames)
    rest = 12 - frames
    junk = (torch.full((3, rest, dim), 5.0) for dim in DIMS.values())
    none = torch.zeros(3, rest, dtype=torch.bool)
    padded = [torch.cat(pair, dim=1) for pair in zip(inputs, (*junk, none, none), strict=True)]
    torch.testing.assert_close(
        head(*padded)[:, :frames], head(*inputs), atol=1e-5, rtol=1e-5, equal_nan=True
    )


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_gradients_are_finite_whatever_is_missing(share: float) -> None:
    head = make_head(config=DualBranchHead(16, 2, 4, 2, 0.3, 12, 6)).train()
    v, a, has_v, has_a = make_inputs(4, share=share)
    v.requires_grad_()
    logits = head(v, a, has_v, has_a)
    logits[~torch.isnan(logits)].square().sum().backward()
    grads = [v.grad, *(p.grad for p in head.parameters())]
    assert all(grad is None or torch.isfinite(grad).all() for grad in grads)


def test_gradients_reach_every_weight() -> None:
    head = make_head()
    head(*make_inputs(5)).square().sum().backward()
    idle = {n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == set()


# Size and settings


def test_parameter_count_is_the_structures() -> None:
    config = DualBranchHead()
    with torch.device("meta"):
        head = DualBranch(1024, 768, config)
    h, f = config.hidden, config.feed_ratio * config.hidden
    attention = h * h + h + 2 * h * h + 2 * h + h * h + h
    layer = 2 * attention + 4 * 2 * h + h * f + f + f * h + h
    branch = h + config.window_frames * h + config.layers * layer + 2 * h  # stand-in, positions
    gate = 2 * h * h + h + h + 1
    expected = 2 * branch + (1024 + 768) * h + 2 * h + gate + 2 * h + h * 8 + 8
    assert sum(p.numel() for p in head.parameters()) == expected


def test_settings_of_another_head_are_refused() -> None:
    with pytest.raises(UsageError, match="'dual-branch' has settings of its own, DualBranchHead"):
        build_head("dual-branch", BACKBONES, GatedHead())
    with pytest.raises(UsageError, match="'gated' has settings of its own, GatedHead"):
        build_head("gated", BACKBONES, TINY)
