"""Training samples of heads: windows of frames of annotated videos, with modality dropout."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abawcli.datasets.annotated import VideoSet
from abawcli.labels import IGNORE
from abawcli.models.windows import place_windows

Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # visual, audio, has_visual, has_audio, label


class WindowSamples:
    """The windows of a set of videos that have an annotated frame and a frame with features."""

    def __init__(self, videos: VideoSet, uses: tuple[str, ...], window: int, stride: int) -> None:
        self.data, self.window = videos.data, window
        valid = np.zeros(len(self.data.labels), bool)
        for modality in uses:
            valid |= getattr(self.data, f"has_{modality}")
        parts = [_list_windows(rows, window, stride) for rows in videos.slices()]
        bounds = np.concatenate([np.zeros((0, 2), np.int64), *parts])  # (N, 2)
        useful = _find_any(valid, bounds) & _find_any(self.data.find_annotated(), bounds)
        self.bounds = torch.from_numpy(bounds[useful])  # first row of each, and the one after
        self.arrays = [
            torch.from_numpy(array)
            for array in (
                self.data.visual,
                self.data.audio,
                self.data.has_visual,
                self.data.has_audio,
                self.data.labels,
            )
        ]
        self.values = {name: torch.from_numpy(each) for name, each in self.data.values.items()}

    def __len__(self) -> int:
        return len(self.bounds)

    def labels(self) -> Tensor:
        """Return the labels (N,) of all annotated frames of the windows, each frame once."""
        labels = self.arrays[-1][self._find_frames()]
        return labels[labels != IGNORE]

    def list_values(self, task: str) -> Tensor:
        """Return the values (N, K) of all frames of the windows, NaN where not annotated."""
        return self.values[task][self._find_frames()]

    def _find_frames(self) -> Tensor:
        """Return which rows of the data (N,) are in a window."""
        edges = torch.zeros(len(self.data.labels) + 1, dtype=torch.int64)
        for column, step in enumerate((1, -1)):
            edges.index_add_(0, self.bounds[:, column], torch.full((len(self),), step))
        return edges.cumsum(0)[:-1] > 0

    def batches(self, frames: int, generator: torch.Generator) -> list[Tensor]:
        """Return the indices of windows (B,) of each batch of an epoch, in random order.

        A batch has about `frames` frames, and at least one window.
        """
        order = torch.randperm(len(self), generator=generator)  # (N,)
        size = max(frames // self.window, 1)
        return list(order.tensor_split(-(-len(self) // size)))

    def gather(self, batch: Tensor) -> Batch:
        """Return the windows with the indices (B,).

        Returns:
            visual (B, window, Dv), audio (B, window, Da), and has_visual, has_audio and labels
            (B, window). Frames after the end of a video have no features and the label -1.
        """
        rows, inside = self._lay_rows(batch)
        v, a, has_v, has_a, y = (  # several times as fast as array[rows]
            array.index_select(0, rows.flatten()).view(*rows.shape, *array.shape[1:])
            for array in self.arrays
        )
        return v, a, has_v & inside, has_a & inside, y.masked_fill(~inside, IGNORE)

    def gather_values(self, batch: Tensor, task: str) -> Tensor:
        """Return the values (B, window, K) of the windows with the indices (B,).

        They are NaN where they are not annotated, and after the end of a video.
        """
        rows, inside = self._lay_rows(batch)
        return self.values[task][rows].masked_fill(~inside.unsqueeze(-1), torch.nan)

    def _lay_rows(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of windows, and which of them are within the video, (B, window)."""
        start, end = self.bounds[batch, :1], self.bounds[batch, 1:]  # (B, 1)
        rows = start + torch.arange(self.window)  # (B, window)
        return rows.minimum(end - 1), rows < end


def _list_windows(rows: slice, window: int, stride: int) -> NDArray[np.int64]:
    """Return first row and end (exclusive) of each window of one video, (N, 2)."""
    starts = rows.start + place_windows(rows.stop - rows.start, window, stride)
    return np.stack([starts, np.minimum(starts + window, rows.stop)], axis=1)


def _find_any(flags: NDArray[np.bool_], bounds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which ranges of rows (N, 2) contain a true flag (T,), (N,)."""
    before = np.append(0, np.cumsum(flags))
    found: NDArray[np.bool_] = before[bounds[:, 1]] > before[bounds[:, 0]]
    return found


def drop_modalities(
    has_visual: Tensor, has_audio: Tensor, p: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Modality dropout: drop one modality in a share `p` of the samples; return both masks (B, T).

    Both are dropped equally often, and never the only modality of a sample. `has_visual` and
    `has_audio` (B, T) are the frames with features.
    """
    chance, coin = torch.rand(2, len(has_visual), generator=generator)  # (B,)
    both = has_visual.any(dim=1) & has_audio.any(dim=1)  # (B,)
    dropped, heads = both & (chance < p), coin < 0.5  # (B,)
    return has_visual & ~(dropped & heads)[:, None], has_audio & ~(dropped & ~heads)[:, None]


def swap_audio(
    audio: Tensor, has_visual: Tensor, has_audio: Tensor, *, p: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Replace the audio of a share `p` of the samples by that of another one.

    Only samples with a face are changed, because others could be left without any features.

    Args:
        audio: (B, T, Da) features.
        has_visual, has_audio: (B, T) frames with features.
        p: share of the samples.
        generator: of the random numbers.

    Returns:
        audio (B, T, Da) and has_audio (B, T).
    """
    count = len(audio)
    chosen = torch.rand(count, generator=generator) < p  # (B,)
    other = torch.randperm(count, generator=generator)
    source = torch.where(chosen & has_visual.any(dim=1), other, torch.arange(count))
    return audio.index_select(0, source), has_audio[source]  # indexing takes several times as long
