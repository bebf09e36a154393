"""Train the voice encoder: log-mel, convolutional in time, on speech with one label a recording.

The network learns the label of a crop from the average of its steps with a voice, or of those
about a moment, as it is used; and, of each step, whether it has a voice: loud steps of speech do,
pauses, noise and music that is made here do not. Noise that is added hides neither answer.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from abawcli import __version__
from abawcli.config import (
    COMPACT_VOICE,
    VOICE_PRESENT,
    Hearing,
    VoiceTraining,
)
from abawcli.device import choose_device, choose_precision
from abawcli.errors import InputError, UsageError
from abawcli.formats.manifest import LabelledSounds, read_sound_manifest
from abawcli.labels import CLASSES, N_CLASSES
from abawcli.media.audio import read_audio
from abawcli.metrics import Score, score_labels
from abawcli.models.augment_sound import (
    add_noise,
    change_tempo,
    colour_bands,
    draw_ratios,
    mask_bands,
)
from abawcli.models.checkpoint import hash_file, save_checkpoint
from abawcli.models.log_mel import HOP, STEP_FRAMES, STEP_SAMPLES, LogMel, mel_filters
from abawcli.models.losses import mix_up
from abawcli.models.no_voice import NO_VOICE, make_no_voice
from abawcli.models.runs import History, average_weights, load_state, open_run, save_state
from abawcli.models.voice import CompactVoice, VoiceNetwork, average_around

RESULT = "encoder.safetensors"
NO_VOICE_SOUNDS = 140  # made once a run and drawn from, each time in another part and changed
VOICED_DB, PAUSE_DB = 30.0, 42.0  # below the loudest step: surely a voice, surely none
Progress = Callable[[int, int | None, str], None]  # done, total, what


class SoundDataset:
    """Sounds of a manifest in memory, as 16-bit samples, and crops of them."""

    def __init__(self, sounds: LabelledSounds, progress: Progress) -> None:
        self.sounds = sounds
        self.samples: list[NDArray[np.int16]] = []
        for file in sounds.files:
            audio = read_audio(file)
            if audio is None:
                raise InputError(f"{file} has no sound; correct or remove its manifest row")
            self.samples.append((audio.samples.clip(-1, 1) * 32767).astype(np.int16))
            progress(len(self.samples), len(sounds.files), "read sounds")

    def __getitem__(self, index: int) -> Tensor:
        """Return one sound (N,), full scale 1."""
        return torch.from_numpy(self.samples[index].astype(np.float32) / 32767)

    def balance(self) -> Tensor:
        """Return the share (N,) of each sound: alike for corpora, and for classes of each."""
        groups = list(zip(self.sounds.corpora.tolist(), self.sounds.labels.tolist(), strict=True))
        sizes = {group: groups.count(group) for group in set(groups)}
        classes = {c: sum(corpus == c for corpus, _ in sizes) for c, _ in groups}
        return torch.tensor([1 / (classes[group[0]] * sizes[group]) for group in groups])

    def crop(self, index: int, count: int, generator: Generator) -> Tensor:
        """Return `count` samples from a random place; silence around a sound that is shorter."""
        whole = self[index]
        spare = len(whole) - count
        place = int(torch.randint(abs(spare) + 1, (), generator=generator))
        if spare >= 0:
            return whole[place : place + count]
        return F.pad(whole, (place, -spare - place))


def make_no_voice_bank(count: int, seed: int) -> Tensor:
    """Return sounds without a voice (NO_VOICE_SOUNDS, count), as many of each kind."""
    rng = np.random.default_rng(seed)
    kinds = list(NO_VOICE) * (NO_VOICE_SOUNDS // len(NO_VOICE))
    return torch.from_numpy(np.stack([make_no_voice(kind, count, rng) for kind in kinds]))


class VoiceRun:
    """One training run: its state between epochs, and one epoch's work."""

    def __init__(self, config: VoiceTraining, device: torch.device) -> None:
        self.config, self.device = config, device
        self.trained = VoiceNetwork(CompactVoice()).to(device)
        # channels last: what convolutions are fastest with, on CPUs and GPUs
        self.trained.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean = average_weights(self.trained, config.ema_decay)
        self.state = nn.ModuleDict({"trained": self.trained, "averaged": self.mean})
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.trained.parameters() if p.ndim > 1]},
            {"params": [p for p in self.trained.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, config.backbone_lr, weight_decay=config.weight_decay
        )
        self.front = LogMel()  # sounds are prepared on the CPU
        self.frames = round(config.crop_s / CompactVoice.step_s) * STEP_FRAMES
        # so much sound that the fastest tempo still fills a crop
        needed = self.frames * HOP / (1 - config.augmentation.tempo)
        self.count = math.ceil(needed / STEP_SAMPLES) * STEP_SAMPLES
        self.bank = make_no_voice_bank(self.count, config.seed)

    @property
    def averaged(self) -> VoiceNetwork:
        """Return the network of averaged weights, which is evaluated and saved."""
        network: VoiceNetwork = self.mean.module  # type: ignore[assignment]
        return network

    def train_epoch(self, data: SoundDataset, epoch: int, progress: Progress) -> float:
        """Train for one epoch and return the mean loss."""
        config = self.config
        generator = Generator().manual_seed(config.seed * 10_007 + epoch)
        torch.manual_seed(generator.initial_seed())  # dropout
        self.trained.train()
        draws = config.epoch_batches * config.batch_size
        order = torch.multinomial(data.balance(), draws, replacement=True, generator=generator)
        total = 0.0
        for step, chosen in enumerate(order.view(-1, config.batch_size)):
            self._set_rate(epoch * config.epoch_batches + step)
            loss = self._loss(*self._prepare(data, chosen.tolist(), generator), generator)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.trained.parameters(), config.clip_norm)
            self.optimizer.step()
            self.mean.update_parameters(self.trained)
            total += loss.item()
            what = f"epoch {epoch + 1}/{config.epochs}, loss {total / (step + 1):.3f}"
            progress(step + 1, config.epoch_batches, what)
        return total / config.epoch_batches

    def _set_rate(self, step: int) -> None:
        """Set the learning rate: a linear warm-up, times a cosine from 1 to 0."""
        done = step / (self.config.epochs * self.config.epoch_batches)
        rise = min(1.0, (step + 1) / max(self.config.warmup_steps, 1))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.backbone_lr * rise * 0.5 * (1 + math.cos(math.pi * done))

    @torch.no_grad()
    def _prepare(
        self, data: SoundDataset, chosen: list[int], generator: Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return normalised bands (B, M, T), targets (B, 8), 0 without a voice, loudness (B, S).

        Loudness is a step's level in dB before noise, about the loudest; -inf without a voice.
        """
        config, front = self.config.augmentation, self.front
        speech = torch.stack([data.crop(k, self.count, generator) for k in chosen])
        others = math.ceil(len(speech) * self.config.no_voice)
        pick = torch.randint(len(self.bank), (others,), generator=generator)
        samples = torch.cat([speech, self.bank[pick]])  # (B, N)
        clean = samples.view(len(samples), 1, -1, HOP).square().mean(dim=3)  # (B, 1, T')
        power = front.power(add_noise(samples, config, generator))  # (B, F, T')
        warp = draw_ratios(len(samples), config.pitch, generator)
        rows = torch.cat([mel_filters(warp) @ power, clean], dim=1)  # (B, M + 1, T')
        rows = change_tempo(rows, self.frames, config.tempo, generator)
        bands = front.normalise(colour_bands(rows[:, :-1], config, generator))  # (B, M, T)
        level = 10 * torch.log10(F.avg_pool1d(rows[:, -1:], STEP_FRAMES)[:, 0] + 1e-9)  # (B, S)
        loudness = level - level.amax(dim=1, keepdim=True)
        loudness[len(speech) :] = -torch.inf
        labels = torch.from_numpy(data.sounds.labels)[chosen]
        target = F.pad(F.one_hot(labels, N_CLASSES).float(), (0, 0, 0, others))  # (B, 8)
        bands = mask_bands(bands, config, generator)
        return bands.to(self.device), target.to(self.device), loudness.to(self.device)

    def _loss(
        self, bands: Tensor, target: Tensor, loudness: Tensor, generator: Generator
    ) -> Tensor:
        config, classifier = self.config, self.trained.classifier
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
        ):
            features = self.trained.backbone.encode(bands)  # (B, S, D)
        features = features.float()
        voiced = loudness > -VOICED_DB  # (B, S)
        sure = voiced | (loudness < -PAUSE_DB)
        voice = classifier.voice(features)[..., 0]  # (B, S)
        presence = F.binary_cross_entropy_with_logits(voice[sure], voiced[sure].float())
        weight = self._about_moments(voiced, generator).float()[..., None]  # (B, S, 1)
        mean = (features * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)  # (B, D)
        speech = target.sum(dim=1) > 0
        mean, target = mix_up(mean[speech], target[speech], config.mixup_alpha, generator)
        logits = classifier.expression(F.dropout(mean, config.dropout))  # (B', 8)
        label = F.cross_entropy(logits, target, label_smoothing=config.label_smoothing)
        return label + config.voice_weight * presence

    def _about_moments(self, voiced: Tensor, generator: Generator) -> Tensor:
        """Of a share of the crops, keep only the voiced steps (B, S) about a random one."""
        count, steps = voiced.shape
        reach = int(Hearing.window_s / CompactVoice.step_s)
        draws = torch.rand(count, steps, generator=generator).to(voiced.device)
        moment = (draws * voiced).argmax(dim=1, keepdim=True)  # (B, 1)
        near = (torch.arange(steps, device=voiced.device) - moment).abs() <= reach
        local = torch.rand(count, 1, generator=generator).to(voiced.device) < self.config.local_p
        return voiced & (near | ~local)

    @torch.inference_mode()
    def evaluate(self, data: SoundDataset) -> dict[str, Any]:
        """Set the temperature and return figures of the averaged weights on the valid split."""
        self.averaged.eval()
        frames = [self._read_frames(data[k]) for k in range(len(data.samples))]  # (S, 8) each
        labels = data.sounds.labels
        logits = torch.cat(frames)
        truth = torch.from_numpy(np.repeat(labels, [len(part) for part in frames]))
        temperature = fit_temperature(logits, truth)
        self.averaged.classifier.temperature.fill_(temperature)
        clips = np.array(
            [(part / temperature).softmax(dim=1).mean(dim=0).argmax().item() for part in frames]
        )
        score = score_labels(labels, clips)
        corpora = {
            name: mean_f1(score_labels(labels[rows], clips[rows]))
            for name in sorted(set(data.sounds.corpora.tolist()))
            for rows in [data.sounds.corpora == name]
        }
        return {
            "macro_f1": float(np.mean(list(corpora.values()))),  # each corpus counts the same
            "corpora": corpora,
            "accuracy": score.accuracy,
            "f1": dict(zip(CLASSES, score.f1.tolist(), strict=True)),
            "temperature": temperature,
        }

    def _read_frames(self, samples: Tensor) -> Tensor:
        """Return the logits (S', 8) about each step that has a voice near; else about all."""
        features = self.averaged.backbone(samples[None].to(self.device))[0]  # (S, D)
        voiced = self.averaged.classifier.has_voice(features) >= VOICE_PRESENT
        reach = int(Hearing.window_s / CompactVoice.step_s)
        mean, valid = average_around(features, voiced if voiced.any() else ~voiced, reach)
        logits: Tensor = self.averaged.classifier.expression(mean[valid])
        return logits.cpu()


def mean_f1(score: Score) -> float:
    """Return the macro-F1 over the classes that occur; a corpus need not have all eight."""
    return float(score.f1[score.support > 0].mean())


def fit_temperature(logits: Tensor, truth: Tensor) -> float:
    """Return by what to divide logits (N, 8) so that their probabilities fit the truth (N,) best.

    Best: of the lowest cross-entropy, sought between 1/10 and 10.
    """

    def miss(power: float) -> float:
        return F.cross_entropy(logits / math.exp(power), truth).item()

    edge = math.log(10)
    return math.exp(minimize_scalar(miss, bounds=(-edge, edge), method="bounded").x)


def save_encoder(run: VoiceRun, out: Path, row: dict[str, Any], data: dict[str, str]) -> None:
    """Write the averaged weights, in float16: what that loses is below what figures show."""
    about = {
        "kind": "voice-encoder",
        "backbone": COMPACT_VOICE,
        "network": run.trained.backbone.shape,
        "classes": list(CLASSES),
        "command": "train encoder",
        "data": data,
        "training": asdict(run.config),
        "result": row,
        "version": __version__,
    }
    tensors = {
        name: value.half() if value.is_floating_point() else value
        for name, value in run.averaged.state_dict().items()
    }
    save_checkpoint(out / RESULT, tensors, about)


def train_voice_encoder(
    audio: Path,
    manifest: Path,
    out: Path,
    config: VoiceTraining | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = lambda done, total, what: None,
) -> History:
    """Train a voice encoder on labelled sounds; return one row of figures an epoch.

    Writes `encoder.safetensors` (the epoch of the best macro-F1 on the valid split, over the
    classes that each corpus has, the mean of the corpora), `metrics.jsonl`, `config.json` and, to
    go on after an interruption, `last.safetensors`. An interrupted run that is started again
    gives the same weights as one that was not interrupted.

    Raises:
        InputError: the manifest or a sound cannot be read.
        OutputError: the folder holds a run with other settings, or cannot be written.
        UsageError: no such device, or settings that cannot be.
    """
    config = config or VoiceTraining()
    if config.epochs < 1 or config.batch_size < 2:
        raise UsageError("training needs at least 1 epoch and batches of at least 2 sounds")
    place = choose_device(device)
    config = replace(config, precision=choose_precision(config.precision, place))
    splits = read_sound_manifest(manifest, audio)
    settings = {"backbone": COMPACT_VOICE, "audio": str(audio), "manifest": str(manifest)}
    open_run(out, settings | {"training": asdict(config)}, RESULT, overwrite)
    torch.manual_seed(config.seed)
    run = VoiceRun(config, place)
    history = load_state(out, run.state, run.optimizer)
    if len(history) == config.epochs:
        return history
    train, valid = (SoundDataset(splits[name], progress) for name in ("train", "valid"))
    about_data = {"manifest": manifest.name, "sha256": hash_file(manifest)}
    for epoch in range(len(history), config.epochs):
        loss = run.train_epoch(train, epoch, progress)
        row = {"epoch": epoch + 1, "loss": loss, **run.evaluate(valid)}
        if row["macro_f1"] > max((old["macro_f1"] for old in history), default=-1.0):
            save_encoder(run, out, row, about_data)
        history.append(row)
        save_state(out, run.state, run.optimizer, history)
    return history
