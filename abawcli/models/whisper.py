"""The first layers of a Whisper encoder, with local attention, so that chunks do not matter.

Whisper attends to all of a window of 30 s, adds the position in it, and clips its log-mel relative
to the loudest moment of it. Here a token attends to those at most `reach` tokens away, there are no
positions, and the level is that of the time around: a token depends on some seconds around it and
on nothing else. Short training restores what the weights lose by that.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from abawcli.config import AUDIO_RATE_HZ
from abawcli.models.log_mel import LEVEL_FRAMES, sum_around

HOP = 160  # samples; 10 ms
FFT = 400  # samples; 25 ms, the window too
TOKEN_SAMPLES = 2 * HOP
FLOOR = 1e-10
# Whisper's input is (log10 energy + 4) / 4. Speech of its training has this level there, and lies
# in the five decades above the floor; what is below it, codecs and rooms put there.
SPEECH_LEVEL = -0.5
RANGE = 3.5  # decades below the level of speech


def mel_filters(bands: int, warp: Tensor | None = None) -> Tensor:
    """Return Slaney's triangular filters (bands, FFT / 2 + 1) of unit area, as Whisper has.

    With `warp` (B,), (B, bands, FFT / 2 + 1): filters at frequencies that are `warp` times higher.
    """
    step = math.log(6.4) / 27  # of a mel above 1 kHz, which is the 15th; linear below
    top = 15 + math.log(AUDIO_RATE_HZ / 2 / 1000) / step
    mel = torch.linspace(0, top, bands + 2, device=None if warp is None else warp.device)
    edges = torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * step))  # Hz
    if warp is not None:
        edges = (edges * warp[:, None]).clamp_max(AUDIO_RATE_HZ / 2)  # (B, bands + 2)
    edges = edges[..., None]
    bins = torch.linspace(0, AUDIO_RATE_HZ / 2, FFT // 2 + 1, device=edges.device)  # (F,)
    below, centre, above = edges[..., :-2, :], edges[..., 1:-1, :], edges[..., 2:, :]
    rise = (bins - below) / (centre - below).clamp_min(1e-3)
    fall = (above - bins) / (above - centre).clamp_min(1e-3)
    return torch.minimum(rise, fall).clamp_min(0) * 2 / (above - below).clamp_min(1e-3)


class WhisperMel(nn.Module):
    """16 kHz samples to Whisper's log-mel frames of 10 ms, at the level of the time around."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.window: Tensor
        self.filters: Tensor
        with torch.device("cpu"):  # as in `LogMel`
            window, filters = torch.hann_window(FFT), mel_filters(bands)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def warp_filters(self, warp: Tensor) -> Tensor:
        """Return filters (B, bands, F) of voices `warp` (B,) times lower."""
        return mel_filters(self.bands, warp)

    def power(self, samples: Tensor) -> Tensor:
        """Return the power (B, F, T) of samples (B, N), N whole frames."""
        edge = (FFT - HOP) // 2  # frame k is centred on the middle of its 10 ms
        spectrum = torch.stft(
            F.pad(samples, (edge, edge)), FFT, HOP, FFT, self.window, center=False,
            return_complex=True,
        )  # (B, F, T)  # fmt: skip
        return torch.view_as_real(spectrum).square().sum(dim=-1)

    def normalise(self, mel: Tensor) -> Tensor:
        """Turn energies (B, M, T) into logarithms relative to the level of the time around.

        Frames count by the root of their energy: the level is that of speech, not of pauses.
        """
        energy = mel.mean(dim=1, keepdim=True) + FLOOR  # (B, 1, T)
        weight = energy.sqrt().double()
        level = sum_around(energy.log10() * weight, LEVEL_FRAMES) / sum_around(weight, LEVEL_FRAMES)
        bands = (mel + FLOOR).log10() - level.float()  # (B, M, T)
        return (bands.clamp_min(-RANGE) + SPEECH_LEVEL + 4) / 4

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples (B, N), N whole frames, full scale 1.0, to bands (B, M, N / HOP)."""
        return self.normalise(self.filters @ self.power(samples))


class LocalAttention(nn.Module):
    """Self-attention of each token to those at most `reach` tokens away."""

    def __init__(self, width: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D); queries in blocks of `reach`, keys of three blocks."""
        count, tokens, width = x.shape
        reach = self.reach
        blocks = -(-tokens // reach)
        spare = blocks * reach - tokens

        def split(y: Tensor, edge: int) -> Tensor:
            """Cut (B, T, D) into blocks with `edge` tokens to both sides: (B, H, K, L, D / H)."""
            y = F.pad(y, (0, 0, edge, edge + spare))
            cut = y.unfold(1, reach + 2 * edge, reach)  # (B, K, D, L)
            parts = cut.reshape(count, blocks, self.heads, width // self.heads, -1)
            return parts.permute(0, 2, 1, 4, 3)

        query = split(self.q_proj(x), 0)  # (B, H, K, R, d)
        key, value = split(self.k_proj(x), reach), split(self.v_proj(x), reach)  # (.., 3 R, d)
        mask = self._find_near(blocks, tokens, x.device)
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        y = y.permute(0, 2, 3, 1, 4).reshape(count, -1, width)[:, :tokens]
        out: Tensor = self.out_proj(y)
        return out

    def _find_near(self, blocks: int, tokens: int, device: torch.device) -> Tensor:
        """Return which keys (K, R, 3 R) a query sees: near, and a token of the input."""
        reach = self.reach
        query = torch.arange(reach, device=device)[:, None] + reach  # (R, 1)
        key = torch.arange(3 * reach, device=device)  # (3 R,)
        near = (key - query).abs() <= reach  # (R, 3 R)
        at = key + (torch.arange(blocks, device=device)[:, None] - 1) * reach  # (K, 3 R)
        there = (at >= 0) & (at < tokens)
        # A query beyond the end sees itself, so that no row is empty.
        return (near & there[:, None]) | (key == query)


class WhisperBlock(nn.Module):
    """One Transformer block, norms first."""

    def __init__(self, width: int, heads: int, feed_forward: int, reach: int) -> None:
        super().__init__()
        self.self_attn = LocalAttention(width, heads, reach)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, feed_forward)
        self.fc2 = nn.Linear(feed_forward, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        x = x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))
        return x


class WhisperLayers(nn.Module):
    """16 kHz samples to a state every 20 ms: Whisper's convolutions and first blocks."""

    token_samples = TOKEN_SAMPLES

    def __init__(
        self, bands: int, width: int, heads: int, feed_forward: int, layers: int, reach: int
    ) -> None:
        super().__init__()
        self.width = width
        self.front = WhisperMel(bands)
        self.conv1 = nn.Conv1d(bands, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(
            WhisperBlock(width, heads, feed_forward, reach) for _ in range(layers)
        )
        # Tokens to both sides that a state depends on, besides the level.
        self.field_tokens = layers * reach + 2

    def encode(self, bands: Tensor) -> Tensor:
        """Map bands (B, M, 2 T) to states (B, T, D)."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(bands)))).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return x

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples (B, N), N whole tokens, to states (B, N / 320, D)."""
        return self.encode(self.front(samples))
