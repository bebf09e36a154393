"""The dual-branch Transformer of arXiv 2603.08034: visual and audio features of a window of frames.

There is one branch per modality. In every layer a branch attends to itself, then to the other one,
and only to valid frames. A gate mixes the two branches, frame by frame:

- In the branch of a modality that a frame lacks, a learned vector replaces it. It attends to the
  valid frames of the window, and no frame attends to it. So the branch has an output for this
  frame, too, which the gate weighs.
- If a branch has no valid frame in the window, the gate is forced to the other branch, whose
  cross-attention adds exactly 0. The result is that branch's alone.
- A frame with neither modality is predicted from the frames around it. The logits are NaN only if
  the window has no valid frame at all.

Padding is frames with neither modality; their result is ignored.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from abawcli.config import DualBranchHead
from abawcli.errors import UsageError
from abawcli.labels import N_CLASSES
from abawcli.models.dropout import Dropout
from abawcli.models.gated import Classifier
from abawcli.models.normalise import ModalityNorm, NormalisedHead
from abawcli.models.windows import check_windows


class SafeCrossAttention(nn.Module):
    """Multi-head attention to valid keys only, which may be none.

    If all keys are valid, it is `nn.MultiheadAttention`. Masked keys, of any finite value, change
    neither the output nor its gradient. A query without a valid key gets exactly 0.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise UsageError(f"{heads} attention heads cannot share {dim} dimensions evenly")
        self.heads = heads
        self.dropout = Dropout(dropout)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, query: Tensor, context: Tensor, valid: Tensor) -> Tensor:
        """Map queries (B, T, H) and a context (B, S, H), `valid` in part (B, S), to (B, T, H)."""
        known = valid.any(dim=1)[:, None, None]  # (B, 1, 1)
        q, k, v = self._project(query, context)  # (B, h, T, H/h), 2 x (B, h, S, H/h)
        # A softmax over no keys is 0 / 0: those attend to everything, and the result is dropped.
        hidden = (known & ~valid[:, None])[:, None]  # (B, 1, 1, S)
        mask = torch.zeros_like(hidden, dtype=q.dtype).masked_fill(hidden, -torch.inf)
        seen = self._attend(q, k, v, mask)  # (B, h, T, H/h)
        out: Tensor = self.out(seen.transpose(1, 2).flatten(2))  # (B, T, H)
        return out * known.to(out.dtype)  # a product with booleans takes several times as long

    def _project(self, query: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        """Return queries (B, h, T, H/h), and keys and values (B, h, S, H/h)."""
        if query is not context:
            return (*self._split(self.query(query), 1), *self._split(self.key_value(context), 2))
        maps = self.query, self.key_value  # of self-attention: in one product
        weight, bias = torch.cat([m.weight for m in maps]), torch.cat([m.bias for m in maps])
        return self._split(F.linear(query, weight, bias), 3)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Map q (B, h, T, D), k and v (B, h, S, D) to (B, h, T, D); a mask (B, 1, 1, S) is added.

        On a CPU, torch's own attention with dropout takes several times as long.
        """
        p = self.dropout.p if self.training else 0.0
        if p == 0 or q.device.type != "cpu":
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        each = mask[:, 0].repeat_interleave(self.heads, dim=0)  # (B * h, 1, S)
        queries, keys, values = (x.flatten(0, 1) for x in (q, k, v))  # (B * h, T or S, D)
        scores = torch.baddbmm(each, queries, keys.mT, alpha=q.shape[-1] ** -0.5)  # (B * h, T, S)
        weights: Tensor = self.dropout(scores.softmax(dim=-1))
        return (weights @ values).view_as(q)

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Map (B, S, parts * H) to parts x (B, h, S, H/h)."""
        width = x.shape[-1] // (parts * self.heads)  # not -1: there may be no window
        split = x.view(*x.shape[:2], parts, self.heads, width).permute(2, 0, 3, 1, 4)
        return tuple(split.contiguous().unbind())  # one copy for all parts


class BranchLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each pre-norm and residual."""

    def __init__(self, config: DualBranchHead) -> None:
        super().__init__()
        dim = config.hidden
        self.self_norm, self.query_norm, self.other_norm, self.feed_norm = (
            nn.LayerNorm(dim) for _ in range(4)
        )
        self.self_attention = SafeCrossAttention(dim, config.heads, config.dropout)
        self.cross_attention = SafeCrossAttention(dim, config.heads, config.dropout)
        self.feed = nn.Sequential(
            nn.Linear(dim, config.feed_ratio * dim),
            nn.GELU(),
            Dropout(config.dropout, inplace=True),
            nn.Linear(config.feed_ratio * dim, dim),
        )
        self.dropout = Dropout(config.dropout, inplace=True)

    def attend_self(self, x: Tensor, valid: Tensor) -> Tensor:
        """Attend to the own branch (B, T, H), where valid (B, T)."""
        n = self.self_norm(x)  # (B, T, H)
        out: Tensor = x + self.dropout(self.self_attention(n, n, valid))
        return out

    def attend_across(self, x: Tensor, other: Tensor, other_valid: Tensor) -> Tensor:
        """Attend to the other branch (B, T, H), where valid (B, T)."""
        seen = self.cross_attention(self.query_norm(x), self.other_norm(other), other_valid)
        out: Tensor = x + self.dropout(seen)
        return out

    def feed_forward(self, x: Tensor) -> Tensor:
        """Map each frame of (B, T, H) by itself."""
        out: Tensor = x + self.dropout(self.feed(self.feed_norm(x)))
        return out


class Branch(nn.Module):
    """The layers of one modality; `DualBranch` runs those of both in turn."""

    def __init__(self, dim: int, config: DualBranchHead) -> None:
        super().__init__()
        self.norm = ModalityNorm(dim)
        self.project = nn.Linear(dim, config.hidden)
        self.missing = nn.Parameter(torch.empty(config.hidden))
        self.position = nn.Parameter(torch.empty(config.window_frames, config.hidden))
        for parameter in (self.missing, self.position):
            nn.init.trunc_normal_(parameter, std=0.02)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(BranchLayer(config) for _ in range(config.layers))
        self.out_norm = nn.LayerNorm(config.hidden)

    def embed(self, features: Tensor, valid: Tensor) -> Tensor:
        """Map features (B, T, D) to (B, T, H), the learned vector where not `valid` (B, T).

        So masked entries are finite from here on, even if the features are not. In training in
        bfloat16, the result and with it the residual path of all layers have that format: sums
        of two formats would be converted each time.
        """
        projected = self.project(self.norm(features, valid))  # (B, T, H)
        missing, position = (x.to(projected.dtype) for x in (self.missing, self.position))
        there = torch.where(valid.unsqueeze(-1), projected, missing)  # (B, T, H)
        embedded: Tensor = self.dropout(there + position[: features.shape[1]])
        return embedded


class DualBranch(NormalisedHead):
    """Two branches over a window of frames, and a gate that mixes them: one number per frame."""

    settings = DualBranchHead
    uses = ("visual", "audio")

    def __init__(
        self, visual_dim: int, audio_dim: int, config: DualBranchHead, logits: int = N_CLASSES
    ) -> None:
        super().__init__()
        self.window, self.stride = config.window_frames, config.stride_frames
        check_windows(self.window, self.stride)
        self.visual = Branch(visual_dim, config)
        self.audio = Branch(audio_dim, config)
        self.gate = nn.Sequential(
            nn.Linear(2 * config.hidden, config.hidden),
            nn.GELU(),
            Dropout(config.dropout),
            nn.Linear(config.hidden, 1),
            nn.Sigmoid(),
        )
        self.classifier = Classifier(config.hidden, config.dropout, logits)

    def forward(
        self, visual: Tensor, audio: Tensor, has_visual: Tensor, has_audio: Tensor
    ) -> Tensor:
        """Map features (B, T, Dv), (B, T, Da) and masks (B, T) to logits (B, T, K).

        T is at most the window.
        """
        groups = group_windows(has_visual, has_audio)
        in_v, in_a = has_visual[groups.with_visual], has_audio[groups.with_audio]
        v = self.visual.embed(visual.index_select(0, groups.with_visual), in_v)  # (Bv, T, H)
        a = self.audio.embed(audio.index_select(0, groups.with_audio), in_a)  # (Ba, T, H)
        v, a = self._encode(v, a, in_v, in_a, groups=groups)
        fused = self._mix(v, a, in_v, in_a, groups=groups)  # (N, T, H)
        known = (has_visual | has_audio)[groups.known].any(dim=1, keepdim=True)  # (N, 1)
        logits: Tensor = self.classifier(fused, known.expand(fused.shape[:2]))  # (N, T, K)
        none = logits.new_full((len(visual), *logits.shape[1:]), torch.nan)  # (B, T, K)
        return none.index_copy(0, groups.known, logits)

    def _encode(
        self, v: Tensor, a: Tensor, in_v: Tensor, in_a: Tensor, *, groups: "WindowGroups"
    ) -> tuple[Tensor, Tensor]:
        """Return the output of both branches for the window, (Bv, T, H) and (Ba, T, H)."""
        has_v, has_a = groups.split(in_v, in_a)[1:3]  # 2 x (both, T)
        for of_v, of_a in zip(self.visual.layers, self.audio.layers, strict=True):
            assert isinstance(of_v, BranchLayer) and isinstance(of_a, BranchLayer)
            v, a = of_v.attend_self(v, in_v), of_a.attend_self(a, in_a)
            only_v, x, y, only_a = groups.split(v, a)
            v = torch.cat([only_v, of_v.attend_across(x, y, has_a)])
            a = torch.cat([of_a.attend_across(y, x, has_v), only_a])
            v, a = of_v.feed_forward(v), of_a.feed_forward(a)
        return self.visual.out_norm(v), self.audio.out_norm(a)

    def _mix(
        self, v: Tensor, a: Tensor, in_v: Tensor, in_a: Tensor, *, groups: "WindowGroups"
    ) -> Tensor:
        """Return both branches as the gate mixes them, (N, T, H)."""
        only_v, x, y, only_a = groups.split(v, a)
        has_v, has_a = groups.split(in_v, in_a)[1:3]  # 2 x (both, T)
        g: Tensor = self.gate(torch.cat([x, y], dim=-1))  # (both, T, 1): the visual branch's share
        no_visual, no_audio = (~m.any(dim=1)[:, None, None] for m in (has_v, has_a))
        g = g.masked_fill(no_audio, 1).masked_fill(no_visual, 0)
        return torch.cat([only_v, g * x + (1 - g) * y, only_a])


@dataclass(frozen=True)
class WindowGroups:
    """The windows (N,) of a batch, sorted by modality: visual alone, both, and audio alone.

    A branch has no effect on windows without its modality, so it is not computed for them.
    """

    known: Tensor  # (N,) numbers of the windows that are not without both
    visual: int  # windows with visual features alone
    both: int

    @property
    def with_visual(self) -> Tensor:
        """Return the windows (Bv,) with visual features."""
        return self.known[: self.visual + self.both]

    @property
    def with_audio(self) -> Tensor:
        """Return the windows (Ba,) with audio features."""
        return self.known[self.visual :]

    def split(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Split (Bv, ...) into visual alone and both, and (Ba, ...) into both and audio alone."""
        only_v, x = torch.split(v, [self.visual, self.both])
        y, only_a = torch.split(a, [self.both, len(a) - self.both])
        return only_v, x, y, only_a


def group_windows(has_visual: Tensor, has_audio: Tensor) -> WindowGroups:
    """Sort windows by their masks (B, T).

    On a GPU, all windows count as having both modalities: to read their numbers would wait for it.
    """
    count, device = len(has_visual), has_visual.device
    if device.type != "cpu":
        return WindowGroups(torch.arange(count, device=device), 0, count)
    v, a = has_visual.any(dim=1), has_audio.any(dim=1)  # (B,)
    parts = [where.nonzero()[:, 0] for where in (v & ~a, v & a, a & ~v)]
    return WindowGroups(torch.cat(parts), len(parts[0]), len(parts[1]))
