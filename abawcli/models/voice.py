"""compact-voice: a small convolutional network on log-mel spectrograms, and its classifier.

Audio frame k of its output is centred (k + 0.5) * `step_s` after the first sample and depends on
0.75 s on both sides of it, and on the level: the mean of each log-mel band over up to 1.5 s on both
sides, in which loud frames count more, is subtracted. This removes loudness, microphone and part of
the speaker's voice. It is the same in training, in a short clip and in chunks of a long recording,
and needs no earlier pass over the audio.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from abawcli.config import AUDIO_RATE_HZ, SPEECH_PRESENT, AudioFeatures
from abawcli.formats.json_values import JsonObject
from abawcli.labels import N_CLASSES
from abawcli.models.checkpoint import load_checkpoint, load_network
from abawcli.models.compact import fold_batch_norm
from abawcli.models.log_mel import BANDS, STEP_SAMPLES, LogMel
from abawcli.models.metadata import VoiceEncoderMetadata
from abawcli.models.pretrained_voice import PretrainedVoice


def _conv(
    inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)
) -> nn.Sequential:
    # Kernel 4 at stride 2: a step stays in the middle of the frames that it comes from. Where a
    # kernel spans all bands there is nothing to pad.
    padding = (0 if kernel[1] == 1 else (kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outputs),
    )


class VoiceBlock(nn.Module):
    """Two convolutions and a shortcut; halves the bands, and with `halve` also the time steps."""

    def __init__(self, inputs: int, outputs: int, halve: bool) -> None:
        super().__init__()
        self.stride = (2, 2) if halve else (2, 1)
        self.first = _conv(inputs, outputs, (4, 4 if halve else 3), self.stride)
        self.second = _conv(outputs, outputs, (3, 3))
        self.shortcut = _conv(inputs, outputs, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, M, S) to (B, C', M / 2, S or S / 2)."""
        y = self.second(F.relu(self.first(x)))  # (B, C', M / 2, S')
        return F.relu(self.shortcut(F.avg_pool2d(x, self.stride)) + y)


class StepBlock(nn.Module):
    """Two convolutions over time and a shortcut."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = _conv(dim, dim, (1, 3))
        self.second = _conv(dim, dim, (1, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D, 1, S) to (B, D, 1, S)."""
        return F.relu(x + self.second(F.relu(self.first(x))))


class CompactVoice(nn.Module):
    """From 16 kHz samples to a feature vector every 80 ms."""

    step_samples = STEP_SAMPLES
    step_s = STEP_SAMPLES / AUDIO_RATE_HZ
    context_s = 2.4  # of audio to both sides that a feature depends on
    grid_samples = STEP_SAMPLES  # chunks may begin at any step
    trunk = None  # no part of it is pretrained

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 128), dim: int = 192) -> None:
        super().__init__()
        self.shape = {"widths": list(widths), "dim": dim}
        self.dim = dim
        self.front = LogMel()
        first, *rest = widths
        self.stem = _conv(1, first, (4, 4), (2, 2))
        self.blocks = nn.ModuleList(
            VoiceBlock(inputs, outputs, halve=k < 2)
            for k, (inputs, outputs) in enumerate(zip(widths[:-1], rest, strict=True))
        )
        self.gather = _conv(widths[-1], dim, (BANDS >> len(widths), 1))
        self.steps = nn.Sequential(StepBlock(dim))

    @property
    def first_convolution(self) -> nn.Module:
        """Return the first convolution, whose input is the bands."""
        return self.stem

    def encode(self, bands: Tensor) -> Tensor:
        """Map normalised bands (B, BANDS, 8 S) to features (B, S, dim)."""
        x = F.relu(self.stem(bands[:, None]))  # (B, C, 32, 4 S)
        for block in self.blocks:
            x = block(x)
        x = F.relu(self.gather(x))  # (B, D, 1, S)
        features: Tensor = self.steps(x)[:, :, 0].transpose(1, 2)  # (B, S, D)
        return features

    def forward(self, samples: Tensor, kept: slice = slice(None)) -> Tensor:
        """Map samples (B, N), full scale 1.0, to the `kept` of features (B, S, dim).

        There are S = ceil(N / 1280) features.
        """
        return self.encode(self.front(samples))[:, kept]


