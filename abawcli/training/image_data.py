"""Training data of face encoders: labelled images, resized for a backbone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from abawcli.config import IMAGE_BOX_SCALE
from abawcli.cores import share_cores
from abawcli.errors import InputError
from abawcli.faces.crop import crop_square, read_image, resize_square
from abawcli.formats.manifest import LabelledImages
from abawcli.formats.metadata import Preprocess
from abawcli.training.loop import Batches

CACHE_BYTES = 2 * 2**30  # limit up to which all decoded images are held in the device's memory
READ_WORKERS = 8  # threads and processes that read images
Batch = tuple[Tensor, Tensor]  # images (B, S, S, 3) uint8, targets (B, K)


class ImageDataset(Dataset[Batch]):
    """The faces of a manifest, resized to the backbone's `resize`, with their targets (K,)."""

    def __init__(
        self, images: LabelledImages, preprocess: Preprocess, device: torch.device
    ) -> None:
        self.images = images
        self.targets = torch.from_numpy(images.targets)  # (N, 8), and what `add_targets` adds
        self.side, self.resample = preprocess.resize, preprocess.resample
        self.device = device
        self.cached = len(self) * self.side**2 * 3 <= CACHE_BYTES
        self.held: Batch | None = None  # all images, if they are cached

    def __len__(self) -> int:
        return len(self.images.files)

    def __getitem__(self, index: int) -> Batch:
        """Return one image (S, S, 3), uint8 RGB, and its targets (K,).

        Raises:
            InputError: the image cannot be read, or its face's box is outside of it.
        """
        return torch.from_numpy(self._read(index)), self.targets[index]

    def _read(self, index: int) -> NDArray[np.uint8]:
        file = self.images.files[index]
        image = read_image(file)
        if image is None:
            raise InputError(f"cannot read the image {file}; correct or remove its manifest row")
        box = None if self.images.boxes is None else self.images.boxes[index]
        if box is None or np.isnan(box).any():
            return resize_square(image, self.side, self.resample)
        height, width = image.shape[:2]
        x, y, w, h = box
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise InputError(
                f"{file} has {width} x {height} pixels, and the box {x:g}, {y:g}, {w:g}, {h:g} of "
                "its face is outside; correct or remove its manifest row"
            )
        return crop_square(image, box, IMAGE_BOX_SCALE, self.side, resample=self.resample)

    def read_all(self) -> None:
        """Read all images into the device's memory, if they fit and are not there yet.

        Raises:
            InputError: an image cannot be read.
        """
        if not self.cached or self.held:
            return
        with ThreadPoolExecutor(READ_WORKERS) as pool:
            images = np.stack(list(pool.map(self._read, range(len(self)))))  # (N, S, S, 3)
        self.held = torch.from_numpy(images).to(self.device), self.targets.to(self.device)

    def add_targets(self, more: Tensor) -> None:
        """Append columns (N, M) to the targets (N, K)."""
        self.targets = torch.cat([self.targets, more.cpu()], dim=1)
        if self.held:
            self.held = self.held[0], self.targets.to(self.device)

    def load(self, batches: list[list[int]]) -> Batches[Batch]:
        """Return the batches of indices, from memory or read by several processes.

        The number of processes is that of the cores, divided among the processes of torchrun. It
        is not that of torch's threads, which torchrun sets to one.
        """
        if self.held:
            return HeldBatches(self.held, batches)
        workers = 0 if self.cached else min(READ_WORKERS, share_cores())
        return DataLoader(self, batch_sampler=batches, num_workers=workers)


class HeldBatches:
    """Batches of images that are in the device's memory."""

    def __init__(self, held: Batch, batches: list[list[int]]) -> None:
        self.held, self.batches = held, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        images, targets = self.held
        for batch in self.batches:
            chosen = torch.tensor(batch, device=images.device)
            yield images[chosen], targets[chosen]
