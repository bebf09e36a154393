"""Knowledge distillation: teachers whose outputs another face encoder learns (arXiv 1503.02531)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from abawcli.errors import UsageError
from abawcli.formats.metadata import Preprocess
from abawcli.models.compact import fold_batch_norm
from abawcli.models.encoder import load_backbone
from abawcli.models.image_backbones import Backbone
from abawcli.models.preprocessing import find_luma, normalise_pixels
from abawcli.training.loop import cast


class Teachers:
    """Encoders in inference form, whose probabilities are averaged."""

    def __init__(self, paths: Sequence[str | Path], device: torch.device, precision: str) -> None:
        """Load the encoders of checkpoints.

        Raises:
            CheckpointError: as `load_backbone`.
        """
        self.device, self.precision = device, precision
        self.networks: list[tuple[Backbone, nn.Linear]] = []
        for path in paths:
            backbone, classifier, _ = load_backbone(path)
            fold_batch_norm(backbone.eval())
            for module in (backbone, classifier):
                module.eval().requires_grad_(False).to(device)
            backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.networks.append((backbone, classifier))

    def check_features(self, dim: int) -> None:
        """Check that the student, with features of width `dim`, can learn the teachers' features.

        Raises:
            UsageError: there are several teachers, or their features have another width.
        """
        if len(self.networks) > 1:
            raise UsageError("--feature-weight needs a single --teacher: features of two differ")
        width = self.networks[0][0].dim
        if width != dim:
            raise UsageError(
                f"--feature-weight needs features of one width: the teacher's have {width}, "
                f"the student's {dim}"
            )

    @torch.no_grad()
    def predict(self, images: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Return the mean probabilities (B, 8) at a temperature, and the first teacher's features.

        Images are (B, C, S, S) in 0..1; each teacher gets them in its own size and normalisation.
        Features are (B, D).
        """
        outputs = []
        for backbone, classifier in self.networks:
            pixels = normalise_pixels(fit_images(images, backbone.preprocess), backbone.preprocess)
            with cast(self.device, self.precision):
                features = backbone(pixels.contiguous(memory_format=torch.channels_last))
                logits = classifier(features)
            outputs.append(((logits.float() / temperature).softmax(dim=-1), features))
        return torch.stack([p for p, _ in outputs]).mean(dim=0), outputs[0][1]


def fit_images(images: Tensor, how: Preprocess) -> Tensor:
    """Convert images (B, C, S, S) in 0..1 to the channels and size of a preprocessing."""
    images = find_luma(images) if how.channels == 1 else images.expand(-1, 3, -1, -1)
    if images.shape[-1] == how.size:
        return images
    size = (how.size, how.size)
    return F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True)
