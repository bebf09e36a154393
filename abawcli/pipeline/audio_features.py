"""Features of a video's audio, and their alignment with the frames.

The audio is encoded in chunks of 20 s that overlap. Of a chunk, only those audio frames are used
that have `context_s` of audio on both sides, or the beginning or end of the audio.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from abawcli.config import AUDIO_RATE_HZ, AudioFeatures
from abawcli.errors import UsageError
from abawcli.formats.features import round_features
from abawcli.formats.metadata import AudioBackboneMetadata
from abawcli.media.audio import Audio, fill_gaps
from abawcli.models.audio_backbones import AUDIO_BACKBONES, AudioBackbone
from abawcli.models.precision import cast_if_accurate

Floats = NDArray[np.float32]
LONGEST_STEP_S = 1.0  # from one audio frame to the next, of any backbone; a wider one is a gap
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class AudioFrames:
    """Some audio frames, in order, and the extent of the audio that was read for them."""

    times_s: NDArray[np.float64]  # (S,) centres, on the container's clock
    features: Floats  # (S, D)
    speech: NDArray[np.bool_]  # (S,) whether speech is detected
    start_s: float  # where the whole audio begins
    end_s: float  # up to here it is known to go


class AudioEncoder:
    """An audio backbone in inference form, on one device."""

    def __init__(
        self, backbone: AudioBackbone, device: torch.device, config: AudioFeatures | None = None
    ) -> None:
        self.device = device
        self.config = config or AudioFeatures()
        self.dim = backbone.dim
        self._lost = 0
        self.backbone = backbone.eval().to(device)
        own = backbone.name in AUDIO_BACKBONES
        self.dtype = torch.float32 if own else cast_if_accurate(backbone, device)
        grid = backbone.grid_samples  # chunks, and what is kept of them, begin and end on it
        self._context = -(-round(backbone.context_s * AUDIO_RATE_HZ) // grid) * grid
        self._hop = int(self.config.chunk_s * AUDIO_RATE_HZ - 2 * self._context) // grid * grid
        if self._hop <= 0:
            least = (2 * self._context + grid) / AUDIO_RATE_HZ
            raise UsageError(f"chunks of {self.config.chunk_s} s are too short; at least {least}")

    def describe(self) -> AudioBackboneMetadata:
        """Return what features depend on."""
        config = self.config
        return replace(self.backbone.describe(), window_s=config.window_s, chunk_s=config.chunk_s)

    @torch.inference_mode()
    def encode(
        self, samples: Floats, kept: slice = slice(None)
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Turn samples (N,) into features (S, D), at least one, and the speech mask (S,).

        Only the `kept` audio frames are returned.

        Features that are not finite become 0 and non-speech, so that the face is still used.
        """
        missing = max(0, self.backbone.field_samples - len(samples))
        padded = F.pad(torch.from_numpy(samples), (0, missing)).to(self.device)
        features, detected = self.backbone.encode(padded, kept)  # (S', D), (S',)
        finite = torch.isfinite(features).all(dim=1)  # (S,)
        features = features.where(finite[:, None], 0)
        self._lost += int((~finite).sum())
        speech = (detected & finite).cpu().numpy()  # (S,)
        return np.asarray(features.cpu().numpy(), np.float32), speech

    def encode_blocks(self, blocks: Iterable[Audio]) -> Iterator[AudioFrames]:
        """Yield the audio frames of blocks of audio, one chunk at a time.

        Of a gap between blocks, only the silence that frames near the audio need is encoded.
        """
        edge_s = self._context / AUDIO_RATE_HZ + self.config.window_s
        parts: list[Floats] = []
        self._lost = 0  # audio frames whose features are not finite
        start_s, held, passed = None, 0, 0  # samples in `parts`, and gone before them
        chunk = self._hop + 2 * self._context
        for block in fill_gaps(blocks, edge_s):
            start_s = block.start_s if start_s is None else start_s
            at = round((block.start_s - start_s) * AUDIO_RATE_HZ)
            if at > passed + held:  # a long gap: what follows begins on the same grid
                yield self._encode_chunk(np.concatenate(parts), start_s, passed, last=True)
                held = at % self.backbone.grid_samples
                parts, passed = [np.zeros(held, np.float32)], at - held
            parts.append(block.samples)
            held += len(block.samples)
            while held > chunk:
                samples = np.concatenate(parts)
                yield self._encode_chunk(samples[:chunk], start_s, passed, last=False)
                parts, held, passed = [samples[self._hop :]], held - self._hop, passed + self._hop
        if start_s is not None:
            yield self._encode_chunk(np.concatenate(parts), start_s, passed, last=True)
        if self._lost:
            LOG.warning(
                "%d audio frames gave features that are no finite numbers; they are left out",
                self._lost,
            )

    def _encode_chunk(
        self, samples: Floats, start_s: float, passed: int, last: bool
    ) -> AudioFrames:
        """Encode a chunk that begins `passed` samples after the audio; return its own frames."""
        step = self.backbone.step_samples
        first = self._context // step if passed else 0
        end = None if last else (self._hop + self._context) // step
        features, speech = self.encode(samples, slice(first, end))  # (S, D), (S,)
        centres = (first + np.arange(len(features))) * step + self.backbone.field_samples / 2
        times_s = start_s + (passed + centres) / AUDIO_RATE_HZ
        return AudioFrames(
            times_s=times_s,
            features=features,
            speech=speech,
            start_s=start_s,
            end_s=start_s + (passed + len(samples)) / AUDIO_RATE_HZ,
        )


