"""What an image backbone is, the one way its input is prepared, and how one is loaded."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abawcli.errors import CheckpointError
from abawcli.models.compact import CompactFace


@dataclass(frozen=True)
class Preprocess:
    """How a face crop becomes a backbone's input; a property of the weights.

    `resize` is the side to which the crop is brought, `size` the side of the centre that is
    kept, both in pixels; `mean` and `std` are of values in 0..1; one of them: grey input.
    """

    resize: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_scales: tuple[float, ...] = (1.0,)  # side of the crop / larger side of the face box

    @property
    def channels(self) -> int:
        """Return 1 for grey input, 3 for RGB."""
        return len(self.mean)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocess":
        """Rebuild from JSON, where tuples are lists."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads."""
        return asdict(self)

    def to_unit(self, crops: NDArray[np.uint8] | Tensor) -> Tensor:
        """Turn RGB crops (B, S, S, 3) uint8 into (B, C, S, S) float in 0..1.

        Grey is the luma of ITU-R BT.601, as in most image libraries.
        """
        pixels = torch.as_tensor(crops).permute(0, 3, 1, 2).float() / 255  # (B, 3, S, S)
        if self.channels == 1:
            pixels = (pixels * pixels.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(
                dim=1, keepdim=True
            )  # (B, 1, S, S)
        return pixels

    def normalise(self, pixels: Tensor) -> Tensor:
        """Normalise (B, C, H, W) in 0..1 with the backbone's mean and deviation."""
        mean = pixels.new_tensor(self.mean).view(1, -1, 1, 1)
        std = pixels.new_tensor(self.std).view(1, -1, 1, 1)
        return (pixels - mean) / std

    def centre(self, pixels: Tensor) -> Tensor:
        """Cut the centre (B, C, size, size) out of (B, C, resize, resize)."""
        edge = (pixels.shape[-1] - self.size) // 2
        return pixels[..., edge : edge + self.size, edge : edge + self.size]

    def prepare(self, crops: NDArray[np.uint8] | Tensor) -> Tensor:
        """Turn crops (B, resize, resize, 3) uint8 RGB into the input (B, C, size, size)."""
        return self.normalise(self.to_unit(self.centre_uint8(torch.as_tensor(crops))))

    def centre_uint8(self, crops: Tensor) -> Tensor:
        """Cut the centre out of crops (B, resize, resize, 3) before any arithmetic."""
        edge = (crops.shape[1] - self.size) // 2
        return crops[:, edge : edge + self.size, edge : edge + self.size]


class Backbone(nn.Module):
    """An image network with its name, preprocessing, width and depth groups."""

    def __init__(self, name: str, network: nn.Module, dim: int, preprocess: Preprocess) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.dim = dim
        self.preprocess = preprocess

    def forward(self, pixels: Tensor) -> Tensor:
        """Map prepared input (B, C, S, S) to features (B, dim).

        A transformer's feature is its class token after the last norm (arXiv 2603.12221).
        """
        out = self.network(pixels)
        if isinstance(out, Tensor):
            return out
        features: Tensor = out.last_hidden_state[:, 0]
        return features

    def depth_groups(self) -> list[list[nn.Parameter]]:
        """Return the parameters by depth: the embedding, each block, what follows the blocks.

        Layer-wise decay and freezing are defined on these.
        """
        lists = [m for m in self.network.modules() if isinstance(m, nn.ModuleList)]
        blocks = max(lists, key=len)
        inside = {id(p) for p in blocks.parameters()}
        before: list[nn.Parameter] = []
        after: list[nn.Parameter] = []
        seen_blocks = False
        for parameter in self.network.parameters():
            if id(parameter) in inside:
                seen_blocks = True
            else:
                (after if seen_blocks else before).append(parameter)
        return [before, *(list(block.parameters()) for block in blocks), after]


# Mean and deviation of FER2013's training images; 48 pixels is what they have.
COMPACT_FACE_PREPROCESS = Preprocess(resize=48, size=48, mean=(0.508,), std=(0.255,))


def build_compact_face() -> Backbone:
    """Return our own small network with random weights."""
    # Stem before blocks before projection: `depth_groups` reads this order.
    return Backbone("compact-face", CompactFace(), CompactFace.dim, COMPACT_FACE_PREPROCESS)


BACKBONES: dict[str, Callable[[], Backbone]] = {"compact-face": build_compact_face}


def _read_processor(folder: Path) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    values: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return values


def load_hub_backbone(name: str, pretrained: bool = True) -> Backbone:
    """Load a DINOv2, BEiT or ViT of transformers by hub name or folder.

    Raises:
        CheckpointError: the model is neither on disk nor reachable, or is no image model.
    """
    from transformers import AutoConfig, AutoModel
    from transformers.utils import cached_file

    try:
        config = AutoConfig.from_pretrained(name)
        network = AutoModel.from_pretrained(name) if pretrained else AutoModel.from_config(config)
        found = cached_file(
            name, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot load the backbone {name!r}: {str(error).splitlines()[0]} "
            f"Download it on a machine with internet: `hf download {name} --local-dir DIR`, "
            "and give the folder as the backbone."
        ) from error
    processor = _read_processor(Path(found).parent) if found else {}
    size = getattr(config, "image_size", 224)
    crop = processor.get("crop_size", {})
    side = int(crop.get("height", 224 if size > 224 else size)) if isinstance(crop, dict) else crop
    preprocess = Preprocess(
        resize=round(side * 256 / 224),
        size=side,
        mean=tuple(processor.get("image_mean", (0.485, 0.456, 0.406))),
        std=tuple(processor.get("image_std", (0.229, 0.224, 0.225))),
        crop_scales=(0.9, 1.2, 1.5),
    )
    return Backbone(name, network, int(config.hidden_size), preprocess)


def build_backbone(name: str, pretrained: bool = True) -> Backbone:
    """Return a backbone by our own name, or by the hub name or folder of a pretrained one."""
    if name in BACKBONES:
        return BACKBONES[name]()
    return load_hub_backbone(name, pretrained)
