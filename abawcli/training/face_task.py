"""The training task of face encoders: Stage I of arXiv 2603.12221, at any size.

The mixture-of-experts (MoE) head trains the backbone and is then discarded. A linear classifier
beside it is saved: its macro-F1 selects the best epoch, and it labels faces in recipes without a
fusion head. The paper defines neither this classifier nor how Stage I is evaluated without its
head.

Optionally, other encoders are teachers: they label the augmented images of each step, or, once
before training, the images without augmentation.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from abawcli import __version__
from abawcli.config import IMAGE_AUGMENTATION, EncoderTraining
from abawcli.errors import UsageError
from abawcli.formats.json_values import JsonObject
from abawcli.formats.manifest import LabelledImages
from abawcli.labels import CLASSES, IGNORE, N_CLASSES
from abawcli.metrics import score_labels
from abawcli.models.checkpoint import halve_matrices, save_checkpoint
from abawcli.models.image_backbones import Backbone
from abawcli.models.lora import add_lora, merge_lora
from abawcli.models.moe import MixtureOfExpertsHead
from abawcli.models.preprocessing import normalise_pixels, prepare_crops, scale_to_unit
from abawcli.models.training_metadata import EpochResult, TrainingMetadata, Validation
from abawcli.progress import Progress, ignore_progress
from abawcli.training.distillation import Teachers
from abawcli.training.distributed import Part, gather_items
from abawcli.training.ema import average_weights
from abawcli.training.image_augmentation import augment_images
from abawcli.training.image_data import Batch, ImageDataset
from abawcli.training.loop import Batches, cast, split_decay
from abawcli.training.losses import (
    class_weights,
    distillation_loss,
    feature_loss,
    mix_up,
    soft_cross_entropy,
)
from abawcli.training.run_folder import DEFINITIONS

ENCODER_NAME = "encoder.safetensors"
MAP_BATCH = 256  # images of a batch that needs no gradients


class FaceNetwork(nn.Module):
    """Backbone, training head, and the linear classifier that is saved."""

    def __init__(
        self, backbone: Backbone, config: EncoderTraining, classifier: nn.Linear | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = MixtureOfExpertsHead(backbone.dim, config.moe) if config.moe else None
        self.classifier = classifier or nn.Linear(backbone.dim, N_CLASSES)
        self.joint = config.joint_classifier

    def forward(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map prepared images (B, C, S, S) to features (B, D) and each head's logits (B, 8)."""
        features = self.backbone(pixels)  # (B, D)
        if self.head is None:
            return features, [self.classifier(features)]
        shared = features if self.joint else features.detach()
        return features, [self.head(features), self.classifier(shared)]

    def parameter_groups(self, config: EncoderTraining) -> list[dict[str, Any]]:
        """Return AdamW's groups: learning rates by depth, no weight decay on biases and norms."""
        groups = []
        depth = self.backbone.depth_groups()
        for level, parameters in enumerate(depth):
            if level <= config.frozen_blocks and config.frozen_blocks:
                for parameter in parameters:
                    parameter.requires_grad_(False)
                continue
            trained = [parameter for parameter in parameters if parameter.requires_grad]
            below = max(0, len(depth) - 2 - level)  # how far below the deepest block
            rate = config.backbone_lr * config.layer_decay**below
            groups += split_decay(trained, rate, config.weight_decay)
        rest = [p for m in (self.head, self.classifier) if m is not None for p in m.parameters()]
        return groups + split_decay(rest, config.head_lr, config.weight_decay)


def draw_order(chances: Tensor | None, count: int, generator: Generator) -> list[int]:
    """Return the images of an epoch: each once, or drawn with relative `chances` (count,)."""
    if chances is None:
        return torch.randperm(count, generator=generator).tolist()
    return torch.multinomial(chances, count, replacement=True, generator=generator).tolist()


