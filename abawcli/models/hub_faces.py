"""Image classifiers of the Hugging Face hub as classifiers of faces, with their preprocessing."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from abawcli.config import RESAMPLINGS
from abawcli.errors import CheckpointError
from abawcli.faces.crop import resize_square
from abawcli.formats.metadata import HUB_PREFIX, Preprocess
from abawcli.models.hub import FAILURES, LabelledLayer, load_hub_network, split_network
from abawcli.models.image_backbones import Backbone, explain_failure
from abawcli.models.preprocessing import prepare_crops

PILLOW_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by number
assert set(PILLOW_FILTERS) < set(RESAMPLINGS)


class Logits(nn.Module):
    """A classifier of transformers that returns only its logits."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Map prepared input (B, C, S, S) to the output of the last layer (B, D)."""
        logits: Tensor = self.network(pixels).logits
        return logits


def load_hub_face(name: str) -> tuple[Backbone, LabelledLayer]:
    """Load an image classifier by `hf:NAME` or `hf:FOLDER`: its backbone and its last layer.

    Raises:
        CheckpointError: it is not an image classifier, cannot be loaded or run, or its
            preprocessing is not supported.
    """
    network, labels = load_hub_network(name, "visual")
    how = read_preprocess(name, network.config)
    backbone = Backbone(name, Logits(network), 1, how)
    layer = split_network(network, labels, backbone.run_probe, name)
    backbone.dim = layer.linear.in_features
    return backbone, layer


def read_preprocess(name: str, config: Any) -> Preprocess:
    """Return how a classifier's own image processor prepares a square image.

    Raises:
        CheckpointError: it has none, or it does more than resize, crop the centre and normalise.
    """
    from transformers import AutoImageProcessor

    location = name.removeprefix(HUB_PREFIX)
    try:
        processor = AutoImageProcessor.from_pretrained(location)
    except FAILURES as error:
        raise CheckpointError(explain_failure(location, error)) from error
    try:
        how = _convert(processor.to_dict(), config)
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{name}: its image processor is not known here: {error!r}"
        ) from error
    _check_same(processor, how, name)
    return how


def _convert(values: Mapping[str, Any], config: Any) -> Preprocess:
    """Return the preprocessing of the settings of an image processor of transformers."""
    resize, size = _find_sides(values, config)
    factor = 255 * (values.get("rescale_factor", 1 / 255) if values.get("do_rescale") else 1)
    channels = int(getattr(config, "num_channels", 3))
    mean, std = np.zeros(channels), np.ones(channels)
    if values.get("do_normalize"):
        mean, std = np.array(values["image_mean"]), np.array(values["image_std"])
    if values.get("include_top"):  # EfficientNet divides once more
        mean, std = mean, std**2
    offset = 1 if values.get("rescale_offset") else 0
    return Preprocess(
        resize=resize,
        size=size,
        mean=tuple(((mean + offset) / factor).tolist()),
        std=tuple((std / factor).tolist()),
        resample=PILLOW_FILTERS[values.get("resample", 2)],
    )


def _find_sides(values: Mapping[str, Any], config: Any) -> tuple[int, int]:
    """Return the side that a square image is resized to, and that of its cropped centre."""
    if not values.get("do_resize"):
        return config.image_size, config.image_size
    resize = _find_side(values["size"])
    share = values.get("crop_pct")
    if share:  # of ConvNeXt: small inputs are the centre of what is resized
        return (int(resize / share), resize) if resize < 384 else (resize, resize)
    size = _find_side(values["crop_size"]) if values.get("do_center_crop") else resize
    return resize, size


def _find_side(size: Any) -> int:
    if isinstance(size, int):
        return size
    return int(size.get("height") or size["shortest_edge"])


def _check_same(processor: Any, how: Preprocess, name: str) -> None:
    """Check that our preprocessing of an image equals that of the processor."""
    side = math.ceil(1.2 * how.resize)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    own = prepare_crops(resize_square(image, how.resize, how.resample)[None], how)
    try:
        given: Tensor = processor(image, return_tensors="pt")["pixel_values"]
    except FAILURES as error:
        raise CheckpointError(f"{name}: its image processor fails: {error}") from error
    if given.shape != own.shape or not torch.allclose(given, own, atol=1e-3, rtol=1e-3):
        kind = type(processor).__name__.removesuffix("Pil")
        raise CheckpointError(f"{name}: {kind} prepares images in a way that is not known here")
