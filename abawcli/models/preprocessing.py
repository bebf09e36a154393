"""Preprocessing: from face crops to the input of an image backbone, in training and prediction."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abawcli.formats.metadata import Preprocess


def scale_to_unit(crops: NDArray[np.uint8] | Tensor, how: Preprocess) -> Tensor:
    """Turn RGB crops (B, S, S, 3) uint8 into (B, C, S, S) float in 0..1.

    Grey is the luma of ITU-R BT.601, as in most image libraries.
    """
    pixels = torch.as_tensor(crops).permute(0, 3, 1, 2).float() / 255  # (B, 3, S, S)
    return find_luma(pixels) if how.channels == 1 else pixels


def find_luma(pixels: Tensor) -> Tensor:
    """Turn RGB (B, 3, H, W) into grey (B, 1, H, W); grey stays as it is."""
    if pixels.shape[1] == 1:
        return pixels
    weights = pixels.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (pixels * weights).sum(dim=1, keepdim=True)


def normalise_pixels(pixels: Tensor, how: Preprocess) -> Tensor:
    """Normalise (B, C, H, W) in 0..1 with the backbone's mean and deviation."""
    mean = pixels.new_tensor(how.mean).view(1, -1, 1, 1)
    std = pixels.new_tensor(how.std).view(1, -1, 1, 1)
    return (pixels - mean) / std


def prepare_crops(crops: NDArray[np.uint8] | Tensor, how: Preprocess) -> Tensor:
    """Turn RGB crops (B, resize, resize, 3) uint8 into the input (B, C, size, size)."""
    edge = (how.resize - how.size) // 2
    centre = torch.as_tensor(crops)[:, edge : edge + how.size, edge : edge + how.size]
    return normalise_pixels(scale_to_unit(centre, how), how)
