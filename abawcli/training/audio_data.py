"""Training data of voice encoders, in memory: labelled recordings, and non-speech audio."""

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from abawcli.errors import InputError
from abawcli.formats.manifest import LabelledRecordings
from abawcli.media.audio import read_audio
from abawcli.progress import Progress
from abawcli.training.non_speech import NON_SPEECH, make_non_speech

NON_SPEECH_SAMPLES = 140  # made once per run; batches draw from them and augment them


def balance(labels: NDArray[np.int64], corpora: NDArray[np.str_]) -> NDArray[np.float32]:
    """Return weights of recordings (R,).

    All corpora have the same total weight, and so have the classes of one corpus.
    """
    groups = list(zip(corpora.tolist(), labels.tolist(), strict=True))
    sizes = Counter(groups)
    classes = Counter(corpus for corpus, _ in sizes)
    return np.array([1 / (classes[group[0]] * sizes[group]) for group in groups], np.float32)


class AudioDataset:
    """The recordings of a manifest in memory, as 16-bit samples, and crops of them."""

    def __init__(self, recordings: LabelledRecordings, progress: Progress) -> None:
        """Decode all recordings.

        Raises:
            InputError: a recording cannot be read or has no audio.
        """
        self.recordings = recordings
        self.samples: list[NDArray[np.int16]] = []
        for file in recordings.files:
            audio = read_audio(file)
            if audio is None:
                raise InputError(f"{file} has no audio; correct or remove its manifest row")
            self.samples.append((audio.samples.clip(-1, 1) * 32767).astype(np.int16))
            progress(len(self.samples), len(recordings.files), "read recordings")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Tensor:
        """Return the samples of one recording, (N,), full scale 1."""
        return torch.from_numpy(self.samples[index].astype(np.float32) / 32767)

    def balance(self) -> Tensor:
        """Return the sampling weight of each recording, (R,)."""
        return torch.from_numpy(balance(self.recordings.labels, self.recordings.corpora))

    def crop(self, index: int, count: int, generator: Generator) -> Tensor:
        """Return a random crop (count,) of a recording; a shorter one is padded with silence."""
        whole = self[index]
        spare = len(whole) - count
        first = int(torch.randint(abs(spare) + 1, (), generator=generator))
        if spare >= 0:
            return whole[first : first + count]
        return F.pad(whole, (first, -spare - first))


def make_non_speech_bank(count: int, seed: int) -> Tensor:
    """Return non-speech audio (B, count), B = NON_SPEECH_SAMPLES, each kind equally often."""
    rng = np.random.default_rng(seed)
    kinds = list(NON_SPEECH) * (NON_SPEECH_SAMPLES // len(NON_SPEECH))
    return torch.from_numpy(np.stack([make_non_speech(kind, count, rng) for kind in kinds]))
