"""Speed of a large image backbone, compared with the machine's fastest matrix products.

python benchmarks/backbones.py [--device NAME] [--step extract|train] [--batch-size N] [--rounds N]

The backbone is a DINOv2 ViT-L/14 with random weights at 224 pixels. `extract` runs it through
`FeatureEncoder.encode`, as in `abaw extract`, with the preparation of crops. `train` takes steps of
Stage I with the published settings, as in `abaw train face`: augmentation, mixture of experts,
backpropagation through the blocks that are not frozen, and AdamW.

Operations are those of the backbone's matrix products, including convolution; backpropagation
counts twice a forward pass. The mixture of experts is 0.1 % of a step and is left out. The rate of
the machine is that of `torch.mm` on matrices of the same size, measured between the rounds in each
number format; shares are of the fastest format. On a CPU with other load, use the CPU time with one
thread, which does not count other processes. Memory is the peak of the process on a CPU, and that
of the tensors on a CUDA device.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from abawcli.config import EncoderTraining
from abawcli.device import choose_device, choose_precision, explain_device
from abawcli.formats.manifest import LabelledImages
from abawcli.formats.metadata import Preprocess
from abawcli.models.encoder import FeatureEncoder
from abawcli.models.image_backbones import Backbone
from abawcli.training.face_task import FaceTask
from abawcli.training.loop import TrainingLoop, start_accelerator
from abawcli.training.schedule import Schedule

FORMATS = (torch.float32, torch.bfloat16)
CLASSES = 8


@dataclass(frozen=True)
class Shape:
    """ViT-L/14 at 224 pixels."""

    width: int = 1024
    blocks: int = 24
    tokens: int = 257
    patch: int = 14

    @property
    def forward(self) -> float:
        """Return the floating-point operations of a forward pass of one image."""
        return self.blocks * self.block + self.embedding

    @property
    def block(self) -> float:
        """Return those of a block."""
        products = 24 * self.width**2 * self.tokens  # q, k, v, out; two layers of 4 * width
        return float(products + 4 * self.tokens**2 * self.width)  # and attention

    @property
    def embedding(self) -> float:
        """Return those of the patch embedding."""
        return float(2 * 3 * self.patch**2 * self.width * (self.tokens - 1))


def build_backbone(shape: Shape) -> Backbone:
    """Return the backbone with random weights."""
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
    return Backbone("dinov2-large, random", network, shape.width, how)


@dataclass(frozen=True)
class Step:
    """What is timed: the work on one batch."""

    name: str  # with its number format
    flops: float  # of one image
    run: Callable[[], object]


def make_extract_step(shape: Shape, size: int, device: torch.device) -> Step:
    """Return the encoding of a batch of crops, as `abaw extract` does it."""
    encoder = FeatureEncoder(build_backbone(shape), device)
    crops = np.random.default_rng(0).integers(0, 256, (size, 1, 256, 256, 3), np.uint8)
    return Step(f"encode in {encoder.dtype}", shape.forward, lambda: encoder.encode(crops).cpu())


def make_train_step(shape: Shape, size: int, device: torch.device) -> Step:
    """Return a training step of Stage I, as `abaw train face` does it."""
    config = replace(EncoderTraining(), batch_size=size, precision=choose_precision("auto", device))
    labels = np.arange(size) % CLASSES
    targets = np.eye(CLASSES, dtype=np.float32)[labels]
    split = LabelledImages([Path("never read")] * size, labels, targets)
    task = FaceTask(
        build_backbone(shape), {"train": split, "valid": split}, config, device,
        settings={}, data={},
    )  # fmt: skip
    loop = TrainingLoop(
        task, Path(tempfile.gettempdir()), Schedule(config.epochs), start_accelerator(device),
        clip_norm=config.clip_norm,
    )  # fmt: skip
    loop.model.train()
    images = torch.randint(256, (size, 256, 256, 3), dtype=torch.uint8)
    batch, generator = (images, torch.from_numpy(targets)), torch.Generator().manual_seed(0)
    trained = (shape.blocks - config.frozen_blocks) * shape.block
    name = f"train in {config.precision}"
    return Step(name, shape.forward + 2 * trained, lambda: loop.take_step(batch, generator))


STEPS = {"extract": make_extract_step, "train": make_train_step}


def timed(work: Callable[[], object], device: torch.device) -> NDArray[np.float64]:
    """Return the wall time and the CPU time of a call in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return np.array([time.perf_counter() - wall, time.process_time() - cpu])


def time_products(
    shape: Shape, rows: int, dtype: torch.dtype, device: torch.device
) -> NDArray[np.float64]:
    """Return the FLOP/s of `torch.mm`, by wall and by CPU time: the best of three."""
    left = torch.randn(rows, shape.width, device=device).to(dtype)
    right = torch.randn(shape.width, 4 * shape.width, device=device).to(dtype)
    torch.mm(left, right)  # warm-up
    best = np.min([timed(lambda: torch.mm(left, right), device) for _ in range(3)], axis=0)
    return np.asarray(2.0 * rows * 4 * shape.width**2 / best)


def find_peak(device: torch.device) -> float:
    """Return the peak memory in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def print_speed(step: Step, shape: Shape, size: int, device: torch.device, rounds: int) -> None:
    """Time a step, and print images a second and the share of the machine's rate."""
    timed(step.run, device)  # warm-up
    rates, images = [], []
    for _ in range(rounds):
        products = [time_products(shape, size * shape.tokens, dtype, device) for dtype in FORMATS]
        rates.append(products)
        images.append(size / timed(step.run, device))
    machine = np.median(rates, axis=0)  # (formats, 2)
    speed = np.median(images, axis=0)  # (2,)
    shares = np.median(np.array(images) * step.flops / np.max(rates, axis=1), axis=0)  # (2,)
    print(f"{step.flops / 1e9:.0f} GFLOP an image, batches of {size}")
    print(f"{'':34s}{'wall time':>12s}{'CPU time':>12s}")
    for dtype, rate in zip(FORMATS, machine / 1e9, strict=True):
        print(f"{f'torch.mm {dtype}, GFLOP/s':34s}{rate[0]:12.0f}{rate[1]:12.0f}")
    print(f"{f'{step.name}, images/s':34s}{speed[0]:12.2f}{speed[1]:12.2f}")
    print(f"{'share of the faster torch.mm':34s}{shares[0]:12.2f}{shares[1]:12.2f}")
    print(f"{'peak memory, GiB':34s}{find_peak(device):12.2f}\n", flush=True)


def main() -> None:
    """Print the speed of the chosen steps, both by default."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--step", choices=STEPS, action="append")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device, shape, size = choose_device(arguments.device), Shape(), arguments.batch_size
    print(explain_device(device))
    for name in arguments.step or STEPS:
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        print_speed(STEPS[name](shape, size, device), shape, size, device, arguments.rounds)


if __name__ == "__main__":
    main()
