"""What a sound backbone is, how one is loaded, and how its features come to the frames.

Sound is heard in chunks of 20 s that overlap: of each chunk only the steps are taken that have
`context_s` of sound on both sides of them, or the sound's own beginning or end.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
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
    VOICE_CERTAIN,
    VOICE_PRESENT,
    VOICE_REACH,
    VOICE_STRETCH,
    Hearing,
)
from abawcli.errors import CheckpointError, UsageError
from abawcli.formats.hashing import hash_file
from abawcli.media.audio import Audio, fill_gaps
from abawcli.models.backbones import hash_pretrained, load_pretrained
from abawcli.models.checkpoint import find_place
from abawcli.models.precision import cast_inputs, lower_weights, reduce_precision
from abawcli.models.recipes import find_weights
from abawcli.models.voice import VoiceEncoder, load_voice_encoder

Floats = NDArray[np.float32]
CPU = torch.device("cpu")
LONGEST_STEP_S = 1.0  # from one step to the next, of any backbone; a wider one is a gap
LOG = logging.getLogger(__name__)


class SoundBackbone(nn.Module):
    """A network that turns 16 kHz sound into features, one every `step_samples`.

    Step k looks at about `field_samples` of sound from k * `step_samples` on, and is centred
    there.
    """

    def __init__(
        self, name: str, network: nn.Module, dim: int, step_samples: int, field_samples: int
    ) -> None:
        super().__init__()
        self.name = name
        self.network: Any = network
        self.dim = dim
        self.step_samples = step_samples
        self.field_samples = field_samples
        self.step_s = step_samples / AUDIO_RATE_HZ
        self.context_s = 1.0  # of sound that a step should have on both sides
        self.sha256: str | None = None  # of the weights
        self.place = name  # to load it from

    def forward(self, samples: Tensor) -> Tensor:
        """Map sound (B, N), full scale 1.0, to features (B, S, dim)."""
        features: Tensor = self.network(samples)
        return features

    def hears(self, features: Tensor) -> Tensor:
        """Tell of features (S, dim) which come from something that was listened for, (S,)."""
        return torch.ones(len(features), dtype=torch.bool, device=features.device)

    def lower_precision(self, dtype: torch.dtype) -> None:
        """Let the network compute with `dtype`, as far as that does no harm."""
        lower_weights(self.network, dtype)

    def run_probe(self) -> Tensor:
        """Return the features (S, dim) of half a second of fixed noise."""
        generator = torch.Generator().manual_seed(0)
        noise = 0.1 * torch.randn(1, AUDIO_RATE_HZ // 2, generator=generator)
        features: Tensor = self(noise.to(next(self.parameters()).device))[0]
        return features

    def describe(self) -> dict[str, Any]:
        """Return what features depend on, JSON-like."""
        return {
            "backbone": self.name,
            "encoder": self.sha256,
            "place": self.place,
            "dim": self.dim,
            "layers": None,
        }


class CompactSound(SoundBackbone):
    """Our own voice encoder. Its classifier tells where there is a voice; silence has none."""

    def __init__(self, encoder: VoiceEncoder) -> None:
        network = encoder.backbone
        step = network.step_samples
        super().__init__(COMPACT_VOICE, network, network.dim, step, step)
        self.classifier = encoder.classifier
        # All that a step depends on: 0.75 s, the level of 1.5 s around, and 8 steps of `hears`.
        self.context_s = 3.04

    def lower_precision(self, dtype: torch.dtype) -> None:
        """Let all but the spectrum, which torch has in float32, compute with `dtype`."""
        lower_weights(self.network, dtype)
        self.network.front.float()
        self.network.stem.register_forward_pre_hook(cast_inputs)

    def hears(self, features: Tensor) -> Tensor:
        """Tell of features (S, dim) which come from a voice, (S,).

        A step that might be one counts only beside a stretch that certainly is: what is taken for
        a voice now and then, as music is, says nothing of anybody.
        """
        voice: Tensor = self.classifier.has_voice(features)  # (S,)
        stretch = F.avg_pool1d(voice[None], VOICE_STRETCH, 1, VOICE_STRETCH // 2)
        certain = (stretch >= VOICE_CERTAIN).to(voice.dtype)  # (1, S)
        near = F.max_pool1d(certain, 2 * VOICE_REACH + 1, 1, VOICE_REACH)[0] > 0
        return (voice >= VOICE_PRESENT) & near


class TransformerSound(SoundBackbone):
    """Wav2Vec 2.0, WavLM or HuBERT: the mean of several layers.

    `layers` counts the transformer's blocks, so that `first4` leaves out their input.
    """

    def __init__(self, name: str, network: Any, normalise: bool, layers: str) -> None:
        config = network.config
        step, field = 1, 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            field += (kernel - 1) * step
            step *= stride
        super().__init__(name, network, int(config.hidden_size), step, field)
        self.normalise = normalise
        self.layers = layers
        self.chosen = choose_layers(layers, int(config.num_hidden_layers))

    def forward(self, samples: Tensor) -> Tensor:
        """Map sound (B, N) to features (B, S, dim)."""
        if self.normalise:  # as transformers' own feature extractor does
            mean, variance = samples.mean(1, keepdim=True), samples.var(1, False, keepdim=True)
            samples = (samples - mean) / (variance + 1e-7).sqrt()
        states = self.network(samples, output_hidden_states=True).hidden_states[1:]
        return torch.stack([states[k].float() for k in self.chosen]).mean(dim=0)  # (B, S, D)

    def lower_precision(self, dtype: torch.dtype) -> None:
        """Let all but the convolutions on the sound itself compute with `dtype`.

        A sample of 8 bits of precision would be as good as one with noise 50 dB below it.
        """
        lower_weights(self.network, dtype)
        self.network.feature_extractor.float()
        self.network.feature_projection.register_forward_pre_hook(cast_inputs)

    def describe(self) -> dict[str, Any]:
        """Return what features depend on, JSON-like."""
        return super().describe() | {"layers": self.layers, "normalise": self.normalise}


def choose_layers(layers: str, count: int) -> range:
    """Return which of `count` blocks `last4`, `first4` and the like mean.

    Raises:
        UsageError: no such choice, or there are not so many.
    """
    found = re.fullmatch(r"(first|last)([1-9]\d*)", layers)
    if not found:
        raise UsageError(f"unknown layers {layers!r}; give last4, first4 or the like")
    number = int(found[2])
    if number > count:
        raise UsageError(f"layers {layers!r}: the backbone has only {count}")
    return range(number) if found[1] == "first" else range(count - number, count)


def load_compact_sound(path: str | Path) -> SoundBackbone:
    """Load the backbone of a voice encoder that `abaw train voice` wrote.

    Raises:
        CheckpointError: as `models.voice.load_voice_encoder`.
    """
    path = Path(path)
    encoder, _ = load_voice_encoder(path, CPU)
    backbone = CompactSound(encoder)
    backbone.sha256, backbone.place = hash_file(path), find_place(str(path))
    return backbone


SOUND_BACKBONES: dict[str, Callable[[], SoundBackbone]] = {
    COMPACT_VOICE: lambda: load_compact_sound(find_weights(COMPACT_VOICE))
}


def build_sound_backbone(name: str, layers: str = Hearing.layers) -> SoundBackbone:
    """Return a sound backbone with its weights.

    Args:
        name: `compact-voice`, the path of a voice encoder, or a Wav2Vec 2.0, WavLM or HuBERT of
            transformers by hub name or folder.
        layers: of a transformer: `last4`, `first4` and the like.

    Raises:
        CheckpointError: it cannot be loaded or is no sound backbone.
        UsageError: it has no such layers.
    """
    if name in SOUND_BACKBONES:
        backbone = SOUND_BACKBONES[name]()
        backbone.place = name
        return backbone
    if Path(name).suffix == ".safetensors":
        return load_compact_sound(Path(name))
    network, processor = load_pretrained(name)
    if not hasattr(network.config, "conv_stride") or not hasattr(network, "feature_projection"):
        kind = network.config.model_type
        raise CheckpointError(f"{name!r} is no sound backbone that is known here but {kind!r}")
    backbone = TransformerSound(name, network, bool(processor.get("do_normalize", True)), layers)
    backbone.sha256, backbone.place = hash_pretrained(name), find_place(name)
    return backbone


@dataclass(frozen=True)
class SoundSteps:
    """Some steps of a sound, in order, and how far the sound that was read for them reaches."""

    times_s: NDArray[np.float64]  # (S,) centres, on the container's clock
    features: Floats  # (S, D)
    heard: NDArray[np.bool_]  # (S,) whether there is anything to go by
    start_s: float  # where the whole sound begins
    end_s: float  # up to here it is known to go


class SoundEncoder:
    """A sound backbone in inference form, on one device."""

    def __init__(
        self, backbone: SoundBackbone, device: torch.device, config: Hearing | None = None
    ) -> None:
        self.device = device
        self.config = config or Hearing()
        self.dim = backbone.dim
        self._lost = 0
        self.backbone = backbone.eval().to(device)
        own = backbone.name in SOUND_BACKBONES
        self.dtype = torch.float32 if own else reduce_precision(backbone, device)
        step = backbone.step_samples  # chunks begin on the same grid of steps
        self._context = round(backbone.context_s * AUDIO_RATE_HZ / step) * step
        self._hop = int(self.config.chunk_s * AUDIO_RATE_HZ - 2 * self._context) // step * step
        if self._hop <= 0:
            least = 2 * backbone.context_s
            raise UsageError(f"chunks of {self.config.chunk_s} s are too short; more than {least}")

    def describe(self) -> dict[str, Any]:
        """Return what features depend on, JSON-like, for their description."""
        about = self.backbone.describe()
        return about | {"window_s": self.config.window_s, "chunk_s": self.config.chunk_s}

    @torch.inference_mode()
    def encode(self, samples: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Turn sound (N,) into features (S, D), at least one, and which are to be heeded (S,).

        What is not finite is 0 and not heeded: a face must not be lost to its sound.
        """
        missing = max(0, self.backbone.field_samples - len(samples))
        sound = F.pad(torch.from_numpy(samples), (0, missing)).to(self.device)
        features: Tensor = self.backbone(sound[None])[0].float()  # (S, D)
        finite = torch.isfinite(features).all(dim=1)  # (S,)
        features = features.where(finite[:, None], 0)
        self._lost += int((~finite).sum())
        heard = (self.backbone.hears(features) & finite).cpu().numpy()  # (S,)
        return np.asarray(features.cpu().numpy(), np.float32), heard

    def encode_blocks(self, blocks: Iterable[Audio]) -> Iterator[SoundSteps]:
        """Yield the steps of a sound that comes in blocks, a chunk at a time.

        In a gap between blocks, only as much silence is encoded as frames near the sound need.
        """
        edge_s = self.backbone.context_s + self.config.window_s
        parts: list[Floats] = []
        self._lost = 0  # steps whose features are not finite
        start_s, held, passed = None, 0, 0  # samples in `parts`, and gone before them
        chunk = self._hop + 2 * self._context
        for block in fill_gaps(blocks, edge_s):
            start_s = block.start_s if start_s is None else start_s
            place = round((block.start_s - start_s) * AUDIO_RATE_HZ)
            if place > passed + held:  # a long gap: what follows begins on the same grid of steps
                yield self._take_steps(np.concatenate(parts), start_s, passed, last=True)
                held = place % self.backbone.step_samples
                parts, passed = [np.zeros(held, np.float32)], place - held
            parts.append(block.samples)
            held += len(block.samples)
            while held > chunk:
                sound = np.concatenate(parts)
                yield self._take_steps(sound[:chunk], start_s, passed, last=False)
                parts, held, passed = [sound[self._hop :]], held - self._hop, passed + self._hop
        if start_s is not None:
            yield self._take_steps(np.concatenate(parts), start_s, passed, last=True)
        if self._lost:
            LOG.warning(
                "%d steps of sound gave features that are no finite numbers; they are left out",
                self._lost,
            )

    def _take_steps(self, sound: Floats, start_s: float, passed: int, last: bool) -> SoundSteps:
        """Encode a chunk that begins `passed` samples after the sound and keep its own steps."""
        step = self.backbone.step_samples
        first = self._context // step if passed else 0
        end = None if last else (self._hop + self._context) // step
        features, heard = self.encode(sound)  # (S', D), (S',)
        features, heard = features[first:end], heard[first:end]  # (S, D), (S,)
        centres = (first + np.arange(len(features))) * step + self.backbone.field_samples / 2
        times_s = start_s + (passed + centres) / AUDIO_RATE_HZ
        return SoundSteps(
            times_s, features, heard, start_s, start_s + (passed + len(sound)) / AUDIO_RATE_HZ
        )


