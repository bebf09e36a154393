"""The mixture-of-experts (MoE) head that trains an image encoder and is then discarded.

arXiv 2603.12221, Stage I: four experts, dense softmax routing, no top-k and no balance loss.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from abawcli.config import MoEHead
from abawcli.labels import N_CLASSES


class SwiGLUBlock(nn.Module):
    """Residual pre-norm SwiGLU: x + drop_path(dropout(W3(silu(W1 n) * W2 n))), n = norm(x)."""

    def __init__(self, dim: int, hidden: int, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.gate = nn.Linear(dim, hidden)
        self.value = nn.Linear(dim, hidden)
        self.out = nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D) to (B, D)."""
        n = self.norm(x)  # (B, D)
        y = self.dropout(self.out(F.silu(self.gate(n)) * self.value(n)))  # (B, D)
        if self.training and self.drop_path > 0:
            keep = 1 - self.drop_path
            y = y * torch.empty(len(y), 1, device=y.device).bernoulli_(keep) / keep  # (B, D)
        out: Tensor = x + y
        return out


class MixtureOfExpertsHead(nn.Module):
    """Features (B, D) to logits (B, 8) through experts weighted by a softmax router."""

    def __init__(self, dim: int, config: MoEHead) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.router = nn.Sequential(
            nn.Linear(dim, config.router_hidden),
            nn.LayerNorm(config.router_hidden),
            nn.GELU(),
            nn.Linear(config.router_hidden, config.experts),
        )
        last = max(config.blocks - 1, 1)
        rates = [config.drop_path * k / last for k in range(config.blocks)]
        self.experts = nn.ModuleList(
            nn.Sequential(
                *(SwiGLUBlock(dim, dim * config.hidden_ratio, config.dropout, r) for r in rates)
            )
            for _ in range(config.experts)
        )
        self.out_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(dim, N_CLASSES)

    def route(self, features: Tensor) -> Tensor:
        """Return each expert's share, (B, D) to (B, experts); rows sum to 1."""
        shares: Tensor = self.router(self.norm(features)).softmax(dim=-1)  # (B, E)
        return shares

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, D) to logits (B, 8)."""
        shares = self.route(features)  # (B, E)
        outputs = torch.stack([expert(features) for expert in self.experts], dim=1)  # (B, E, D)
        mixed = (shares.unsqueeze(-1) * outputs).sum(dim=1)  # (B, D)
        logits: Tensor = self.classifier(self.dropout(self.out_norm(mixed)))  # (B, 8)
        return logits