def split_order(order: list[int], batch_size: int, part: Part) -> list[list[int]]:
    """Return the batches of indices of one process; an incomplete batch is dropped.

    Raises:
        UsageError: there are fewer images than processes.
    """
    count = len(order)
    if count < part.count:
        raise UsageError(f"{count} images are too few for {part.count} processes")
    size = min(batch_size, count // part.count)
    whole = [order[k : k + size] for k in range(0, count - size + 1, size)]
    return whole[part.index : len(whole) - len(whole) % part.count : part.count]


@torch.inference_mode()
def map_images(
    dataset: ImageDataset,
    function: Callable[[Tensor], Tensor],
    part: Part,
    progress: Progress = ignore_progress,
) -> list[Tensor]:
    """Return the results of a function of images (B, S, S, 3), for all images in batches.

    Each process computes its share of the batches, and gets all results, on the CPU. `progress` is
    called after each batch that teachers label.
    """
    count = len(dataset)
    batches = [list(range(k, min(k + MAP_BATCH, count))) for k in range(0, count, MAP_BATCH)]
    own = range(part.index, len(batches), part.count)
    found = {}
    for k, (images, _) in zip(own, dataset.load([batches[k] for k in own]), strict=True):
        found[k] = function(images.to(dataset.device)).cpu()
        progress(k + 1, len(batches), "labels of the teachers")
    return gather_items(found)


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
        classifier: nn.Linear | None = None,
        teachers: Sequence[str | Path] = (),
    ) -> None:
        """Build the network; `settings` identify the run, `data` goes into the checkpoint.

        `classifier` is that of the backbone; None: a new one.

        Raises:
            CheckpointError: a teacher cannot be loaded.
            UsageError: the features of the first teacher are to be learned and have another width;
                or the backbone cannot have adapters.
        """
        self.config, self.device = config, device
        self.settings, self.data = settings, data
        if config.lora_rank:
            add_lora(backbone, config.lora_rank, config.frozen_blocks)
        # Convolutions are fastest with channels last, on CPUs and GPUs.
        self.network = FaceNetwork(backbone, config, classifier)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.start = self._copy_start()
        self.preprocess = backbone.preprocess
        self.train, self.valid = (
            ImageDataset(splits[name], self.preprocess, device) for name in ("train", "valid")
        )
        targets = torch.from_numpy(splits["train"].targets)  # (N, 8)
        mass = targets.sum(dim=0)  # (8,)
        self.weight = class_weights(mass, config.class_weight_power).to(device)
        prior = (mass / mass.sum()).clamp_min(1 / mass.sum())  # (8,) at least one image
        self.adjustment = config.logit_adjustment * prior.log().to(device)
        self.chances = None
        if config.sampling_power:
            self.chances = targets @ class_weights(mass, config.sampling_power)  # (N,)
        self.teachers = Teachers(teachers, device, config.precision) if teachers else None
        if self.teachers and config.distillation.feature_weight:
            self.teachers.check_features(backbone.dim)

    def _copy_start(self) -> dict[str, Tensor]:
        """Return the initial weights that are averaged with the trained ones, by name."""
        if not self.config.init_share:
            return {}
        weights = self.network.state_dict().items()
        return {k: v.clone() for k, v in weights if not k.startswith("head.")}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return AdamW's groups, each with its highest learning rate."""
        return self.network.parameter_groups(self.config)

    def describe(self) -> JsonObject:
        """Return everything that the result of the run depends on."""
        definitions = {"the augmentation of images": IMAGE_AUGMENTATION}
        return self.settings | {"training": asdict(self.config), DEFINITIONS: definitions}

    def load_data(self, progress: Progress) -> None:
        """Read the images into memory, unless they are too many, and ask teachers about them."""
        for dataset in (self.train, self.valid):
            dataset.read_all()
        if self.teachers and self.config.distillation.images == "clean":
            ask = self._ask_about_views
            self.train.add_targets(torch.cat(map_images(self.train, ask, Part.own(), progress)))
            self.teachers = None  # they are not asked again: free their memory

    def make_batches(self, generator: Generator, part: Part) -> Batches[Batch]:
        """Return the batches of an epoch."""
        order = draw_order(self.chances, len(self.train), generator)
        return self.train.load(split_order(order, self.config.batch_size, part))

    def find_loss(self, model: nn.Module, batch: Batch, generator: Generator) -> Tensor:
        """Return the sum of the losses of the training head and of the classifier."""
        images, learned = (part.to(self.device) for part in batch)
        unit = scale_to_unit(images, self.preprocess)  # (B, C, S', S')
        unit, learned = self._augment(unit, learned, generator)
        target, known = learned[:, :N_CLASSES], learned[:, N_CLASSES:]  # (B, 8), (B, M or 0)
        if self.teachers and self.config.distillation.images == "augmented":
            known = self._join(*self.teachers.predict(unit, self.config.distillation.temperature))
        pixels = normalise_pixels(unit, self.preprocess)
        with cast(self.device, self.config.precision):
            features, outputs = model(pixels.contiguous(memory_format=torch.channels_last))
        logits = [output.float() for output in outputs]
        smoothing = self.config.label_smoothing
        losses = [
            soft_cross_entropy(each + self.adjustment, target, self.weight, smoothing)
            for each in logits
        ]
        loss = torch.stack(losses).sum()
        return self._distil(loss, known, features, logits) if known.shape[1] else loss

    def _ask_about_views(self, images: Tensor) -> Tensor:
        """Return the teachers' mean outputs (B, M) on views of images (B, S, S, 3)."""
        assert self.teachers
        unit = scale_to_unit(images, self.preprocess)
        how = self.config.distillation
        return self._join(*self.teachers.predict_views(unit, self.preprocess, how.temperature))

    def _join(self, p: Tensor, features: Tensor) -> Tensor:
        """Return the outputs of teachers that are learned: (B, 8), with features (B, 8 + D)."""
        wanted = self.config.distillation.feature_weight > 0
        return torch.cat([p, features.float()], dim=1) if wanted else p

    def _augment(
        self, unit: Tensor, learned: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Return images (B, C, S, S) in 0..1, augmented and mixed, and what is learned of them.

        `learned` (B, K) is that of the clean images (B, C, S', S'); it is mixed as these.
        """
        how = self.preprocess
        mean = unit.new_tensor(how.mean).view(-1, 1, 1)
        unit = augment_images(
            unit, how.size, mean, config=self.config.augmentation, generator=generator
        )
        return mix_up(unit, learned, self.config.mixup_alpha, generator)

    def _distil(
        self, loss: Tensor, known: Tensor, features: Tensor, logits: list[Tensor]
    ) -> Tensor:
        """Return the loss of the labels mixed with that of the teachers' outputs (B, M)."""
        how = self.config.distillation
        p, theirs = known[:, :N_CLASSES], known[:, N_CLASSES:]  # (B, 8), (B, D)
        taught = torch.stack([distillation_loss(each, p, how.temperature) for each in logits])
        loss = (1 - how.weight) * loss + how.weight * taught.sum()
        if how.feature_weight:
            loss = loss + how.feature_weight * feature_loss(features.float(), theirs)
        return loss

    def _average(self, network: FaceNetwork) -> FaceNetwork:
        """Return a network averaged with the initial weights, or as it is without a share."""
        if not self.start:
            return network
        return average_weights(network, self.start, self.config.init_share)

    @torch.inference_mode()
    def validate(self, network: FaceNetwork) -> Validation:
        """Score the linear classifier, and the training head, on the validation images.

        Each process classifies its share of the batches, which are those of one process.
        """
        network, labels = self._average(network), self.valid.images.labels
        logits = self._classify_valid(network, Part.own())
        scores = [score_labels(labels, part.argmax(dim=1).numpy()) for part in logits]
        score, moe = scores[-1], scores[0].macro_f1 if network.head else None
        truth = torch.from_numpy(labels)
        return Validation(
            score.macro_f1,
            score.accuracy,
            dict(zip(CLASSES, score.f1.tolist(), strict=True)),
            loss=F.cross_entropy(logits[-1], truth, ignore_index=IGNORE).item(),
            moe_macro_f1=moe,
            criterion=moe if self.config.select == "moe" else None,
        )

    def _classify_valid(self, network: FaceNetwork, part: Part) -> Tensor:
        """Return the logits of all validation images by all heads, (heads, N, 8)."""
        network.eval()

        def classify(images: Tensor) -> Tensor:
            pixels = prepare_crops(images, self.preprocess)
            return torch.stack(network(pixels)[1]).float()  # (heads, B, 8)

        return torch.cat(map_images(self.valid, classify, part), dim=1)

    def save(self, network: FaceNetwork, out: str | Path, result: EpochResult) -> None:
        """Write backbone and classifier, without the training head."""
        out, network = Path(out), self._average(network)
        merged = merge_lora(network) if self.config.lora_rank else network.state_dict()
        weights = merged.items()
        kept = halve_matrices({k: v for k, v in weights if not k.startswith("head.")})
        config = asdict(self.config)
        training = TrainingMetadata(
            command="train face", data=self.data, config=config, result=result, version=__version__
        )
        metadata = replace(network.backbone.describe(), training=training)
        save_checkpoint(out / ENCODER_NAME, kept, metadata)
