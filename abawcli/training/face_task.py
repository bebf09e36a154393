"""The training task of face encoders: Stage I of arXiv 2603.12221, at any size.

The mixture-of-experts head trains the backbone and is then dropped. A linear classifier beside it
is saved: it decides which epoch is the best, and labels faces in recipes without a fusion head. The
paper does not define this classifier, nor how Stage I is evaluated without its head.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from abawcli import __version__
from abawcli.config import EncoderTraining
from abawcli.formats.json_values import JsonObject
from abawcli.formats.manifest import LabelledImages
from abawcli.labels import CLASSES, N_CLASSES
from abawcli.metrics import score_labels
from abawcli.models.checkpoint import halve_matrices, save_checkpoint
from abawcli.models.image_backbones import Backbone
from abawcli.models.metadata import EpochResult, TrainingMetadata, Validation
from abawcli.models.moe import MixtureOfExpertsHead
from abawcli.models.preprocessing import normalise_pixels, prepare_crops, scale_to_unit
from abawcli.progress import Progress
from abawcli.training.image_augmentation import augment_images
from abawcli.training.image_data import ImageDataset
from abawcli.training.loop import Batches, Part, cast, split_decay
from abawcli.training.losses import class_weights, mix_up, soft_cross_entropy

ENCODER_NAME = "encoder.safetensors"
VALID_BATCH = 256  # images of a validation batch, which needs no gradients
Batch = tuple[Tensor, Tensor]  # images (B, S, S, 3) uint8, targets (B, 8)


class FaceNetwork(nn.Module):
    """Backbone, training head, and the linear classifier that is saved."""

    def __init__(self, backbone: Backbone, config: EncoderTraining) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = MixtureOfExpertsHead(backbone.dim, config.moe) if config.moe else None
        self.classifier = nn.Linear(backbone.dim, N_CLASSES)
        self.joint = config.joint_classifier

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the logits (B, 8) of each head in training, for prepared images (B, C, S, S)."""
        features = self.backbone(pixels)  # (B, D)
        if self.head is None:
            return [self.classifier(features)]
        shared = features if self.joint else features.detach()
        return [self.head(features), self.classifier(shared)]

    def parameter_groups(self, config: EncoderTraining) -> list[dict[str, Any]]:
        """Return AdamW's groups: learning rates by depth, no weight decay on biases and norms."""
        groups = []
        depth = self.backbone.depth_groups()
        for level, parameters in enumerate(depth):
            if level <= config.frozen_blocks and config.frozen_blocks:
                for parameter in parameters:
                    parameter.requires_grad_(False)
                continue
            below = max(0, len(depth) - 2 - level)  # how far below the deepest block
            rate = config.backbone_lr * config.layer_decay**below
            groups += split_decay(parameters, rate, config.weight_decay)
        rest = [p for m in (self.head, self.classifier) if m is not None for p in m.parameters()]
        return groups + split_decay(rest, config.head_lr, config.weight_decay)


def make_epoch_batches(
    count: int, batch_size: int, part: Part, generator: Generator
) -> list[list[int]]:
    """Return the batches of indices of one process and epoch; an incomplete batch is dropped."""
    order = torch.randperm(count, generator=generator).tolist()
    size = min(batch_size, count // part.count)
    whole = [order[k : k + size] for k in range(0, count - size + 1, size)]
    return whole[part.index : len(whole) - len(whole) % part.count : part.count]


class FaceTask:
    """A face encoder with its training and validation images."""

    result_name = ENCODER_NAME

    def __init__(
        self,
        backbone: Backbone,
        splits: dict[str, LabelledImages],
        config: EncoderTraining,
        device: torch.device,
        *,
        settings: JsonObject,
        data: JsonObject,
    ) -> None:
        """Make the network; `settings` identify the run, `data` goes into the checkpoint."""
        self.config, self.device = config, device
        self.settings, self.data = settings, data
        # Convolutions are fastest with channels last, on CPUs and GPUs.
        self.network = FaceNetwork(backbone, config)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.preprocess = backbone.preprocess
        self.train, self.valid = (
            ImageDataset(splits[name], self.preprocess) for name in ("train", "valid")
        )
        mass = torch.from_numpy(splits["train"].targets).sum(dim=0)  # (8,)
        self.weight = class_weights(mass, config.class_weight_power).to(device)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return AdamW's groups, each with its highest learning rate."""
        return self.network.parameter_groups(self.config)

    def describe(self) -> JsonObject:
        """Return everything that the result of the run depends on."""
        return self.settings | {"training": asdict(self.config)}

    def load_data(self, progress: Progress) -> None:
        """Do nothing: images are read when they are needed."""

    def make_batches(self, generator: Generator, part: Part) -> Batches[Batch]:
        """Return the batches of an epoch."""
        size = self.config.batch_size
        return self.train.load(make_epoch_batches(len(self.train), size, part, generator))

    def find_loss(self, model: nn.Module, batch: Batch, generator: Generator) -> Tensor:
        """Return the sum of the losses of the training head and of the classifier."""
        images, targets = (part.to(self.device) for part in batch)
        pixels, target = self._prepare(images, targets, generator)
        with cast(self.device, self.config.precision):
            logits = model(pixels)
        losses = [
            soft_cross_entropy(part.float(), target, self.weight, self.config.label_smoothing)
            for part in logits
        ]
        return torch.stack(losses).sum()

    def _prepare(
        self, images: Tensor, targets: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        preprocess = self.preprocess
        unit = scale_to_unit(images, preprocess)  # (B, C, S, S)
        mean = unit.new_tensor(preprocess.mean).view(-1, 1, 1)
        unit = augment_images(unit, preprocess.size, mean, self.config.augmentation, generator)
        pixels, target = mix_up(
            normalise_pixels(unit, preprocess), targets, self.config.mixup_alpha, generator
        )
        return pixels.contiguous(memory_format=torch.channels_last), target

    @torch.inference_mode()
    def validate(self, network: FaceNetwork) -> Validation:
        """Score the linear classifier on the validation images."""
        network.eval()
        count = len(self.valid)
        batches = [
            list(range(k, min(k + VALID_BATCH, count))) for k in range(0, count, VALID_BATCH)
        ]
        predicted = []
        for images, _ in self.valid.load(batches):
            pixels = prepare_crops(images.to(self.device), self.preprocess)
            logits = network.classifier(network.backbone(pixels))  # (B, 8)
            predicted.append(logits.argmax(dim=1).cpu().numpy())
        score = score_labels(self.valid.images.labels, np.concatenate(predicted))
        f1 = dict(zip(CLASSES, score.f1.tolist(), strict=True))
        return Validation(score.macro_f1, score.accuracy, f1)

    def save(self, network: FaceNetwork, out: str | Path, result: EpochResult) -> None:
        """Write backbone and classifier, without the training head."""
        out = Path(out)
        weights = network.state_dict().items()
        kept = halve_matrices({k: v for k, v in weights if not k.startswith("head.")})
        config = asdict(self.config)
        training = TrainingMetadata("train face", self.data, config, result, __version__)
        metadata = replace(network.backbone.describe(), training=training)
        save_checkpoint(out / ENCODER_NAME, kept, metadata)
