"""Temporal heads: a temporal convolutional network (TCN) and a bidirectional GRU over windows.

Both project the two modalities, add them, and mix frames over time. A modality that a frame lacks
is replaced by a learned vector. A frame with neither modality gets a result from the frames around
it, and has no influence on theirs: it is zero in every convolution, and the GRU skips it. So
padding changes nothing. Logits are NaN only if the window has no valid frame.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from abawcli.config import SequenceHead
from abawcli.labels import N_CLASSES
from abawcli.models.dropout import Dropout
from abawcli.models.gated import Classifier, ModalityPath
from abawcli.models.normalise import NormalisedHead
from abawcli.models.windows import check_windows

KERNEL = 3  # frames of one convolution; that of block k has a dilation of 2 ** k


class FeaturePath(ModalityPath):
    """The projection of one modality's features; a learned vector replaces missing ones."""

    def __init__(self, dim: int, config: SequenceHead) -> None:
        super().__init__(dim, config.hidden, config.dropout)
        self.missing = nn.Parameter(torch.empty(config.hidden))
        nn.init.trunc_normal_(self.missing, std=0.02)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Map features (B, T, D), present where `valid` (B, T), to (B, T, H)."""
        return torch.where(valid.unsqueeze(-1), super().forward(features, valid), self.missing)


class ConvolutionBlock(nn.Module):
    """A dilated convolution over time, pre-norm and residual."""

    def __init__(self, config: SequenceHead, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden)
        padding = dilation * (KERNEL - 1) // 2
        self.convolution = nn.Conv1d(
            config.hidden, config.hidden, KERNEL, padding=padding, dilation=dilation
        )
        self.out = nn.Sequential(
            nn.GELU(), Dropout(config.dropout), nn.Linear(config.hidden, config.hidden)
        )

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        """Map (B, T, H) to (B, T, H); only frames that are `known` (B, T) are read by others."""
        read = self.norm(x).masked_fill(~known.unsqueeze(-1), 0)  # (B, T, H)
        mixed = self.convolution(read.transpose(1, 2)).transpose(1, 2)  # (B, T, H)
        out: Tensor = x + self.out(mixed)
        return out


class Convolutions(nn.Module):
    """Blocks of convolutions; each block doubles the dilation of the one before."""

    def __init__(self, config: SequenceHead) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConvolutionBlock(config, 2**k) for k in range(config.layers))

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        """Map (B, T, H), of which `known` (B, T) are read, to (B, T, H)."""
        for block in self.blocks:
            x = block(x, known)
        return x


class Recurrence(nn.Module):
    """A bidirectional GRU over the known frames.

    A frame that is not known gets the state after the last known frame before it, and the state of
    the reverse direction after the first known frame behind it; 0 where there is none.
    """

    def __init__(self, config: SequenceHead) -> None:
        super().__init__()
        self.gru = nn.GRU(
            config.hidden, config.hidden, config.layers, batch_first=True, bidirectional=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )  # fmt: skip
        self.out = nn.Linear(2 * config.hidden, config.hidden)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        """Map (B, T, H), of which `known` (B, T) are read, to (B, T, H)."""
        order = (~known).int().argsort(dim=1, stable=True)  # known frames first, (B, T)
        counts = known.sum(dim=1, keepdim=True)  # (B, 1)
        first = x.gather(1, order.unsqueeze(-1).expand_as(x))  # (B, T, H)
        lengths = counts.flatten().clamp_min(1).cpu()  # none known: the result is dropped
        packed = pack_padded_sequence(first, lengths, batch_first=True, enforce_sorted=False)
        self.gru.flatten_parameters()  # cuDNN warns of weights that were copied, as for an EMA
        states, _ = pad_packed_sequence(
            self.gru(packed)[0], batch_first=True, total_length=x.shape[1]
        )
        forward, backward = states.chunk(2, dim=-1)  # 2 x (B, T, H)
        before = known.cumsum(dim=1)  # known frames up to each, itself included, (B, T)
        behind = counts - before + known.int()  # from each on
        both = [
            _take(forward, before - 1, before > 0),
            _take(backward, counts - behind, behind > 0),
        ]
        out: Tensor = x + self.out(torch.cat(both, dim=-1))
        return out


def _take(states: Tensor, index: Tensor, exists: Tensor) -> Tensor:
    """Return the states (B, T, H) at an index (B, T), 0 where none `exists` (B, T)."""
    at = index.clamp(0, states.shape[1] - 1).unsqueeze(-1).expand_as(states)
    return states.gather(1, at).masked_fill(~exists.unsqueeze(-1), 0)


class TemporalHead(NormalisedHead):
    """The base of the heads here: both modalities of a frame added, then mixed over time."""

    settings = SequenceHead
    uses = ("visual", "audio")

    def __init__(
        self,
        visual_dim: int,
        audio_dim: int,
        config: SequenceHead,
        logits: int,
        *,
        mixer: nn.Module,
    ) -> None:
        super().__init__()
        self.window, self.stride = config.window_frames, config.stride_frames
        check_windows(self.window, self.stride)
        self.visual = FeaturePath(visual_dim, config)
        self.audio = FeaturePath(audio_dim, config)
        self.mixer = mixer
        self.classifier = Classifier(config.hidden, config.dropout, logits)

    def forward(
        self, visual: Tensor, audio: Tensor, has_visual: Tensor, has_audio: Tensor
    ) -> Tensor:
        """Map features (B, T, Dv), (B, T, Da) and masks (B, T) to logits (B, T, K)."""
        x = self.visual(visual, has_visual) + self.audio(audio, has_audio)  # (B, T, H)
        known = has_visual | has_audio  # (B, T)
        mixed = self.mixer(x, known)  # (B, T, H)
        some = known.any(dim=1, keepdim=True).expand_as(known)  # (B, T)
        logits: Tensor = self.classifier(mixed, some)
        return logits


class Tcn(TemporalHead):
    """A temporal convolutional network, each layer with twice the reach of the one before."""

    def __init__(
        self, visual_dim: int, audio_dim: int, config: SequenceHead, logits: int = N_CLASSES
    ) -> None:
        super().__init__(visual_dim, audio_dim, config, logits, mixer=Convolutions(config))


class Gru(TemporalHead):
    """A bidirectional GRU."""

    def __init__(
        self, visual_dim: int, audio_dim: int, config: SequenceHead, logits: int = N_CLASSES
    ) -> None:
        super().__init__(visual_dim, audio_dim, config, logits, mixer=Recurrence(config))
