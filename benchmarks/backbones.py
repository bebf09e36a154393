"""Speed of a large image backbone, compared with the machine's fastest matrix products.

python benchmarks/backbones.py [--threads N] [--batch-size N] [--rounds N]

The backbone is a DINOv2 ViT-L/14 with random weights at 224 pixels. It runs through
`FeatureEncoder.encode`, as in `abaw extract`, with the preparation of crops. Its operations are
those of its matrix products, including convolution. The rate of the machine is that of `torch.mm`
on matrices of the same size, measured between the rounds in each number format; shares are of the
fastest format. On a machine with other load, use the CPU time with one thread, which does not count
other processes.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from abawcli.formats.metadata import Preprocess
from abawcli.models.encoder import FeatureEncoder
from abawcli.models.image_backbones import Backbone

FORMATS = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Shape:
    """ViT-L/14 at 224 pixels."""

    width: int = 1024
    blocks: int = 24
    tokens: int = 257
    patch: int = 14

    @property
    def flops(self) -> float:
        """Return the floating-point operations of one image."""
        products = 24 * self.width**2 * self.tokens  # q, k, v, out; two layers of 4 * width
        attention = 4 * self.tokens**2 * self.width
        embedding = 2 * 3 * self.patch**2 * self.width * (self.tokens - 1)
        return float(self.blocks * (products + attention) + embedding)


def build_encoder(shape: Shape) -> FeatureEncoder:
    """Return the backbone with random weights, as `abaw extract` would run it here."""
    config = transformers.Dinov2Config(
        hidden_size=shape.width,
        num_hidden_layers=shape.blocks,
        num_attention_heads=16,
        image_size=224,
        patch_size=shape.patch,
    )
    torch.manual_seed(0)
    network = transformers.AutoModel.from_config(config)
    how = Preprocess(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    backbone = Backbone("dinov2-large, random", network, shape.width, how)
    return FeatureEncoder(backbone, torch.device("cpu"))


def timed(work: Callable[[], object]) -> NDArray[np.float64]:
    """Return the wall time and the CPU time of a call in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return np.array([time.perf_counter() - wall, time.process_time() - cpu])


def time_products(shape: Shape, rows: int, dtype: torch.dtype) -> NDArray[np.float64]:
    """Return the FLOP/s of `torch.mm`, by wall and by CPU time: the best of three."""
    left = torch.randn(rows, shape.width).to(dtype)
    right = torch.randn(shape.width, 4 * shape.width).to(dtype)
    best = np.min([timed(lambda: torch.mm(left, right)) for _ in range(3)], axis=0)
    return np.asarray(2.0 * rows * 4 * shape.width**2 / best)


def main() -> None:
    """Print images a second and the share of the machine's rate."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape, size = Shape(), arguments.batch_size
    encoder = build_encoder(shape)
    crops = np.random.default_rng(0).integers(0, 256, (size, 1, 256, 256, 3), np.uint8)
    encoder.encode(crops)  # warm-up
    rates, images = [], []
    for _ in range(arguments.rounds):
        rates.append([time_products(shape, size * shape.tokens, dtype) for dtype in FORMATS])
        images.append(size / timed(lambda: encoder.encode(crops)))
    machine = np.median(rates, axis=0)  # (formats, 2)
    speed = np.median(images, axis=0)  # (2,)
    shares = np.median(np.array(images) * shape.flops / np.max(rates, axis=1), axis=0)  # (2,)
    print(f"{shape.flops / 1e9:.0f} GFLOP an image, {arguments.threads} threads, batches of {size}")
    print(f"{'':34s}{'wall time':>12s}{'CPU time':>12s}")
    for dtype, rate in zip(FORMATS, machine / 1e9, strict=True):
        print(f"{f'torch.mm {dtype}, GFLOP/s':34s}{rate[0]:12.0f}{rate[1]:12.0f}")
    print(f"{f'encode in {encoder.dtype}, images/s':34s}{speed[0]:12.2f}{speed[1]:12.2f}")
    print(f"{'share of the faster torch.mm':34s}{shares[0]:12.2f}{shares[1]:12.2f}")


if __name__ == "__main__":
    main()
