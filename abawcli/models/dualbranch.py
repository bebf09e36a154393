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
        split = x.view(*x.shape[:2], parts, self.heads, -1).permute(2, 0, 3, 1, 4)
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

        So masked entries are finite from here on, even if the features are not.
        """
        projected = self.project(self.norm(features, valid))  # (B, T, H)
        there = torch.where(valid.unsqueeze(-1), projected, self.missing)  # (B, T, H)
        embedded: Tensor = self.dropout(there + self.position[: features.shape[1]])
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
        v, a = self._encode(visual, audio, has_visual, has_audio)  # 2 x (B, T, H)
        g = self._weigh(v, a, has_visual, has_audio)  # (B, T, 1)
        known = (has_visual | has_audio).any(dim=1, keepdim=True).expand_as(has_visual)  # (B, T)
        logits: Tensor = self.classifier(g * v + (1 - g) * a, known)
        return logits

    def _encode(
        self, visual: Tensor, audio: Tensor, has_visual: Tensor, has_audio: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the output of both branches for the window, 2 x (B, T, H)."""
        v = self.visual.embed(visual, has_visual)  # (B, T, H)
        a = self.audio.embed(audio, has_audio)  # (B, T, H)
        for of_v, of_a in zip(self.visual.layers, self.audio.layers, strict=True):
            assert isinstance(of_v, BranchLayer) and isinstance(of_a, BranchLayer)
            v, a = of_v.attend_self(v, has_visual), of_a.attend_self(a, has_audio)
            v, a = of_v.attend_across(v, a, has_audio), of_a.attend_across(a, v, has_visual)
            v, a = of_v.feed_forward(v), of_a.feed_forward(a)
        return self.visual.out_norm(v), self.audio.out_norm(a)

    def _weigh(self, v: Tensor, a: Tensor, has_visual: Tensor, has_audio: Tensor) -> Tensor:
        """Return the gate: the visual branch's share in every frame, (B, T, 1)."""
        g: Tensor = self.gate(torch.cat([v, a], dim=-1))  # (B, T, 1)
        no_audio, no_visual = (~m.any(dim=1)[:, None, None] for m in (has_audio, has_visual))
        return g.masked_fill(no_audio, 1).masked_fill(no_visual, 0)
