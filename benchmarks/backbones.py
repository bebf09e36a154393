"""Speed of large backbones, compared with the machine's fastest matrix products.

python benchmarks/backbones.py [--backbone NAME ...] [--step NAME ...] [--device NAME] [--blocks N]
                               [--batch-size N] [--seconds S] [--rounds N] [--threads N]

    python benchmarks/backbones.py --device cuda    # full size, under a minute on a large GPU

Backbones have the published shapes and random weights: dinov2 (ViT-L/14) and beit (BEiT-L/16) at
224 pixels, wav2vec2 and wavlm (large). `--blocks` makes them shallower. `extract` runs them as in
`abaw extract`: images with the preparation of crops, audio in a chunk of `--seconds`. `train` takes
steps of Stage I with the published settings, as in `abaw train face`: augmentation, mixture of
experts, backpropagation through the blocks that are not frozen, and AdamW.

torch counts the operations of all matrix products and convolutions of a step, forwards and
backwards. The rate of the machine is that of `torch.mm` on matrices like a block's, between the
rounds, in each number format; shares are of the fastest format. Other work on a CPU falls on both.
The column "share, CPU" is by CPU time, without that of other processes: use it with one thread.

On a CPU each row is measured in a process of its own, and memory is its peak. On a CUDA device
memory is the peak of the tensors, and the share by CPU time is left out.
"""

import argparse
import gc
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from abawcli.config import AUDIO_RATE_HZ, AudioFeatures, EncoderTraining
from abawcli.device import choose_device, choose_precision, explain_device
from abawcli.formats.manifest import LabelledImages
from abawcli.formats.metadata import Preprocess
from abawcli.models.audio_backbones import TransformerBackbone
from abawcli.models.encoder import FeatureEncoder
from abawcli.models.image_backbones import Backbone
from abawcli.pipeline.audio_features import AudioEncoder
from abawcli.training.face_task import FaceTask
from abawcli.training.loop import TrainingLoop, start_accelerator
from abawcli.training.schedule import Schedule

Size = tuple[int, ...]
FORMATS = (torch.float32, torch.bfloat16)
CLASSES = 8
WIDTH, HEADS = 1024, 16  # of all these backbones
ROWS = 4096  # of the matrices that the machine's rate is measured with
PRODUCTS = {"cpu": 1, "cuda": 200}  # timed together: a launch takes as long as one on a GPU
BATCH_SIZES = {"cpu": 8, "cuda": EncoderTraining().batch_size}
ROUNDS = {"cpu": 3, "cuda": 10}
LARGE = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": 4 * WIDTH}
# wav2vec2-large-960h-lv60-self and wavlm-large
AUDIO = LARGE | {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
IMAGE_CONFIGS: dict[str, Callable[[int], transformers.PreTrainedConfig]] = {
    "dinov2": lambda blocks: transformers.Dinov2Config(
        hidden_size=WIDTH, num_attention_heads=HEADS, num_hidden_layers=blocks, image_size=224
    ),
    "beit": lambda blocks: transformers.BeitConfig(
        **LARGE, num_hidden_layers=blocks, use_relative_position_bias=True
    ),
}
AUDIO_CONFIGS: dict[str, Callable[[int], transformers.PreTrainedConfig]] = {
    "wav2vec2": lambda blocks: transformers.Wav2Vec2Config(**AUDIO, num_hidden_layers=blocks),
    "wavlm": lambda blocks: transformers.WavLMConfig(
        **AUDIO, num_hidden_layers=blocks, num_buckets=320
    ),
}
STEPS = ("extract", "train")


def count_attention(query: Size, key: Size, value: Size, *_: object, **__: object) -> int:
    """Return the operations of attention, which torch does not count on a CPU."""
    return int(sdpa_flop_count(query, key, value))


def count_backward(_: Size, query: Size, key: Size, value: Size, *__: object, **___: object) -> int:
    """Return those of its backpropagation."""
    return 2 * count_attention(query, key, value)


UNCOUNTED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: count_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: count_backward,
}


@dataclass(frozen=True)
class Settings:
    """What a row measures."""

    backbone: str
    step: str
    device: str
    threads: int
    blocks: int
    batch_size: int
    seconds: float
    rounds: int


@dataclass(frozen=True)
class Step:
    """The timed work: on one batch of images, or a chunk of audio."""

    dtype: str
    amount: float  # images, or seconds of audio
    run: Callable[[], object]


