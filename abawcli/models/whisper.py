"""The first layers of a Whisper encoder, in windows on a grid, so that chunks change nothing.

Whisper attends to a whole window of 30 s, adds the position in it, and clips its log-mel relative
to the loudest moment in it. Here windows have 3.84 s and overlap by half: the middle half of each
is kept. They begin on a grid from the first sample, with Whisper's positions, and log-mels are
relative to the level around each frame. So a token depends only on its window and on that level.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from abawcli.config import AUDIO_RATE_HZ
from abawcli.device import exact_dtype
from abawcli.models.log_mel import HOP, LEVEL_FRAMES, sum_around

FFT = 400  # samples; 25 ms, the window too
TOKEN_SAMPLES = 2 * HOP
WINDOW_TOKENS = 192  # 3.84 s, several words
WINDOW_HOP = 96  # from one window to the next: the middle of a window, which is kept
WINDOW_EDGE = (WINDOW_TOKENS - WINDOW_HOP) // 2
FLOOR = 1e-10
# Whisper's input is (log10 energy + 4) / 4. Speech of its training has this level there, and lies
# in the five decades above the floor; what is below it, codecs and rooms put there.
SPEECH_LEVEL = -0.5
RANGE = 3.5  # decades below the level of speech


def slaney_filters(bands: int, warp: Tensor | None = None) -> Tensor:
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
    """From 16 kHz samples to Whisper's log-mel frames of 10 ms, relative to the level around."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.window: Tensor
        self.filters: Tensor
        with torch.device("cpu"):  # as in `LogMel`
            window, filters = torch.hann_window(FFT), slaney_filters(bands)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def warp_filters(self, warp: Tensor) -> Tensor:
        """Return filters (B, bands, F) for speech that is `warp` (B,) times lower."""
        return slaney_filters(self.bands, warp)

    def power(self, samples: Tensor) -> Tensor:
        """Return the power (B, F, T) of samples (B, N), N whole frames."""
        edge = (FFT - HOP) // 2  # frame k is centred on the middle of its 10 ms
        spectrum = torch.stft(
            F.pad(samples, (edge, edge)), FFT, HOP, FFT, self.window, center=False,
            return_complex=True,
        )  # (B, F, T)  # fmt: skip
        return torch.view_as_real(spectrum).square().sum(dim=-1)

    def normalise(self, mel: Tensor) -> Tensor:
        """Turn energies (B, M, T) into logarithms relative to the level around each frame.

        Frames are weighted by the square root of their energy: the level is that of speech.
        """
        energy = mel.mean(dim=1, keepdim=True) + FLOOR  # (B, 1, T)
        weight = energy.sqrt().to(exact_dtype(mel.device))
        level = sum_around(energy.log10() * weight, LEVEL_FRAMES) / sum_around(weight, LEVEL_FRAMES)
        bands = (mel + FLOOR).log10() - level.float()  # (B, M, T)
        return (bands.clamp_min(-RANGE) + SPEECH_LEVEL + 4) / 4

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples (B, N), N whole frames, full scale 1.0, to bands (B, M, N / HOP)."""
        return self.normalise(self.filters @ self.power(samples))


class SelfAttention(nn.Module):
    """Self-attention of the tokens of a window."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, valid: Tensor, kept: slice = slice(None)) -> Tensor:
        """Map (B, W, D) to the `kept` of (B, W, D); only `valid` tokens (B, W) are attended to."""
        query, key, value = (
            layer(part).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, H, W, D / H)
            for layer, part in ((self.q_proj, x[:, kept]), (self.k_proj, x), (self.v_proj, x))
        )
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=valid[:, None, None])
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out


class WhisperBlock(nn.Module):
    """One Transformer block, norms first."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, feed_forward)
        self.fc2 = nn.Linear(feed_forward, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, valid: Tensor, kept: slice = slice(None)) -> Tensor:
        """Map (B, W, D) to the `kept` of (B, W, D); only `valid` tokens (B, W) are attended to."""
        x = x[:, kept] + self.self_attn(self.self_attn_layer_norm(x), valid, kept)
        x = x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))
        return x


def cut_windows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Cut tokens (B, T, D) into windows (B, K, W, D) whose middle halves are adjacent.

    Also returns which tokens of the windows exist (K, W); the others are 0.
    """
    tokens = x.shape[1]
    count = -(-tokens // WINDOW_HOP)
    padded = F.pad(x, (0, 0, WINDOW_EDGE, WINDOW_EDGE + count * WINDOW_HOP - tokens))
    windows = padded.unfold(1, WINDOW_TOKENS, WINDOW_HOP).transpose(2, 3)
    start = torch.arange(count, device=x.device)[:, None] * WINDOW_HOP - WINDOW_EDGE  # (K, 1)
    at = start + torch.arange(WINDOW_TOKENS, device=x.device)  # (K, W)
    return windows, (at >= 0) & (at < tokens)


class WhisperLayers(nn.Module):
    """From 16 kHz samples to a state every 20 ms: Whisper's convolutions and first blocks."""

    grid_samples = WINDOW_HOP * TOKEN_SAMPLES  # from one window to the next
    # Tokens to both sides of the middle of a window that its states depend on, besides the level.
    field_tokens = WINDOW_EDGE + 2

    def __init__(
        self, bands: int, width: int, heads: int, feed_forward: int, *, layers: int
    ) -> None:
        super().__init__()
        self.width = width
        self.front = WhisperMel(bands)
        self.conv1 = nn.Conv1d(bands, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        # Sinusoids, which Whisper does not train either.
        # Without random values: what draws them on the meta device imports torch's compiler.
        zeros = torch.zeros(WINDOW_TOKENS, width)
        self.embed_positions = nn.Embedding(WINDOW_TOKENS, width, _weight=zeros)
        self.embed_positions.requires_grad_(False)
        self.layers = nn.ModuleList(WhisperBlock(width, heads, feed_forward) for _ in range(layers))

    def encode(self, bands: Tensor, kept: slice = slice(None)) -> Tensor:
        """Map bands (B, M, 2 T) to the `kept` of states (B, T, D)."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(bands)))).transpose(1, 2)  # (B, T, D)
        count, tokens, width = x.shape
        start, stop, _ = kept.indices(tokens)
        needed = slice(start // WINDOW_HOP, -(-stop // WINDOW_HOP))
        windows, valid = cut_windows(x)  # (B, K, W, D), (K, W)
        y = (windows[:, needed] + self.embed_positions.weight).flatten(0, 1)  # (B K', W, D)
        valid = valid[needed].repeat(count, 1)  # (B K', W)
        *first, last = self.layers
        for layer in first:
            y = layer(y, valid)
        middle = last(y, valid, slice(WINDOW_EDGE, WINDOW_EDGE + WINDOW_HOP))  # (B K', W / 2, D)
        offset = needed.start * WINDOW_HOP  # tokens before the first window
        states: Tensor = middle.reshape(count, -1, width)[:, start - offset : stop - offset]
        return states

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples (B, N), N whole tokens, to states (B, N / 320, D)."""
        return self.encode(self.front(samples))
