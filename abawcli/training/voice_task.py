"""The training task of voice encoders, on recordings with one label each.

The network learns two targets. The label of a recording is predicted from the mean feature of the
audio frames with speech of a crop, or of those around one moment, as the encoder is used. Speech is
predicted for each audio frame: loud frames of a recording are speech; pauses, synthetic noise and
music are not. Added noise does not change the targets.
"""

import copy
import math
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from abawcli import __version__
from abawcli.config import AudioFeatures, VoiceTraining
from abawcli.formats.json_values import JsonObject
from abawcli.formats.manifest import LabelledRecordings
from abawcli.labels import CLASSES, N_CLASSES
from abawcli.metrics import Score, score_labels
from abawcli.models.checkpoint import save_checkpoint
from abawcli.models.log_mel import HOP, STEP_FRAMES, STEP_SAMPLES
from abawcli.models.metadata import VoiceEncoderMetadata
from abawcli.models.precision import choose_training_precision
from abawcli.models.training_metadata import EpochResult, TrainingMetadata, Validation
from abawcli.models.voice import (
    CompactVoice,
    VoiceClassifier,
    VoiceNetwork,
    average_speech,
)
from abawcli.progress import Progress
from abawcli.training.audio_augmentation import (
    add_noise,
    add_rooms,
    change_tempo,
    colour_bands,
    draw_ratios,
    mask_bands,
)
from abawcli.training.audio_data import AudioDataset, make_non_speech_bank
from abawcli.training.distributed import Part
from abawcli.training.loop import Batches, cast, split_decay
from abawcli.training.losses import contrast_corpora, mix_up
from abawcli.training.voice_classifier import draw_moments, fit_linear

ENCODER_NAME = "encoder.safetensors"
# Level below the loudest frame: up to the first it is speech, from the second on a pause.
SPEECH_DB, PAUSE_DB = 30.0, 42.0
Batch = Tensor  # indices of recordings (B,)