class FrameAligner:
    """Features of sound at the times of frames, which only go forward.

    What lies behind is let go, so that memory does not grow with the length. A time that goes
    back is answered from what is still there.
    """

    def __init__(self, steps: Iterator[SoundSteps], dim: int, window_s: float = Hearing.window_s):
        self.dim = dim
        self.window_s = window_s
        self.is_exhausted = False
        self.start_s, self.end_s = np.inf, -np.inf  # of the sound, as far as it was read
        self._steps = steps
        self._times_s = np.empty(0)
        self._features = np.empty((0, dim), np.float32)
        self._heard = np.empty(0, bool)

    def at(self, time_s: float) -> tuple[Floats, bool]:
        """Return the feature (D,) of a frame, and whether there is sound.

        It is the mean over the heard steps within `window_s` of the frame, or where there is no
        step the nearest. Frames further than `window_s` from the sound, in a gap so long that its
        silence was not encoded, or with nothing heard around them, have none: zeros and False.
        """
        low_s, high_s = time_s - self.window_s, time_s + self.window_s
        while not self.is_exhausted and not (len(self._times_s) and self._times_s[-1] > high_s):
            self._pull(low_s)
        if not self.start_s <= high_s or not low_s <= self.end_s:
            return np.zeros(self.dim, np.float32), False
        first, end = np.searchsorted(self._times_s, (low_s, np.nextafter(high_s, np.inf)))
        if first == end:
            first = int(np.abs(self._times_s - time_s).argmin())
            end = first + 1
            if abs(self._times_s[first] - time_s) > self.window_s + LONGEST_STEP_S:
                return np.zeros(self.dim, np.float32), False
        heeded = self._features[first:end][self._heard[first:end]]  # (S', D)
        if len(heeded) == 0:
            return np.zeros(self.dim, np.float32), False
        return np.asarray(heeded.mean(axis=0), np.float32), True

    def _pull(self, low_s: float) -> None:
        """Take the next chunk of steps, and let go of those before `low_s` but the last."""
        chunk = next(self._steps, None)
        if chunk is None:
            self.is_exhausted = True
            return
        self.start_s, self.end_s = chunk.start_s, chunk.end_s
        kept = min(int(np.searchsorted(self._times_s, low_s)), max(0, len(self._times_s) - 1))
        self._times_s = np.concatenate([self._times_s[kept:], chunk.times_s])
        self._features = np.concatenate([self._features[kept:], chunk.features])
        self._heard = np.concatenate([self._heard[kept:], chunk.heard])
