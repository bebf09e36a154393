"""Knowledge distillation: teachers whose outputs another face encoder learns (arXiv 1503.02531)."""

import math
from collections.abc import Iterator, Sequence
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
from abawcli.training.image_augmentation import resample
from abawcli.training.loop import cast

# Views of an image without augmentation, whose outputs are averaged: side of the crop, relative to
# that of prediction, and angle in degrees. Each is also mirrored.
VIEWS = ((1.0, 0.0), (0.95, 6.0), (1.05, -6.0), (0.9, 0.0))


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
        """Check that a student with features of width `dim` can learn the first teacher's.

        Raises:
            UsageError: the features of the first teacher have another width.
        """
        width = self.networks[0][0].dim
        if width != dim:
            raise UsageError(
                f"--feature-weight needs features of one width: those of the first teacher have "
                f"{width}, the student's {dim}"
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

    def predict_views(
        self, images: Tensor, how: Preprocess, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Return `predict` for images (B, C, resize, resize), as the mean over their views."""
        found = [self.predict(view, temperature) for view in make_views(images, how)]
        p, features = (
            torch.stack([each.float() for each in part]) for part in zip(*found, strict=True)
        )
        return p.mean(dim=0), features.mean(dim=0)


def make_views(images: Tensor, how: Preprocess) -> Iterator[Tensor]:
    """Yield views (B, C, size, size) of images (B, C, resize, resize).

    The first is what prediction sees. The others are scaled, rotated and mirrored a little.
    """
    for side, degrees in VIEWS:
        scale, angle = side * how.size / how.resize, math.radians(degrees)
        along, across = scale * math.cos(angle), scale * math.sin(angle)
        matrix = images.new_tensor([[along, -across, 0], [across, along, 0]])  # (2, 3)
        view = resample(images, matrix.expand(len(images), 2, 3), how.size)
        yield view
        yield view.flip(-1)


def fit_images(images: Tensor, how: Preprocess) -> Tensor:
    """Convert images (B, C, S, S) in 0..1 to the channels and size of a preprocessing."""
    images = find_luma(images) if how.channels == 1 else images.expand(-1, 3, -1, -1)
    if images.shape[-1] == how.size:
        return images
    size = (how.size, how.size)
    return F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True)
