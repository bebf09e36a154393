"""Audio classifiers of the Hugging Face hub as classifiers of speech.

They label clips. Here they get overlapping clips of `AudioClips.clip_s`, each centred on an audio
frame, and only clips in which compact-voice detects speech.
"""

import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from abawcli.config import AUDIO_RATE_HZ, COMPACT_VOICE, AudioClips
from abawcli.errors import CheckpointError
from abawcli.formats.metadata import HUB_PREFIX
from abawcli.models.audio_backbones import (
    AUDIO_BACKBONES,
    AudioBackbone,
)
from abawcli.models.hub import (
    FAILURES,
    LabelledLayer,
    find_classifier,
    hash_classifier,
    load_hub_network,
    split_network,
)
from abawcli.models.image_backbones import explain_failure
from abawcli.models.precision import cast_inputs, cast_weights


class ClipBackbone(AudioBackbone):
    """An audio classifier without its last layer, run on overlapping clips."""

    def __init__(self, name: str, network: Any, extractor: Any) -> None:
        """Prepare it; `extractor` is transformers' own feature extractor, at 16 kHz."""
        speech = AUDIO_BACKBONES[COMPACT_VOICE]()
        config = AudioClips()
        step = round(config.step_s / speech.step_s) * speech.step_samples
        super().__init__(name, network, 1, step, field_samples=step)
        self.clip_samples = round(config.clip_s * AUDIO_RATE_HZ)
        self.batch_size = config.batch_size
        self.extractor = extractor
        self.speech = speech
        self.context_s = max(config.clip_s / 2 + self.step_s, speech.context_s)
        self.grid_samples = math.lcm(step, speech.grid_samples)  # the clips of all chunks

    def encode(self, samples: Tensor, kept: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Turn audio (N,) into features (S, dim), 0 without speech, and the speech mask (S,).

        Only the `kept` ones are computed. Clips at the beginning and the end are moved into the
        audio.
        """
        start, stop, _ = kept.indices(max(1, len(samples) // self.step_samples))
        speech = self._find_speech(samples, start, stop)  # (S',)
        centres = (np.arange(start, stop) + 0.5) * self.step_samples
        last = max(0, len(samples) - self.clip_samples)
        starts = np.clip(np.rint(centres - self.clip_samples / 2), 0, last).astype(int)
        features = samples.new_zeros(len(speech), self.dim)
        spoken = torch.nonzero(speech)[:, 0]
        for first in range(0, len(spoken), self.batch_size):
            chosen = spoken[first : first + self.batch_size]
            clips = [samples[k : k + self.clip_samples] for k in starts[chosen.cpu().numpy()]]
            features[chosen] = self(torch.stack(clips))
        return features, speech

    def _find_speech(self, samples: Tensor, start: int, stop: int) -> Tensor:
        """Return the speech mask (S',) of audio (N,), of clips `start` to `stop`."""
        share = self.step_samples // self.speech.step_samples
        _, voiced = self.speech.encode(samples, slice(start * share, stop * share))
        padded = nn.functional.pad(voiced, (0, (stop - start) * share - len(voiced)))
        return padded.view(-1, share).any(dim=1)

    def forward(self, samples: Tensor) -> Tensor:
        """Map clips (B, N) to features (B, dim)."""
        clips = list(samples.cpu().numpy())
        inputs = self.extractor(clips, sampling_rate=AUDIO_RATE_HZ, return_tensors="pt")
        dtype = next(m for m in self.network.modules() if isinstance(m, _CONVOLUTIONS)).weight.dtype
        moved = {
            key: value.to(samples.device, dtype if value.is_floating_point() else None)
            for key, value in inputs.items()
        }
        logits: Tensor = self.network(**moved).logits
        return logits.float()

    def cast_to(self, dtype: torch.dtype) -> None:
        """Cast all but the convolutions on the samples to `dtype`."""
        cast_weights(self.network, dtype)
        for module in self.network.modules():
            if hasattr(module, "feature_extractor") and hasattr(module, "feature_projection"):
                module.feature_extractor.float()
                module.feature_projection.register_forward_pre_hook(cast_inputs)

    def run_probe(self) -> Tensor:
        """Return the features (1, dim) of a clip of fixed noise."""
        generator = torch.Generator().manual_seed(0)
        noise = 0.1 * torch.randn(1, self.clip_samples, generator=generator)
        features: Tensor = self(noise.to(next(self.network.parameters()).device))
        return features


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


def load_hub_audio(name: str) -> tuple[ClipBackbone, LabelledLayer]:
    """Load an audio classifier by `hf:NAME` or `hf:FOLDER`: its backbone and its last layer.

    Raises:
        CheckpointError: it is not an audio classifier, cannot be loaded or run, or takes audio of
            another sampling rate than 16 kHz.
    """
    network, labels = load_hub_network(name, "audio")
    backbone = ClipBackbone(name, network, _load_extractor(name)).eval()
    layer = split_network(network, labels, backbone.run_probe, name)
    backbone.dim = layer.linear.in_features
    backbone.sha256 = hash_classifier(name)
    backbone.path = find_classifier(name)
    return backbone, layer


def _load_extractor(name: str) -> Any:
    """Return transformers' feature extractor of an audio classifier."""
    from transformers import AutoFeatureExtractor

    location = name.removeprefix(HUB_PREFIX)
    try:
        with warnings.catch_warnings(action="ignore"):  # of bands without a frequency in them
            extractor = AutoFeatureExtractor.from_pretrained(location)
    except FAILURES as error:
        raise CheckpointError(explain_failure(location, error)) from error
    rate = getattr(extractor, "sampling_rate", None)
    if rate != AUDIO_RATE_HZ:
        raise CheckpointError(f"{name} wants audio at {rate} Hz; here it has {AUDIO_RATE_HZ} Hz")
    return extractor
