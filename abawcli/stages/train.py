"""Train an image encoder: Stage I of arXiv 2603.12221, at any size.

The backbone learns through the mixture-of-experts head, which is thrown away. A linear classifier
beside it stays: the reading of the features by which epochs are compared, and the labels of recipes
without a fusion head. It is ours; the paper does not say how Stage I is read without its head.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from abawcli import __version__
from abawcli.config import COMPACT_FACE, EncoderTraining, default_training
from abawcli.device import choose_device, choose_precision
from abawcli.errors import InputError, UsageError
from abawcli.faces.crop import read_image, resize_square
from abawcli.formats.manifest import LabelledImages, read_manifest
from abawcli.labels import CLASSES, N_CLASSES
from abawcli.metrics import Score, score_labels
from abawcli.models.augment import augment_images
from abawcli.models.backbones import Backbone, Preprocess, build_backbone
from abawcli.models.checkpoint import halve_matrices, hash_file, save_checkpoint
from abawcli.models.losses import class_weights, mix_up, soft_cross_entropy
from abawcli.models.moe import MixtureOfExpertsHead
from abawcli.models.runs import History, average_weights, load_state, open_run, save_state

ENCODER_NAME = "encoder.safetensors"
CACHE_BYTES = 2 * 2**30  # decoded training images are kept in memory up to this
Progress = Callable[[int, int | None, str], None]  # done, total, what


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images of a manifest, brought to the backbone's `resize`, with their targets."""

    def __init__(self, images: LabelledImages, preprocess: Preprocess) -> None:
        self.images = images
        self.side = preprocess.resize
        self.cache: dict[int, NDArray[np.uint8]] = {}
        self.cached = len(images.files) * self.side**2 * 3 <= CACHE_BYTES

    def __len__(self) -> int:
        return len(self.images.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one image (S, S, 3) uint8 RGB and its target (8,)."""
        image = self.cache.get(index)
        if image is None:
            image = self._read(self.images.files[index])
            if self.cached:
                self.cache[index] = image
        return torch.from_numpy(image), torch.from_numpy(self.images.targets[index])

    def _read(self, file: Path) -> NDArray[np.uint8]:
        image = read_image(file)
        if image is None:
            raise InputError(f"cannot read the image {file}; correct or remove its manifest row")
        return resize_square(image, self.side)

    def batches(self, batches: list[list[int]]) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return a loader of the given batches; workers only where images are not kept."""
        workers = 0 if self.cached else min(8, torch.get_num_threads())
        return DataLoader(self, batch_sampler=batches, num_workers=workers)


class Trainee(nn.Module):
    """Backbone, training head and the linear classifier that stays."""

    def __init__(self, backbone: Backbone, config: EncoderTraining) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = MixtureOfExpertsHead(backbone.dim, config.moe) if config.moe else None
        self.classifier = nn.Linear(backbone.dim, N_CLASSES)
        self.joint = config.joint_classifier

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Map prepared images (B, C, S, S) to the logits (B, 8) of each head to be trained."""
        features = self.backbone(pixels)  # (B, D)
        if self.head is None:
            return [self.classifier(features)]
        read = features if self.joint else features.detach()
        return [self.head(features), self.classifier(read)]

    def parameter_groups(self, config: EncoderTraining) -> list[dict[str, Any]]:
        """Return AdamW's groups: decayed learning rates by depth, no weight decay on vectors."""
        groups = []
        depth = self.backbone.depth_groups()
        for level, parameters in enumerate(depth):
            if level <= config.frozen_blocks and config.frozen_blocks:
                for parameter in parameters:
                    parameter.requires_grad_(False)
                continue
            below = max(0, len(depth) - 2 - level)  # how far below the deepest block
            rate = config.backbone_lr * config.layer_decay**below
            groups.append((parameters, rate))
        rest = [p for m in (self.head, self.classifier) if m is not None for p in m.parameters()]
        groups.append((rest, config.head_lr))
        return [
            {"params": chosen, "base_lr": rate, "lr": rate, "weight_decay": decay}
            for parameters, rate in groups
            for chosen, decay in (
                ([p for p in parameters if p.ndim > 1], config.weight_decay),
                ([p for p in parameters if p.ndim <= 1], 0.0),
            )
            if chosen
        ]


def _epoch_batches(
    count: int, config: EncoderTraining, epoch: int, part: int, parts: int
) -> list[list[int]]:
    """Return this process's batches of an epoch; the rest that fills no batch is left out."""
    order = torch.randperm(count, generator=_generator(config, epoch, -1)).tolist()
    size = min(config.batch_size, count // parts)
    whole = [order[k : k + size] for k in range(0, count - size + 1, size)]
    return whole[part : len(whole) - len(whole) % parts : parts]


def _generator(config: EncoderTraining, epoch: int, part: int) -> torch.Generator:
    """Seed by run, epoch and process, so that a resumed run draws what the first would have."""
    return torch.Generator().manual_seed((config.seed * 10_007 + epoch) * 1_009 + part + 1)


class EncoderRun:
    """One training run: its folder, its state between epochs, and one epoch's work."""

    def __init__(
        self,
        out: Path,
        config: EncoderTraining,
        backbone: Backbone,
        accelerator: Accelerator,
        data: dict[str, str],
    ) -> None:
        self.out, self.config, self.accelerator = out, config, accelerator
        self.data = data  # what it is trained on, for the checkpoint's description
        self.trainee = Trainee(backbone, config)
        groups = self.trainee.parameter_groups(config)
        self.trainee.to(accelerator.device)
        # channels last: what convolutions are fastest with, on CPUs and GPUs
        self.trainee.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(groups)
        decay = config.ema_decay
        self.averaged = average_weights(self.trainee, decay) if decay else None
        self.model, self.optimizer = accelerator.prepare(self.trainee, self.optimizer)
        self.history: History = []

    @property
    def best(self) -> float:
        """Return the best macro-F1 so far."""
        return max((row["macro_f1"] for row in self.history), default=-1.0)

    @property
    def state(self) -> nn.Module:
        """Return all weights that the next epoch needs."""
        if self.averaged is None:
            return self.trainee
        return nn.ModuleDict({"trainee": self.trainee, "averaged": self.averaged})

    @property
    def kept(self) -> Trainee:
        """Return the network that is evaluated and saved: the trainee, or its running mean."""
        kept: Trainee = self.averaged.module if self.averaged else self.trainee  # type: ignore[assignment]
        return kept

    def train_epoch(
        self, data: ImageDataset, weight: Tensor, epoch: int, progress: Progress
    ) -> float:
        """Train for one epoch and return the mean loss of the training head."""
        config, device = self.config, self.accelerator.device
        part, parts = self.accelerator.process_index, self.accelerator.num_processes
        batches = _epoch_batches(len(data), config, epoch, part, parts)
        generator = _generator(config, epoch, part)
        torch.manual_seed(generator.initial_seed())  # dropout and drop-path
        self.model.train()
        total = 0.0
        for step, (images, targets) in enumerate(data.batches(batches)):
            self._set_rates(epoch * len(batches) + step, config.epochs * len(batches))
            pixels, target = self._prepare(images.to(device), targets.to(device), generator)
            with self.accelerator.autocast():
                losses = [
                    soft_cross_entropy(logits.float(), target, weight, config.label_smoothing)
                    for logits in self.model(pixels)
                ]
            self.optimizer.zero_grad()
            self.accelerator.backward(sum(losses, torch.zeros((), device=device)))
            self.accelerator.clip_grad_norm_(self.model.parameters(), config.clip_norm)
            self.optimizer.step()
            if self.averaged:
                self.averaged.update_parameters(self.trainee)
            total += losses[0].item()
            progress(
                step + 1,
                len(batches),
                f"epoch {epoch + 1}/{config.epochs}, loss {total / (step + 1):.3f}",
            )
        return total / len(batches)

    def _set_rates(self, step: int, steps: int) -> None:
        """Set every group's learning rate: a linear warm-up, times a cosine from 1 to 0."""
        share = 0.5 * (1 + math.cos(math.pi * step / steps))
        if step < self.config.warmup_steps:
            share *= (step + 1) / self.config.warmup_steps
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * share

    def _prepare(
        self, images: Tensor, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        preprocess = self.trainee.backbone.preprocess
        unit = preprocess.to_unit(images)  # (B, C, S, S)
        mean = unit.new_tensor(preprocess.mean).view(-1, 1, 1)
        unit = augment_images(unit, preprocess.size, mean, self.config.augmentation, generator)
        pixels, target = mix_up(
            preprocess.normalise(unit), targets, self.config.mixup_alpha, generator
        )
        return pixels.contiguous(memory_format=torch.channels_last), target

    @torch.inference_mode()
    def evaluate(self, data: ImageDataset) -> Score:
        """Score the linear classifier on the validation images."""
        trainee = self.kept.eval()
        batches = [list(range(k, min(k + 256, len(data)))) for k in range(0, len(data), 256)]
        predicted = []
        for images, _ in data.batches(batches):
            pixels = trainee.backbone.preprocess.prepare(images.to(self.accelerator.device))
            logits = trainee.classifier(trainee.backbone(pixels))  # (B, 8)
            predicted.append(logits.argmax(dim=1).cpu().numpy())
        return score_labels(data.images.labels, np.concatenate(predicted))

    def finish_epoch(self, loss: float, score: Score) -> None:
        """Record an epoch; keep its weights as the encoder if it is the best so far."""
        row = {
            "epoch": len(self.history) + 1,
            "loss": loss,
            "accuracy": score.accuracy,
            "macro_f1": score.macro_f1,
            "f1": dict(zip(CLASSES, score.f1.tolist(), strict=True)),
        }
        better = score.macro_f1 > self.best
        self.history.append(row)
        if not self.accelerator.is_main_process:
            return
        if better:
            self.save_encoder(row)
        save_state(self.out, self.state, self.optimizer, self.history)

    def save_encoder(self, row: dict[str, Any]) -> None:
        """Write backbone and classifier, without the training head."""
        backbone = self.kept.backbone
        weights = self.kept.state_dict().items()
        kept = halve_matrices({k: v for k, v in weights if not k.startswith("head.")})
        about = {
            "kind": "encoder",
            **backbone.describe(),
            "classes": list(CLASSES),
            "command": "train encoder",
            "data": self.data,
            "training": asdict(self.config),
            "result": row,
            "version": __version__,
        }
        save_checkpoint(self.out / ENCODER_NAME, kept, about)


def _start_accelerator(device: torch.device, precision: str) -> Accelerator:
    """Start what trains on one device, or on one a process where a launcher started several."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    # Not every weight has a part in the class token: a mask token, a pooler.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    mixed = "bf16" if precision == "bfloat16" else "no"
    return Accelerator(cpu=device.type == "cpu", mixed_precision=mixed, kwargs_handlers=[unused])


def train_encoder(
    images: Path,
    manifest: Path,
    out: Path,
    backbone: str = COMPACT_FACE,
    config: EncoderTraining | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = lambda done, total, what: None,
) -> History:
    """Train an encoder on labelled images; return one row of figures an epoch.

    Writes `encoder.safetensors` (best epoch by macro-F1 on the valid split), `metrics.jsonl`,
    `config.json` and, to go on after an interruption, `last.safetensors`. An interrupted run
    that is started again gives the same weights as one that was not interrupted. Several GPUs:
    start with `accelerate launch`.

    Raises:
        InputError: the manifest or an image cannot be read.
        OutputError: the folder holds a run with other settings, or cannot be written.
        CheckpointError: the backbone cannot be loaded.
        UsageError: no such device, or settings that cannot be.
    """
    config = config or default_training(backbone)
    if config.epochs < 1 or config.batch_size < 2:
        raise UsageError("training needs at least 1 epoch and batches of at least 2 images")
    place = choose_device(device)
    config = replace(config, precision=choose_precision(config.precision, place))
    accelerator = _start_accelerator(place, config.precision)
    splits = read_manifest(manifest, images, config.soft_labels)
    torch.manual_seed(config.seed)
    net = build_backbone(backbone)
    settings = {"backbone": backbone, "images": str(images), "manifest": str(manifest)}
    open_run(out, settings | {"training": asdict(config)}, ENCODER_NAME, overwrite)
    data = {"manifest": manifest.name, "sha256": hash_file(manifest)}
    run = EncoderRun(out, config, net, accelerator, data)
    run.history = load_state(out, run.state, run.optimizer)
    train, valid = (ImageDataset(splits[name], net.preprocess) for name in ("train", "valid"))
    mass = torch.from_numpy(splits["train"].targets).sum(dim=0)  # (8,)
    weight = class_weights(mass, config.class_weight_power).to(run.accelerator.device)
    for epoch in range(len(run.history), config.epochs):
        loss = run.train_epoch(train, weight, epoch, progress)
        run.finish_epoch(loss, run.evaluate(valid))
    return run.history
