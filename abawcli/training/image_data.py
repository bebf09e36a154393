"""Labelled images to train on, resized for a backbone."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from abawcli.errors import InputError
from abawcli.faces.crop import read_image, resize_square
from abawcli.formats.manifest import LabelledImages
from abawcli.formats.metadata import Preprocess

CACHE_BYTES = 2 * 2**30  # limit up to which all decoded training images are cached in memory


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images of a manifest, resized to the backbone's `resize`, with their targets."""

    def __init__(self, images: LabelledImages, preprocess: Preprocess) -> None:
        self.images = images
        self.side = preprocess.resize
        self.cache: dict[int, NDArray[np.uint8]] = {}
        self.cached = len(images.files) * self.side**2 * 3 <= CACHE_BYTES

    def __len__(self) -> int:
        return len(self.images.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one image (S, S, 3), uint8 RGB, and its target (8,).

        Raises:
            InputError: the image cannot be read.
        """
        image = self.cache.get(index)
        if image is None:
            image = self._read(self.images.files[index])
            if self.cached:
                self.cache[index] = image
        return torch.from_numpy(image), torch.from_numpy(self.images.targets[index])

    def _read(self, file: Path) -> NDArray[np.uint8]:
        image = read_image(file)
        if image is None:
            raise InputError(f"cannot read the image {file}; correct or remove its manifest row")
        return resize_square(image, self.side)

    def load(self, batches: list[list[int]]) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return a loader of batches of indices; it has workers only if images are not cached."""
        workers = 0 if self.cached else min(8, torch.get_num_threads())
        return DataLoader(self, batch_sampler=batches, num_workers=workers)
