"""Log-mel spectrograms, normalised by the mean level around each frame."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from abawcli.config import AUDIO_RATE_HZ
from abawcli.device import exact_dtype

HOP = 160  # samples; 10 ms
WINDOW = 400  # 25 ms
FFT = 512
BANDS = 64
BAND_RANGE_HZ = (50.0, 7600.0)
STEP_FRAMES = 8  # of a feature
STEP_SAMPLES = STEP_FRAMES * HOP
LEVEL_FRAMES = 150  # to both sides, of which the mean is taken
FLOOR = 1e-7  # -70 dB of full scale, where silence ends up


def mel_filters(warp: Tensor | None = None) -> Tensor:
    """Return triangular filters (BANDS, FFT / 2 + 1), or (B, BANDS, FFT / 2 + 1) for each warp.

    `warp` (B,) multiplies the frequencies of the bands. This lowers pitch and resonances of a voice
    by the same factor, as a longer vocal tract does.
    """
    low, high = (2595 * np.log10(1 + hz / 700) for hz in BAND_RANGE_HZ)
    edges = 700 * (10 ** (torch.linspace(low, high, BANDS + 2) / 2595) - 1)  # (BANDS + 2,) Hz
    if warp is not None:
        edges = (edges.to(warp.device) * warp[:, None]).clamp_max(
            AUDIO_RATE_HZ / 2
        )  # (B, BANDS + 2)
    edges = edges[..., None]
    bins = torch.linspace(0, AUDIO_RATE_HZ / 2, FFT // 2 + 1, device=edges.device)  # (F,)
    below, centre, above = edges[..., :-2, :], edges[..., 1:-1, :], edges[..., 2:, :]
    rise = (bins - below) / (centre - below).clamp_min(1e-3)
    fall = (above - bins) / (above - centre).clamp_min(1e-3)
    filters = torch.minimum(rise, fall).clamp_min(0)  # (..., BANDS, F)
    return filters / filters.sum(dim=-1, keepdim=True).clamp_min(1e-3)


def sum_around(rows: Tensor, reach: int) -> Tensor:
    """Sum rows (B, M, T) over up to `reach` frames on both sides.

    In float64, sums are differences of cumulative sums. In float32, these would lose quiet frames
    after loud ones, so each sum is computed by itself, which takes many times as long.
    """
    if rows.dtype != torch.float64:
        frames = 2 * reach + 1
        return F.avg_pool1d(rows, frames, 1, reach) * frames  # beyond the ends there are zeros
    frames = rows.shape[2]
    total = F.pad(rows.cumsum(dim=2), (1, 0))  # (B, M, T + 1)
    at = torch.arange(frames, device=rows.device)
    first, last = (at - reach).clamp_min(0), (at + reach + 1).clamp_max(frames)
    return total[..., last] - total[..., first]


class LogMel(nn.Module):
    """16 kHz samples to log-mel frames of 10 ms, in whole steps."""

    def __init__(self) -> None:
        super().__init__()
        self.window: Tensor
        self.filters: Tensor
        # Constants, computed also where the network is built on the meta device: that device's
        # operations import torch's compiler, which takes seconds.
        with torch.device("cpu"):
            window, filters = torch.hann_window(WINDOW, periodic=False), mel_filters()
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def warp_filters(self, warp: Tensor) -> Tensor:
        """Return filters (B, BANDS, FFT / 2 + 1) for speech that is `warp` (B,) times lower."""
        return mel_filters(warp)

    def power(self, samples: Tensor) -> Tensor:
        """Return the power (B, FFT / 2 + 1, T) of samples (B, N), padded to whole audio frames.

        White noise has its mean square in every bin.
        """
        missing = -samples.shape[1] % STEP_SAMPLES
        edge = (FFT - HOP) // 2  # frame k is centred on the middle of its 10 ms
        padded = F.pad(samples, (edge, edge + missing))  # (B, N')
        spectrum = torch.stft(
            padded, FFT, HOP, WINDOW, self.window, center=False, return_complex=True
        )  # (B, F, T)
        return torch.view_as_real(spectrum).square().sum(dim=-1) / self.window.square().sum()

    def normalise(self, mel: Tensor) -> Tensor:
        """Turn band energies (B, BANDS, T) into logarithms relative to the mean around each frame.

        Frames are weighted by the square root of their energy, so the level is that of speech,
        and not of pauses.
        """
        level = torch.log(mel + FLOOR)  # (B, M, T)
        weight = (mel.mean(dim=1, keepdim=True) + FLOOR / 100).sqrt()  # (B, 1, T)
        weight = weight.to(exact_dtype(mel.device))
        mean = sum_around(level * weight, LEVEL_FRAMES) / sum_around(
            weight, LEVEL_FRAMES
        )  # (B, M, T)
        return (level - mean.float()) / 2

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples (B, N), full scale 1.0, to normalised bands (B, BANDS, T)."""
        return self.normalise(self.filters @ self.power(samples))
