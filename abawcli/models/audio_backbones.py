"""Audio backbones: networks from 16 kHz samples to features, and their loading."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from abawcli.config import (
    AUDIO_RATE_HZ,
    COMPACT_VOICE,
    LAYERS_FORM,
    SPEECH_CERTAIN,
    SPEECH_PRESENT,
    SPEECH_REACH_FRAMES,
    SPEECH_SEGMENT_FRAMES,
    AudioFeatures,
)
from abawcli.errors import CheckpointError, UsageError
from abawcli.formats.hashing import hash_file
from abawcli.formats.metadata import AudioBackboneMetadata
from abawcli.models.checkpoint import find_location
from abawcli.models.image_backbones import hash_pretrained, load_pretrained
from abawcli.models.precision import cast_inputs, cast_weights
from abawcli.models.recipes import find_weights
from abawcli.models.voice import VoiceEncoder, load_voice_encoder

Floats = NDArray[np.float32]
CPU = torch.device("cpu")
# Audio frames to both sides that `detect_speech` depends on.
SPEECH_FRAMES = SPEECH_REACH_FRAMES + SPEECH_SEGMENT_FRAMES // 2
LOG = logging.getLogger(__name__)


class AudioBackbone(nn.Module):
    """A network that turns 16 kHz audio into audio frames, one every `step_samples`.

    Audio frame k depends on about `field_samples` samples from k * `step_samples` on, and is
    centred on these.
    """

    def __init__(
        self, name: str, network: nn.Module, dim: int, step_samples: int, *, field_samples: int
    ) -> None:
        super().__init__()
        self.name = name
        self.network: Any = network
        self.dim = dim
        self.step_samples = step_samples
        self.field_samples = field_samples
        self.step_s = step_samples / AUDIO_RATE_HZ
        self.context_s = 1.0  # of audio that an audio frame should have on both sides
        self.grid_samples = step_samples  # chunks begin at multiples of it
        self.sha256: str | None = None  # of the weights
        self.path = name  # to load it from

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples (B, N), full scale 1.0, to features (B, S, dim)."""
        features: Tensor = self.network(samples)
        return features

    def encode(self, samples: Tensor, kept: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Turn audio (N,) into features (S, dim), and where speech is detected (S,).

        Only the `kept` audio frames are returned; the others need not be computed.
        """
        features: Tensor = self(samples[None])[0].float()
        return features[kept], self.detect_speech(features)[kept]

    def detect_speech(self, features: Tensor) -> Tensor:
        """Return in which of the features (S, dim) speech is detected, (S,)."""
        return torch.ones(len(features), dtype=torch.bool, device=features.device)

    def cast_to(self, dtype: torch.dtype) -> None:
        """Cast the network to `dtype`, except for the parts that need float32."""
        cast_weights(self.network, dtype)

    def run_probe(self) -> Tensor:
        """Return the features (S, dim) of half a second of fixed noise."""
        generator = torch.Generator().manual_seed(0)
        noise = 0.1 * torch.randn(1, AUDIO_RATE_HZ // 2, generator=generator)
        features: Tensor = self(noise.to(next(self.parameters()).device))[0]
        return features

    def describe(self) -> AudioBackboneMetadata:
        """Return what features depend on."""
        return AudioBackboneMetadata(self.name, self.dim, self.sha256, self.path)


class CompactVoiceBackbone(AudioBackbone):
    """compact-voice. Its classifier also detects speech."""

    def __init__(self, encoder: VoiceEncoder) -> None:
        network = encoder.backbone
        step = network.step_samples
        super().__init__(COMPACT_VOICE, network, network.dim, step, field_samples=step)
        self.classifier = encoder.classifier
        # All that an audio frame depends on, with the audio frames of `detect_speech`.
        self.context_s = network.context_s + SPEECH_FRAMES * network.step_s
        self.grid_samples = network.grid_samples

    def cast_to(self, dtype: torch.dtype) -> None:
        """Cast all but the spectrum to `dtype`: torch computes spectra in float32."""
        cast_weights(self.network, dtype)
        self.network.front.float()
        self.network.first_convolution.register_forward_pre_hook(cast_inputs)

    def forward(self, samples: Tensor, kept: slice = slice(None)) -> Tensor:
        """Map samples (B, N) to the `kept` of features (B, S, dim)."""
        features: Tensor = self.network(samples, kept)
        return features

    def encode(self, samples: Tensor, kept: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Turn audio (N,) into the `kept` of features (S, dim) and of the speech mask (S,)."""
        start, stop, _ = kept.indices(-(-len(samples) // self.step_samples))
        around = slice(max(0, start - SPEECH_FRAMES), stop + SPEECH_FRAMES)
        features = self(samples[None], around)[0].float()  # (S', dim)
        inner = slice(start - around.start, stop - around.start)
        return features[inner], self.detect_speech(features)[inner]

    def detect_speech(self, features: Tensor) -> Tensor:
        """Return in which of the features (S, dim) speech is detected, (S,).

        An audio frame with a probability of `SPEECH_PRESENT` counts only near a segment with
        `SPEECH_CERTAIN`, because single audio frames of music are taken for speech.
        """
        speech: Tensor = self.classifier.speech_probability(features)  # (S,)
        segment = F.avg_pool1d(speech[None], SPEECH_SEGMENT_FRAMES, 1, SPEECH_SEGMENT_FRAMES // 2)
        certain = (segment >= SPEECH_CERTAIN).to(speech.dtype)  # (1, S)
        near = F.max_pool1d(certain, 2 * SPEECH_REACH_FRAMES + 1, 1, SPEECH_REACH_FRAMES)[0] > 0
        return (speech >= SPEECH_PRESENT) & near


class TransformerBackbone(AudioBackbone):
    """Wav2Vec 2.0, WavLM or HuBERT: the mean of several layers.

    `layers` counts the transformer's blocks, so `first4` does not include their input.
    """

    def __init__(self, name: str, network: Any, normalise: bool, layers: str) -> None:
        config = network.config
        step, field = 1, 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            field += (kernel - 1) * step
            step *= stride
        super().__init__(name, network, int(config.hidden_size), step, field_samples=field)
        self.normalise = normalise
        self.layers = layers
        self.chosen = choose_layers(layers, int(config.num_hidden_layers))

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples (B, N) to features (B, S, dim)."""
        if self.normalise:  # as transformers' own feature extractor does
            mean, variance = samples.mean(1, keepdim=True), samples.var(1, False, keepdim=True)
            samples = (samples - mean) / (variance + 1e-7).sqrt()
        states = self.network(samples, output_hidden_states=True).hidden_states[1:]
        return torch.stack([states[k].float() for k in self.chosen]).mean(dim=0)  # (B, S, D)

    def cast_to(self, dtype: torch.dtype) -> None:
        """Cast all but the convolutions on the samples to `dtype`.

        In bfloat16, samples would have rounding noise 50 dB below the signal.
        """
        cast_weights(self.network, dtype)
        self.network.feature_extractor.float()
        self.network.feature_projection.register_forward_pre_hook(cast_inputs)

    def describe(self) -> AudioBackboneMetadata:
        """Return what features depend on."""
        return replace(super().describe(), layers=self.layers, normalise=self.normalise)


def choose_layers(layers: str, count: int) -> range:
    """Return the indices of the blocks that `last4`, `first4` and the like name, of `count`.

    Raises:
        UsageError: the choice is unknown, or there are fewer blocks.
    """
    found = re.fullmatch(LAYERS_FORM, layers)
    if not found:
        raise UsageError(f"unknown layers {layers!r}; give last4, first4 or the like")
    number = int(found[2])
    if number > count:
        raise UsageError(f"layers {layers!r}: the backbone has only {count}")
    return range(number) if found[1] == "first" else range(count - number, count)


def load_voice_backbone(path: str | Path) -> AudioBackbone:
    """Load the backbone of a voice encoder that `abaw train voice` wrote.

    Raises:
        CheckpointError: as `models.voice.load_voice_encoder`.
    """
    path = Path(path)
    encoder, _ = load_voice_encoder(path, CPU)
    backbone = CompactVoiceBackbone(encoder)
    backbone.sha256, backbone.path = hash_file(path), find_location(str(path))
    return backbone


AUDIO_BACKBONES: dict[str, Callable[[], AudioBackbone]] = {
    COMPACT_VOICE: lambda: load_voice_backbone(find_weights(COMPACT_VOICE))
}


def build_audio_backbone(name: str, layers: str = AudioFeatures.layers) -> AudioBackbone:
    """Return an audio backbone with its weights.

    Args:
        name: `compact-voice`, the path of a voice encoder, or a Wav2Vec 2.0, WavLM or HuBERT of
            transformers by hub name or folder.
        layers: blocks of a transformer, such as `last4` or `first4`.

    Raises:
        CheckpointError: the backbone cannot be loaded, or is not an audio backbone.
        UsageError: the backbone has fewer layers.
    """
    if name in AUDIO_BACKBONES:
        backbone = AUDIO_BACKBONES[name]()
        backbone.path = name
        return backbone
    if Path(name).suffix == ".safetensors":
        return load_voice_backbone(Path(name))
    network, processor = load_pretrained(name)
    if not hasattr(network.config, "conv_stride") or not hasattr(network, "feature_projection"):
        kind = network.config.model_type
        raise CheckpointError(f"{name!r} is no known audio backbone but {kind!r}")
    backbone = TransformerBackbone(name, network, bool(processor.get("do_normalize", True)), layers)
    backbone.sha256, backbone.path = hash_pretrained(name), find_location(name)
    return backbone