class FrameAligner:
    """Features of audio at the times of frames, which must ascend.

    Earlier chunks are dropped, so memory does not grow with the length. A time that goes back gets
    the feature from the remaining chunks.
    """

    def __init__(
        self, chunks: Iterator[AudioFrames], dim: int, window_s: float = AudioFeatures.window_s
    ):
        self.dim = dim
        self.window_s = window_s
        self.is_exhausted = False
        self.start_s, self.end_s = np.inf, -np.inf  # of the audio, as far as it was read
        self._chunks = chunks
        self._times_s = np.empty(0)
        self._features = np.empty((0, dim), np.float32)
        self._speech = np.empty(0, bool)

    def at(self, time_s: float) -> tuple[NDArray[np.float16], bool]:
        """Return the feature (D,) of a frame in half precision, and whether there is one.

        It is the mean over the audio frames with speech within `window_s` of the frame, or the
        nearest audio frame if there is none. The result is zeros and False for frames further than
        `window_s` from the audio, in a long gap, or without speech in the window.
        """
        feature = self._average(time_s)
        if feature is None:
            return np.zeros(self.dim, np.float16), False
        return round_features(feature), True

    def _average(self, time_s: float) -> Floats | None:
        low_s, high_s = time_s - self.window_s, time_s + self.window_s
        while not self.is_exhausted and not (len(self._times_s) and self._times_s[-1] > high_s):
            self._pull(low_s)
        if not self.start_s <= high_s or not low_s <= self.end_s:
            return None
        first, end = np.searchsorted(self._times_s, (low_s, np.nextafter(high_s, np.inf)))
        if first == end:
            first = int(np.abs(self._times_s - time_s).argmin())
            end = first + 1
            if abs(self._times_s[first] - time_s) > self.window_s + LONGEST_STEP_S:
                return None
        spoken = self._features[first:end][self._speech[first:end]]  # (S', D)
        return np.asarray(spoken.mean(axis=0), np.float32) if len(spoken) else None

    def _pull(self, low_s: float) -> None:
        """Read the next chunk; drop those before `low_s` except the last one."""
        chunk = next(self._chunks, None)
        if chunk is None:
            self.is_exhausted = True
            return
        self.start_s, self.end_s = chunk.start_s, chunk.end_s
        kept = min(int(np.searchsorted(self._times_s, low_s)), max(0, len(self._times_s) - 1))
        self._times_s = np.concatenate([self._times_s[kept:], chunk.times_s])
        self._features = np.concatenate([self._features[kept:], chunk.features])
        self._speech = np.concatenate([self._speech[kept:], chunk.speech])