def make_images(name: str, blocks: int) -> Backbone:
    """Return an image backbone with random weights."""
    network = transformers.AutoModel.from_config(IMAGE_CONFIGS[name](blocks))
    how = Preprocess(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return Backbone(name, network, WIDTH, how)


def make_extract_step(settings: Settings, device: torch.device) -> Step:
    """Return the encoding of a batch of crops, or of a chunk of audio, as in `abaw extract`."""
    generator = np.random.default_rng(0)
    if settings.backbone in IMAGE_CONFIGS:
        size = settings.batch_size
        encoder = FeatureEncoder(make_images(settings.backbone, settings.blocks), device)
        crops = generator.integers(0, 256, (size, 1, 256, 256, 3), np.uint8)
        return Step(str(encoder.dtype), size, lambda: encoder.encode(crops).cpu())
    network = transformers.AutoModel.from_config(AUDIO_CONFIGS[settings.backbone](settings.blocks))
    for module in network.modules():  # of weight norm, which the counter cannot run
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    layers = f"last{min(4, settings.blocks)}"
    audio = AudioEncoder(TransformerBackbone(settings.backbone, network, True, layers), device)
    count = round(settings.seconds * AUDIO_RATE_HZ)
    samples = (0.1 * generator.standard_normal(count)).astype(np.float32)
    return Step(str(audio.dtype), settings.seconds, lambda: audio.encode(samples))


def make_train_step(settings: Settings, device: torch.device) -> Step:
    """Return a training step of Stage I, as in `abaw train face`."""
    size, blocks = settings.batch_size, settings.blocks
    published = EncoderTraining()
    config = replace(
        published, batch_size=size, precision=choose_precision("auto", device),
        frozen_blocks=published.frozen_blocks * blocks // 24,  # the same share
    )  # fmt: skip
    labels = np.arange(size) % CLASSES
    targets = np.eye(CLASSES, dtype=np.float32)[labels]
    split = LabelledImages([Path("never read")] * size, labels, targets)
    task = FaceTask(
        make_images(settings.backbone, blocks), {"train": split, "valid": split}, config, device,
        settings={}, data={},
    )  # fmt: skip
    loop = TrainingLoop(
        task, Path(tempfile.gettempdir()), Schedule(config.epochs), start_accelerator(device),
        clip_norm=config.clip_norm,
    )  # fmt: skip
    loop.model.train()
    images = torch.randint(256, (size, 256, 256, 3), dtype=torch.uint8)
    batch, generator = (images, torch.from_numpy(targets)), torch.Generator().manual_seed(0)
    return Step(config.precision, size, lambda: loop.take_step(batch, generator))


def timed(work: Callable[[], object], device: torch.device) -> NDArray[np.float64]:
    """Return the wall time and the CPU time of a call in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return np.array([time.perf_counter() - wall, time.process_time() - cpu])


def time_products(dtype: torch.dtype, device: torch.device) -> NDArray[np.float64]:
    """Return the FLOP/s of `torch.mm`, by wall and by CPU time: the best of three."""
    left = torch.randn(ROWS, WIDTH, device=device).to(dtype)
    right = torch.randn(WIDTH, 4 * WIDTH, device=device).to(dtype)
    count = PRODUCTS[device.type]

    def multiply() -> None:
        for _ in range(count):
            torch.mm(left, right)

    timed(multiply, device)  # warm-up
    best = np.min([timed(multiply, device) for _ in range(3)], axis=0)
    return np.asarray(2.0 * count * ROWS * 4 * WIDTH**2 / best)


def find_peak(device: torch.device) -> float:
    """Return the peak memory in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    status = Path("/proc/self/status")  # rusage begins with the peak of the parent
    if status.exists():
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def measure(settings: Settings) -> str:
    """Return a row of the table."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    device = choose_device(settings.device)
    if device.type == "cuda":
        gc.collect()  # the row before
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    step = {"extract": make_extract_step, "train": make_train_step}[settings.step](settings, device)
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        step.run()
    timed(step.run, device)  # warm-up
    flops = counter.get_total_flops()
    machine, times = [], []
    for _ in range(settings.rounds):
        machine.append(np.max([time_products(dtype, device) for dtype in FORMATS], axis=0))
        times.append(timed(step.run, device))
    rates = step.amount / np.median(times, axis=0)
    shares = np.median(flops / np.array(times) / np.array(machine), axis=0)
    mm = np.median(machine, axis=0) / 1e9
    is_image = settings.backbone in IMAGE_CONFIGS
    share_cpu = f"{shares[1]:.2f}" if device.type == "cpu" else "-"
    return (
        f"| {settings.backbone} | {settings.step} | {step.dtype.removeprefix('torch.')} "
        f"| {flops / step.amount / 1e9:.0f} | {rates[0]:.2f} {'images' if is_image else 's'} "
        f"| {mm[0]:.0f} | {shares[0]:.2f} | {share_cpu} | {find_peak(device):.1f} |"
    )


def list_rows(arguments: argparse.Namespace) -> list[Settings]:
    """Return the rows of the table: audio backbones are not trained."""
    return [
        Settings(
            name, step, arguments.device, arguments.threads, arguments.blocks,
            arguments.batch_size, arguments.seconds, arguments.rounds,
        )
        for name in arguments.backbone or [*IMAGE_CONFIGS, *AUDIO_CONFIGS]
        for step in arguments.step or STEPS
        if step == "extract" or name in IMAGE_CONFIGS
    ]  # fmt: skip


def main() -> None:
    """Print a table: a row a backbone and step."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", choices=[*IMAGE_CONFIGS, *AUDIO_CONFIGS], action="append")
    parser.add_argument("--step", choices=STEPS, action="append")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--seconds", type=float, default=AudioFeatures.chunk_s)
    parser.add_argument("--rounds", type=int)
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    arguments.batch_size = arguments.batch_size or BATCH_SIZES[device.type]
    arguments.rounds = arguments.rounds or ROUNDS[device.type]
    print(explain_device(device))
    print(
        f"batches of {arguments.batch_size} images, {arguments.seconds:g} s of audio, "
        f"{arguments.blocks} blocks\n"
    )
    print(
        "| backbone | step | format | GFLOP an image or s | a second | torch.mm GFLOP/s "
        "| share of it | share, CPU | peak GiB |\n|---|---|---|---|---|---|---|---|---|"
    )
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        apply = map if device.type == "cuda" else pool.map
        for row in apply(measure, list_rows(arguments)):
            print(row, flush=True)


if __name__ == "__main__":
    main()
