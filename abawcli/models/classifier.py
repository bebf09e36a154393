"""The classifier of an image encoder as a head: what a recipe without a trained head has."""

import torch
from torch import Tensor, nn

from abawcli.labels import N_CLASSES


class EncoderClassifier(nn.Module):
    """A linear classifier of one frame's face; audio is not used."""

    uses = ("visual",)
    window = stride = 1

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def width(self, modality: str) -> int:
        """Return the width of the features of a modality that is used."""
        return self.linear.in_features

    def forward(
        self, visual: Tensor, audio: Tensor, has_visual: Tensor, has_audio: Tensor
    ) -> Tensor:
        """Map features (..., Dv) and their mask (...) to logits (..., 8), NaN without a face."""
        logits = visual.new_full((*has_visual.shape, N_CLASSES), torch.nan)
        logits[has_visual] = self.linear(visual[has_visual])
        return logits