class VoiceClassifier(nn.Module):
    """From features to expression and to speech detection.

    Both are linear, so that they apply to averages of audio frames as well as to single ones.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.expression = nn.Linear(dim, N_CLASSES)
        self.voice = nn.Linear(dim, 1)
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(()))

    def speech_probability(self, features: Tensor) -> Tensor:
        """Return the probability (...,) of speech in features (..., D)."""
        probability: Tensor = self.voice(features).squeeze(-1).sigmoid()
        return probability

    def forward(self, features: Tensor) -> Tensor:
        """Return calibrated probabilities (..., 8) of features (..., D).

        They are mixed with equal probabilities, weighted by the probability of non-speech.
        """
        speech = self.speech_probability(features).unsqueeze(-1)  # (..., 1)
        expression = (self.expression(features) / self.temperature).softmax(dim=-1)
        mixed: Tensor = speech * expression + (1 - speech) / N_CLASSES
        return mixed


VoiceBackbone = CompactVoice | PretrainedVoice


def build_voice(shape: JsonObject) -> VoiceBackbone:
    """Return a backbone of the shape that a checkpoint describes, with random weights."""
    return PretrainedVoice(**shape) if "whisper" in shape else CompactVoice(**shape)


class VoiceNetwork(nn.Module):
    """Backbone and classifier, which are trained together and saved in a checkpoint."""

    def __init__(self, backbone: VoiceBackbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = VoiceClassifier(backbone.dim)


def average_around(features: Tensor, voiced: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Average features (S, D) of the `voiced` (S,) audio frames at most `reach` from each one.

    Returns the averages (S, D), and where there is a voiced audio frame (S,).
    """
    weight = voiced.to(features.dtype)[None]  # (1, S)
    count = F.avg_pool1d(weight, 2 * reach + 1, 1, reach)[0]  # (S,)
    total = F.avg_pool1d(features.T * weight, 2 * reach + 1, 1, reach)  # (D, S)
    return (total / count.clamp_min(1e-6)).T, count > 0


def average_speech(features: Tensor, classifier: VoiceClassifier) -> Tensor:
    """Return the averages (S', D) around the audio frames near speech, or around all frames.

    Features (S, D) are of one recording; the averages are what `predict` classifies.
    """
    speech = classifier.speech_probability(features) >= SPEECH_PRESENT
    reach = int(AudioFeatures.window_s / CompactVoice.step_s)
    mean, valid = average_around(features, speech if speech.any() else ~speech, reach)
    return mean[valid]


class VoiceEncoder:
    """Backbone and classifier in inference form, on one device."""

    def __init__(self, network: VoiceNetwork, device: torch.device) -> None:
        self.device = device
        self.dim, self.step_s = network.backbone.dim, network.backbone.step_s
        fold_batch_norm(network.eval())
        self.backbone = network.backbone.to(device)
        self.classifier = network.classifier.to(device)

    @torch.inference_mode()
    def encode(self, samples: NDArray[np.float32]) -> Tensor:
        """Turn samples (N,) into features (S, D), one per audio frame."""
        features: Tensor = self.backbone(torch.from_numpy(samples).to(self.device)[None])[0]
        return features

    @torch.inference_mode()
    def speech_probability(self, features: Tensor) -> NDArray[np.float32]:
        """Return the probability (S,) of speech in each of the features (S, D)."""
        return np.asarray(self.classifier.speech_probability(features).cpu().numpy(), np.float32)

    @torch.inference_mode()
    def classify(self, features: Tensor) -> NDArray[np.float32]:
        """Turn features (S, D) of audio frames, or averages of them, into probabilities (S, 8)."""
        return np.asarray(self.classifier(features).cpu().numpy(), np.float32)


def load_voice_network(path: str | Path) -> tuple[VoiceNetwork, VoiceEncoderMetadata]:
    """Load the network that `abaw train voice` wrote, as it was trained, and its metadata.

    Raises:
        CheckpointError: the file is missing or damaged, was made for other classes, or its
            weights do not fit the network that it describes.
    """
    path = Path(path)
    tensors, metadata = load_checkpoint(path, VoiceEncoderMetadata)

    def build() -> VoiceNetwork:
        return VoiceNetwork(build_voice(metadata.network))

    network = load_network(path, tensors, metadata.network, build, what="voice network")
    return network, metadata


def load_voice_encoder(
    path: str | Path, device: torch.device
) -> tuple[VoiceEncoder, VoiceEncoderMetadata]:
    """Load an encoder that `abaw train voice` wrote, and its metadata.

    Raises:
        CheckpointError: as `load_voice_network`.
    """
    network, metadata = load_voice_network(path)
    return VoiceEncoder(network, device), metadata