class VoiceTask:
    """A voice encoder with its training and validation recordings."""

    result_name = ENCODER_NAME

    def __init__(
        self,
        splits: dict[str, LabelledRecordings],
        config: VoiceTraining,
        device: torch.device,
        *,
        network: VoiceNetwork | None = None,
        settings: JsonObject,
        data: dict[str, str],
    ) -> None:
        """Prepare the given network, or a new compact-voice, for training.

        `settings` identify the run, `data` goes into the checkpoint.
        """
        self.config, self.device = config, device
        self.splits, self.settings, self.data = splits, settings, data
        # Convolutions are fastest with channels last, on CPUs and GPUs.
        self.network = network or VoiceNetwork(CompactVoice())
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for weight in self._list_slow():  # at a rate of 0, no gradient is computed for them
            weight.requires_grad_(weight.requires_grad and config.backbone_lr > 0)
        self.frames = round(config.crop_s / CompactVoice.step_s) * STEP_FRAMES
        # At the fastest tempo, the samples still fill a crop.
        needed = self.frames * HOP / (1 - config.augmentation.tempo)
        self.count = math.ceil(needed / STEP_SAMPLES) * STEP_SAMPLES
        self.bank = make_non_speech_bank(self.count, config.seed).to(device)
        precision = choose_training_precision(
            config.precision, self.network, self._run_probe, device
        )
        self.config = replace(config, precision=precision)

    def _run_probe(self) -> Tensor:
        """Return the features (1, S, D) of fixed noise of the length of a crop."""
        noise = 0.1 * torch.randn(1, self.count, generator=Generator().manual_seed(0))
        with torch.autocast(self.device.type, enabled=False):  # as in training
            bands = self.network.backbone.front(noise.to(self.device))
        return self.network.backbone.encode(bands)

    def _list_slow(self) -> list[nn.Parameter]:
        """Return the weights that are trained at the backbone's rate: its pretrained part, or all.

        The projection of a pretrained backbone is trained as the classifiers are.
        """
        backbone = self.network.backbone
        return list((backbone if backbone.trunk is None else backbone.trunk).parameters())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return AdamW's groups, each with its highest learning rate."""
        config = self.config
        slow = self._list_slow()
        known = {id(weight) for weight in slow}
        fast = [weight for weight in self.network.parameters() if id(weight) not in known]
        return [
            *split_decay(slow, config.backbone_lr, config.weight_decay),
            *split_decay(fast, config.head_lr, config.weight_decay),
        ]

    def describe(self) -> JsonObject:
        """Return everything that the result of the run depends on."""
        return self.settings | {"training": asdict(self.config)}

    def load_data(self, progress: Progress) -> None:
        """Decode all recordings into memory."""
        self.train = AudioDataset(self.splits["train"], progress)
        self.valid = AudioDataset(self.splits["valid"], progress)
        self.corpora = np.unique(self.train.recordings.corpora, return_inverse=True)[1]  # (R,)

    def make_batches(self, generator: Generator, part: Part) -> Batches[Batch]:
        """Return the batches of an epoch; corpora and their classes are drawn equally often."""
        config = self.config
        count = config.epoch_batches * config.batch_size
        order = torch.multinomial(self.train.balance(), count, True, generator=generator)
        return order.view(-1, config.batch_size).unbind()

    def find_loss(self, model: nn.Module, batch: Batch, generator: Generator) -> Tensor:
        """Return the loss of the labels plus the weighted loss of speech detection."""
        bands, target, loudness = self._prepare(batch.tolist(), generator)
        config, classifier = self.config, self.network.classifier
        with cast(self.device, config.precision):
            features = self.network.backbone.encode(bands)  # (B, S, D)
        features = features.float()
        speech = loudness > -SPEECH_DB  # (B, S)
        sure = speech | (loudness < -PAUSE_DB)
        detected = classifier.voice(features)[..., 0]  # (B, S)
        detection = F.binary_cross_entropy_with_logits(detected[sure], speech[sure].float())
        weight = self._choose_frames(speech, generator).float()[..., None]  # (B, S, 1)
        mean = (features * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)  # (B, D)
        labelled = target.sum(dim=1) > 0  # (B,)
        mean, target = mean[labelled], target[labelled]
        apart = self._contrast(mean, target, batch) if config.contrast else 0.0
        mean, target = mix_up(mean, target, config.mixup_alpha, generator)
        logits = classifier.expression(F.dropout(mean, config.dropout))  # (B', 8)
        label = F.cross_entropy(logits, target, label_smoothing=config.label_smoothing)
        return label + config.speech_weight * detection + config.contrast * apart

    def _contrast(self, mean: Tensor, target: Tensor, batch: Batch) -> Tensor:
        """Return the contrastive loss between corpora of mean features (B, D)."""
        corpora = torch.from_numpy(self.corpora[batch.numpy()]).to(mean.device)
        dropped = F.dropout(mean, self.config.dropout)
        return contrast_corpora(dropped, target.argmax(dim=1), corpora)

    @torch.no_grad()
    def _prepare(self, chosen: list[int], generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return normalised bands (B, M, T), targets (B, 8) and loudness (B, S) of recordings.

        Non-speech samples are appended; their target is 0. Loudness is the level of each audio
        frame in dB before noise is added, relative to the loudest one; -inf in non-speech.
        """
        config, front, device = self.config.augmentation, self.network.backbone.front, self.device
        crops = [self.train.crop(k, self.count, generator) for k in chosen]
        speech = torch.stack(crops).to(device, non_blocking=True)
        others = math.ceil(len(speech) * self.config.non_speech)
        pick = torch.randint(len(self.bank), (others,), generator=generator)
        samples = torch.cat([speech, self.bank[pick]])  # (B, N)
        clean = samples.view(len(samples), 1, -1, HOP).square().mean(dim=3)  # (B, 1, T')
        augmented = add_noise(add_rooms(samples, config, generator), config, generator)
        warp = draw_ratios(len(samples), config.pitch, generator).to(device)
        mel = front.warp_filters(warp) @ front.power(augmented)  # (B, M, T')
        rows = torch.cat([mel, clean], dim=1)  # (B, M + 1, T')
        rows = change_tempo(rows, self.frames, config.tempo, generator)
        bands = front.normalise(colour_bands(rows[:, :-1], config, generator))  # (B, M, T)
        level = 10 * torch.log10(F.avg_pool1d(rows[:, -1:], STEP_FRAMES)[:, 0] + 1e-9)  # (B, S)
        loudness = level - level.amax(dim=1, keepdim=True)
        loudness[len(speech) :] = -torch.inf
        labels = torch.from_numpy(self.train.recordings.labels)[chosen]
        target = F.pad(F.one_hot(labels, N_CLASSES).float(), (0, 0, 0, others))  # (B, 8)
        bands = mask_bands(bands, config, generator)
        return bands, target.to(device), loudness

    def _choose_frames(self, speech: Tensor, generator: Generator) -> Tensor:
        """Return the audio frames (B, S) to average: those with speech, (B, S).

        In a share `local_p` of the crops, only those around a random one of them.
        """
        count, frames = speech.shape
        reach = int(AudioFeatures.window_s / CompactVoice.step_s)
        ranks = torch.rand(count, frames, generator=generator).to(speech.device)
        moment = (ranks * speech).argmax(dim=1, keepdim=True)  # (B, 1)
        near = (torch.arange(frames, device=speech.device) - moment).abs() <= reach
        local = torch.rand(count, 1, generator=generator).to(speech.device) < self.config.local_p
        return speech & (near | ~local)

    @torch.inference_mode()
    def validate(self, network: VoiceNetwork) -> Validation:
        """Finish the classifier of a network and return its metrics on the validation split."""
        network.eval()
        data = self.valid
        self.final = final = self._refit(network)
        means = [self._average(network, data[k]) for k in range(len(data))]
        frames = [final.expression(mean).cpu() for mean in means]  # (S, 8) each
        labels = data.recordings.labels
        logits = torch.cat(frames)
        truth = torch.from_numpy(np.repeat(labels, [len(part) for part in frames]))
        temperature = fit_temperature(logits, truth)
        final.temperature.fill_(temperature)
        clips = np.array(
            [(part / temperature).softmax(dim=1).mean(dim=0).argmax().item() for part in frames]
        )
        score = score_labels(labels, clips)
        corpora = {
            name: mean_f1(score_labels(labels[rows], clips[rows]))
            for name in sorted(set(data.recordings.corpora.tolist()))
            for rows in [data.recordings.corpora == name]
        }
        return Validation(
            macro_f1=float(np.mean(list(corpora.values()))),  # each corpus counts the same
            accuracy=score.accuracy,
            f1=dict(zip(CLASSES, score.f1.tolist(), strict=True)),
            corpora=corpora,
            temperature=temperature,
        )

    def _average(self, network: VoiceNetwork, samples: Tensor) -> Tensor:
        """Return the means (S', D) around audio frames near speech of a recording."""
        features = network.backbone(samples[None].to(self.device))[0]  # (S, D)
        return average_speech(features, network.classifier)

    def _refit(self, network: VoiceNetwork) -> VoiceClassifier:
        """Return a copy of the classifier for the features that the network has now.

        The network keeps its own, whose gradient trains the features.
        """
        final = copy.deepcopy(network.classifier)
        config = self.config
        if config.refit:
            moments = draw_moments(self.train, partial(self._average, network), config.seed)
            unseen = config.label_smoothing / N_CLASSES
            final.expression = fit_linear(moments, config.refit, unseen).to(self.device)
        return final

    def save(self, network: VoiceNetwork, out: str | Path, result: EpochResult) -> None:
        """Write the weights in float16, whose rounding does not change the metrics visibly."""
        out = Path(out)
        config = asdict(self.config)
        training = TrainingMetadata(
            command="train voice", data=self.data, config=config, result=result, version=__version__
        )
        metadata = VoiceEncoderMetadata(network.backbone.shape, training)
        state = network.state_dict()
        state |= {f"classifier.{name}": value for name, value in self.final.state_dict().items()}
        tensors = {
            name: value.half() if value.is_floating_point() else value
            for name, value in state.items()
        }
        save_checkpoint(out / ENCODER_NAME, tensors, metadata)


def mean_f1(score: Score) -> float:
    """Return the mean F1 of the annotated classes; a corpus may lack some of the eight."""
    return float(score.f1[score.support > 0].mean())


def fit_temperature(logits: Tensor, truth: Tensor) -> float:
    """Return the temperature, the divisor of logits (N, 8), that fits labels `truth` (N,) best.

    It has the lowest cross-entropy between 1/10 and 10.
    """
    from scipy.optimize import minimize_scalar  # slow to import; a run needs it at its end

    def miss(power: float) -> float:
        return F.cross_entropy(logits / math.exp(power), truth).item()

    edge = math.log(10)
    return math.exp(minimize_scalar(miss, bounds=(-edge, edge), method="bounded").x)
