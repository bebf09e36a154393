"""How heads learn: single frames or windows of them, drawn from all videos alike."""

import logging
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from abawcli import __version__
from abawcli.config import HeadTraining
from abawcli.errors import InputError, UsageError
from abawcli.formats.annotated import VideoSet
from abawcli.labels import CLASSES, IGNORE, N_CLASSES
from abawcli.metrics import score_labels
from abawcli.models.heads import HEADS, Head, TrainedHead, build_head, save_head
from abawcli.models.losses import class_weights, effective_weights, focal_loss
from abawcli.models.normalise import ModalityNorm, Moments
from abawcli.models.runs import History, average_weights, load_state, open_run, save_state
from abawcli.models.samples import Batch, WindowSamples, drop_modalities, swap_sounds

LOG = logging.getLogger(__name__)
HEAD_NAME = "head.safetensors"
Progress = Callable[[int, int | None, str], None]  # done, total, what


def predict_labels(p: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Return the likeliest class of each row of probabilities (T, 8), -1 where they are NaN."""
    none = np.isnan(p[:, 0])
    return np.where(none, IGNORE, np.where(none[:, None], 0, p).argmax(axis=1))


class HeadRun:
    """One training run: its folder, its state between epochs, and one epoch's work.

    Without videos to validate on, the head that is kept is the last epoch's.
    """

    def __init__(
        self,
        out: Path,
        name: str,
        config: HeadTraining,
        train: VideoSet,
        valid: VideoSet | None,
        device: torch.device,
    ) -> None:
        if name not in HEADS:
            raise UsageError(f"unknown head {name!r}; known are {', '.join(HEADS)}")
        if config.epochs < 1 or config.batch_frames < 1:
            raise UsageError("training needs at least 1 epoch and batches of at least 1 frame")
        self.out, self.name, self.config, self.device = out, name, config, device
        self.train, self.valid = train, valid
        torch.manual_seed(config.seed)
        self.head: Head = build_head(name, train.data.about, config.network).to(device)
        self.optimizer = torch.optim.AdamW(
            self.head.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        self.averaged: AveragedModel | None = None
        self.history: History = []

    def describe(self) -> dict[str, Any]:
        """Return what the run depends on."""
        parts = {"train": self.train, "valid": self.valid}
        return {
            "head": self.name,
            "training": asdict(self.config),
            "data": {key: part and part.describe() for key, part in parts.items()},
            **self.train.data.about,
        }

    def run(self, overwrite: bool, progress: Progress) -> History:
        """Train, or go on, to the last epoch; return a row of figures an epoch.

        Raises:
            InputError: nothing to learn from.
            OutputError: the folder holds a run with other settings, or cannot be written.
        """
        samples = self._find_samples()
        weight = self._weigh_classes(samples.labels())
        self._set_moments()
        open_run(self.out, self.describe(), HEAD_NAME, overwrite)
        if self.config.ema_decay:
            self.averaged = average_weights(self.head, self.config.ema_decay)
        self.history = load_state(self.out, self.state, self.optimizer)
        for epoch in range(len(self.history), self.config.epochs):
            loss = self._train_epoch(samples, weight, epoch, progress)
            self._finish_epoch(loss)
        return self.history

    @property
    def state(self) -> nn.Module:
        """Return all weights that the next epoch needs."""
        if self.averaged is None:
            return self.head
        return nn.ModuleDict({"head": self.head, "averaged": self.averaged})

    @property
    def kept(self) -> Head:
        """Return the network that is evaluated and saved: the head, or its running mean."""
        kept: Head = self.averaged.module if self.averaged else self.head  # type: ignore[assignment]
        return kept

    def _find_samples(self) -> WindowSamples:
        samples = WindowSamples(self.train, self.head.uses, self.head.window, self.head.stride)
        if len(samples) == 0:
            raise InputError(
                f"no annotated frame of {len(self.train.names)} videos has features that the "
                f"head {self.name!r} looks at"
            )
        return samples

    def _weigh_classes(self, labels: Tensor) -> Tensor:
        """Return the weight of each class in the loss, (8,); name those that never occur."""
        counts = torch.bincount(labels, minlength=N_CLASSES)  # (8,)
        absent = [name for name, count in zip(CLASSES, counts, strict=True) if count == 0]
        if absent:
            LOG.warning(
                "no training frame is annotated %s: the head will hardly ever say so",
                " or ".join(absent),
            )
        if self.config.effective_beta is not None:
            return effective_weights(counts, self.config.effective_beta).to(self.device)
        return class_weights(counts.float(), self.config.class_weight_power).to(self.device)

    def _set_moments(self) -> None:
        """Normalise by all training features, annotated or not."""
        for modality in HEADS[self.name].uses:
            norm = self.head.get_submodule(f"{modality}.norm")
            assert isinstance(norm, ModalityNorm)
            moments = Moments(len(norm.mean))
            features = getattr(self.train.data, modality)
            has = getattr(self.train.data, f"has_{modality}")
            for rows in self.train.slices():
                moments.add(torch.from_numpy(features[rows][has[rows]]))
            if moments.count == 0:
                raise InputError(
                    f"no training frame has {modality} features; choose another --head"
                )
            norm.set_moments(moments)

    def _train_epoch(
        self, samples: WindowSamples, weight: Tensor, epoch: int, progress: Progress
    ) -> float:
        """Train for one epoch and return the mean loss."""
        config = self.config
        generator = torch.Generator().manual_seed(config.seed * 10_007 + epoch + 1)
        torch.manual_seed(generator.initial_seed())  # dropout
        batches = samples.batches(config.batch_frames, generator)
        self.head.train()
        total = 0.0
        for step, batch in enumerate(batches):
            self._set_rate(epoch * len(batches) + step, config.epochs * len(batches))
            loss = self._find_loss(samples.gather(batch), weight, generator)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            if self.averaged:
                self.averaged.update_parameters(self.head)
            total += loss.item()
            what = f"epoch {epoch + 1}/{config.epochs}, loss {total / (step + 1):.3f}"
            progress(step + 1, len(batches), what)
        return total / len(batches)

    def _find_loss(self, batch: Batch, weight: Tensor, generator: torch.Generator) -> Tensor:
        v, a, has_v, has_a, y = batch  # (B, T, Dv), (B, T, Da), 3 x (B, T)
        if len(self.head.uses) > 1:
            a, has_a = swap_sounds(a, has_v, has_a, self.config.sound_swap, generator)
            has_v, has_a = drop_modalities(has_v, has_a, self.config.modality_dropout, generator)
        v, a, has_v, has_a, y = (array.to(self.device) for array in (v, a, has_v, has_a, y))
        logits = self.head(v.float(), a.float(), has_v, has_a)  # (B, T, 8)
        return focal_loss(logits.flatten(0, 1), y.flatten(), self.config.focal_gamma, weight)

    def _set_rate(self, step: int, steps: int) -> None:
        """Set the learning rate of a step: a linear warm-up from 0, then a cosine."""
        first, last = self.config.lr, self.config.last_lr
        warm = round(self.config.warmup * steps)
        done = max(step - warm, 0) / max(steps - warm, 1)
        rate = last + (first - last) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / (warm + 1), 1)

    def _finish_epoch(self, loss: float) -> None:
        """Record an epoch; keep its weights if they are the best so far."""
        row: dict[str, Any] = {"epoch": len(self.history) + 1, "loss": loss}
        best = max((past["macro_f1"] for past in self.history if "macro_f1" in past), default=-1.0)
        if self.valid:
            row |= self._validate(self.valid)
        self.history.append(row)
        if row.get("macro_f1", math.inf) > best:
            self._save(row)
        save_state(self.out, self.state, self.optimizer, self.history)

    def _validate(self, valid: VideoSet) -> dict[str, Any]:
        predicted = [predict_labels(p) for p in classify_videos(self.trained(), valid)]
        score = score_labels(valid.labels(), np.concatenate(predicted))
        f1 = dict(zip(CLASSES, score.f1.tolist(), strict=True))
        return {"accuracy": score.accuracy, "macro_f1": score.macro_f1, "f1": f1}

    def trained(self) -> TrainedHead:
        """Return the head as it is now, to look at videos with."""
        return TrainedHead(self.kept, self.device)

    def _save(self, row: dict[str, Any]) -> None:
        about = self.describe() | {
            "command": "train head",
            "smoothing": asdict(self.config.smoothing),
            "result": row,
            "version": __version__,
        }
        save_head(self.out / HEAD_NAME, self.name, self.kept, self.config.network, about)


def classify_videos(head: TrainedHead, videos: VideoSet) -> list[NDArray[np.float32]]:
    """Return the probabilities (T, 8) of every video of a set."""
    data = videos.data
    return [
        head.classify(data.visual[r], data.audio[r], data.has_visual[r], data.has_audio[r])[0]
        for r in videos.slices()
    ]
