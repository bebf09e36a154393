"""Labelled recordings to train on, in memory, and sounds without speech beside them."""

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

NON_SPEECH_SOUNDS = 140  # made once a run and drawn from, each time in another part and changed


class AudioDataset:
    """Recordings of a manifest in memory, as 16-bit samples, and crops of them."""

    def __init__(self, sounds: LabelledRecordings, progress: Progress) -> None:
        self.sounds = sounds
        self.samples: list[NDArray[np.int16]] = []
        for file in sounds.files:
            audio = read_audio(file)
            if audio is None:
                raise InputError(f"{file} has no sound; correct or remove its manifest row")
            self.samples.append((audio.samples.clip(-1, 1) * 32767).astype(np.int16))
            progress(len(self.samples), len(sounds.files), "read sounds")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Tensor:
        """Return one recording (N,), full scale 1."""
        return torch.from_numpy(self.samples[index].astype(np.float32) / 32767)

    def balance(self) -> Tensor:
        """Return the weight (N,) of each recording in random draws.

        All corpora weigh the same, and so do the classes of one corpus.
        """
        groups = list(zip(self.sounds.corpora.tolist(), self.sounds.labels.tolist(), strict=True))
        sizes = {group: groups.count(group) for group in set(groups)}
        classes = {c: sum(corpus == c for corpus, _ in sizes) for c, _ in groups}
        return torch.tensor([1 / (classes[group[0]] * sizes[group]) for group in groups])

    def crop(self, index: int, count: int, generator: Generator) -> Tensor:
        """Return `count` samples from a random place; silence around a shorter recording."""
        whole = self[index]
        spare = len(whole) - count
        first = int(torch.randint(abs(spare) + 1, (), generator=generator))
        if spare >= 0:
            return whole[first : first + count]
        return F.pad(whole, (first, -spare - first))


def make_non_speech_bank(count: int, seed: int) -> Tensor:
    """Return sounds without speech (NON_SPEECH_SOUNDS, count), as many of each kind."""
    rng = np.random.default_rng(seed)
    kinds = list(NON_SPEECH) * (NON_SPEECH_SOUNDS // len(NON_SPEECH))
    return torch.from_numpy(np.stack([make_non_speech(kind, count, rng) for kind in kinds]))
