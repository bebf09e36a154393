"""Gated fusion of visual and audio features, frame by frame: Stage II of arXiv 2603.12221.

The paper's baselines have the same paths and classifier, without the gate: visual features alone,
audio features alone, and both concatenated.
"""

import torch
from torch import Tensor, nn

from abawcli.config import GatedHead
from abawcli.labels import N_CLASSES
from abawcli.models.dropout import Dropout
from abawcli.models.normalise import ModalityNorm, NormalisedHead


class ModalityPath(nn.Module):
    """The path of one modality's features: normalisation, dropout and projection."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = ModalityNorm(dim)
        self.dropout = Dropout(dropout)
        self.project = nn.Linear(dim, hidden)

    def prepare(self, features: Tensor, valid: Tensor) -> Tensor:
        """Map features (..., D) to z-scores (..., D), 0 where `valid` (...) is not."""
        scores: Tensor = self.dropout(self.norm(features, valid))
        return scores

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Map features (..., D) to (..., H)."""
        projected: Tensor = self.project(self.prepare(features, valid))
        return projected


class Classifier(nn.Module):
    """The classifier of a fused vector: LayerNorm, dropout, linear."""

    def __init__(self, dim: int, dropout: float, logits: int = N_CLASSES) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(dim), Dropout(dropout), nn.Linear(dim, logits))

    @property
    def linear(self) -> nn.Linear:
        """Return the last layer, which gives the logits."""
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        return last

    def forward(self, fused: Tensor, known: Tensor) -> Tensor:
        """Map (..., H) to logits (..., K), NaN where `known` (...) is not."""
        logits: Tensor = self.layers(fused)
        return logits.masked_fill(~known.unsqueeze(-1), torch.nan)


class FrameHead(NormalisedHead):
    """The base of the heads here, which read single frames."""

    settings = GatedHead
    window = stride = 1


class GatedFusion(FrameHead):
    """z = g * Wv v + (1 - g) * Wa a; the gate g is computed from both, element by element.

    If one modality is missing, the gate is forced to the other one, and the result depends on the
    other path alone.
    """

    uses = ("visual", "audio")

    def __init__(
        self, visual_dim: int, audio_dim: int, config: GatedHead, logits: int = N_CLASSES
    ) -> None:
        super().__init__()
        self.visual = ModalityPath(visual_dim, config.hidden, config.visual_dropout)
        self.audio = ModalityPath(audio_dim, config.hidden, config.audio_dropout)
        self.gate = nn.Sequential(
            nn.Linear(visual_dim + audio_dim, config.hidden),
            nn.ReLU(),
            Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
            nn.Sigmoid(),
        )
        self.classifier = Classifier(config.hidden, config.dropout, logits)

    def forward(
        self, visual: Tensor, audio: Tensor, has_visual: Tensor, has_audio: Tensor
    ) -> Tensor:
        """Map features (..., Dv), (..., Da) and masks (...) to logits (..., K)."""
        v = self.visual.prepare(visual, has_visual)  # (..., Dv)
        a = self.audio.prepare(audio, has_audio)  # (..., Da)
        g: Tensor = self.gate(torch.cat([v, a], dim=-1))  # (..., H)
        g = g.masked_fill(~has_audio.unsqueeze(-1), 1).masked_fill(~has_visual.unsqueeze(-1), 0)
        z = g * self.visual.project(v) + (1 - g) * self.audio.project(a)  # (..., H)
        logits: Tensor = self.classifier(z, has_visual | has_audio)
        return logits


class VisualOnly(FrameHead):
    """The visual path alone; audio is ignored."""

    uses = ("visual",)

    def __init__(
        self, visual_dim: int, audio_dim: int, config: GatedHead, logits: int = N_CLASSES
    ) -> None:
        super().__init__()
        self.visual = ModalityPath(visual_dim, config.hidden, config.visual_dropout)
        self.classifier = Classifier(config.hidden, config.dropout, logits)

    def forward(
        self, visual: Tensor, audio: Tensor, has_visual: Tensor, has_audio: Tensor
    ) -> Tensor:
        """Map features (..., Dv) and their mask (...) to logits (..., K)."""
        logits: Tensor = self.classifier(self.visual(visual, has_visual), has_visual)
        return logits


class AudioOnly(FrameHead):
    """The audio path alone; faces are ignored."""

    uses = ("audio",)

    def __init__(
        self, visual_dim: int, audio_dim: int, config: GatedHead, logits: int = N_CLASSES
    ) -> None:
        super().__init__()
        self.audio = ModalityPath(audio_dim, config.hidden, config.audio_dropout)
        self.classifier = Classifier(config.hidden, config.dropout, logits)

    def forward(
        self, visual: Tensor, audio: Tensor, has_visual: Tensor, has_audio: Tensor
    ) -> Tensor:
        """Map features (..., Da) and their mask (...) to logits (..., K)."""
        logits: Tensor = self.classifier(self.audio(audio, has_audio), has_audio)
        return logits


class Concatenation(FrameHead):
    """Both projections, concatenated; a missing modality has the training mean."""

    uses = ("visual", "audio")

    def __init__(
        self, visual_dim: int, audio_dim: int, config: GatedHead, logits: int = N_CLASSES
    ) -> None:
        super().__init__()
        self.visual = ModalityPath(visual_dim, config.hidden, config.visual_dropout)
        self.audio = ModalityPath(audio_dim, config.hidden, config.audio_dropout)
        self.classifier = Classifier(2 * config.hidden, config.dropout, logits)

    def forward(
        self, visual: Tensor, audio: Tensor, has_visual: Tensor, has_audio: Tensor
    ) -> Tensor:
        """Map features (..., Dv), (..., Da) and masks (...) to logits (..., K)."""
        both = [self.visual(visual, has_visual), self.audio(audio, has_audio)]  # 2 x (..., H)
        logits: Tensor = self.classifier(torch.cat(both, dim=-1), has_visual | has_audio)
        return logits
