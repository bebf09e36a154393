"""Speed, loss and memory of the training of a head, beside those of another version.

Makes features of the published width (1024 and 1024) with annotations, and trains a head on them
with its default settings, in turn with this version and with the one in the folder of --old, a
few steps at a time, in a process each. Prints steps a second, the CPU time of a step; the share of
it that the matrix products alone would take in the machine's fastest number format; the peak
memory, and that over the size of the features; and the loss. With several seeds, of the first
weights and of the drawn numbers, figures are means.

    git worktree add ../old v0.1.0
    python benchmarks/head_training.py --old ../old [--head NAME] [--steps 200] [--block 10]
        [--frames 32768] [--threads 2] [--device auto] [--seeds 1]
        [--data DIR]

Losses are those of each quarter of the steps, and of videos that were not trained on. On a
machine with other load, use one thread: threads that wait for each other count as CPU time. On a
CUDA device, memory is that of its tensors, and the share is of wall time.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from abawcli.config import HEAD_NAMES, default_head_training
from abawcli.datasets.annotated import VideoSet, read_annotated
from abawcli.device import choose_device, explain_device
from abawcli.formats.abaw import write_annotation
from abawcli.formats.features import Features, write_features
from abawcli.formats.metadata import (
    AudioBackboneMetadata,
    Backbones,
    FeaturesMetadata,
    ImageBackboneMetadata,
)
from abawcli.training.head_task import HeadTask, make_loop

WIDTH = 1024  # of DINOv2-L, BEiT-L, Wav2Vec 2.0 large and WavLM large
VIDEOS = 16  # at least
FRAMES = 2048  # of a video, about, where there are more videos than that
HELD_OUT = 8  # one of so many videos
SIGNAL = 0.05  # of a class in each entry, over the noise of a frame: a window tells it, with errors
BACKBONES = Backbones(
    ImageBackboneMetadata("made", WIDTH, "f" * 64), AudioBackboneMetadata("made", WIDTH, "a" * 64)
)
QUARTERS = 4
COLUMNS = (
    "steps/s", "CPU s/step", "share", "memory GiB", "/ features",
    *(f"loss {k}/{QUARTERS}" for k in range(1, QUARTERS + 1)), "valid loss", "macro-F1",
)  # fmt: skip
BYTES = 2 * 2 * WIDTH  # of the features of a frame


def make_runs(rng: np.random.Generator, frames: int, most: int) -> Iterator[int]:
    """Yield lengths of runs of frames, up to `most` each, that add up to `frames`."""
    while frames > 0:
        yield (length := min(int(rng.integers(most // 4, most + 1)), frames))
        frames -= length


def make_mask(rng: np.random.Generator, frames: int, share: float) -> NDArray[np.bool_]:
    """Return where a modality is there (T,), in runs, in about that share of the frames."""
    runs = list(make_runs(rng, frames, 100))
    return np.repeat(rng.random(len(runs)) < share, runs)


def make_video(name: str, seed: int, frames: int) -> tuple[Features, NDArray[np.int64]]:
    """Return features whose mean depends on the class, and the class of every frame (T,)."""
    rng, basis = np.random.default_rng(seed), np.random.default_rng(99)
    runs = list(make_runs(rng, frames, 160))
    labels = np.repeat(rng.integers(0, 8, len(runs)), runs)
    arrays: dict[str, Any] = {}
    for modality, share in (("visual", 0.9), ("audio", 0.7)):
        has = make_mask(rng, frames, share)
        means = SIGNAL * basis.standard_normal((8, WIDTH), np.float32)
        values = means[labels] + rng.standard_normal((frames, WIDTH), np.float32)
        arrays |= {modality: (values * has[:, None]).astype(np.float16), f"has_{modality}": has}
    features = Features(
        frame=np.arange(1, frames + 1),
        time_s=np.arange(frames) / 30,
        box=np.full((frames, 4), np.nan, np.float32),
        face_score=np.full(frames, np.nan, np.float32),
        quality=np.full((frames, 4), np.nan, np.float32),
        metadata=FeaturesMetadata(name, "main", BACKBONES),
        **arrays,
    )
    return features, np.where(rng.random(frames) < 0.1, -1, labels)


def make_data(folder: Path, frames: int) -> None:
    """Write features and annotations of all videos."""
    videos = max(VIDEOS, frames // FRAMES)
    for k in range(videos):
        features, labels = make_video(f"v{k:03d}", k, frames // videos)
        write_features(features, folder / "features" / f"v{k:03d}.safetensors", {})
        write_annotation(labels, folder / "labels" / f"v{k:03d}.txt")


def count_operations(head: nn.Module, frames: int, dims: int) -> float:
    """Return the floating-point operations of the matrix products of a training step.

    Backpropagation takes twice those of the forward pass, except for the first layers, whose input
    needs no gradient. Attention is not counted: 5 % of the dual branch.
    """
    weights = [m.weight for m in head.modules() if isinstance(m, nn.Linear)]
    first = sum(w.numel() for w in weights if w.shape[1] == dims)
    return float(frames * (6 * sum(w.numel() for w in weights) - 2 * first))


def measure_rate(rows: int, device: torch.device) -> float:
    """Return the FLOP/s of the fastest matrix product: by CPU time, on CUDA by wall time."""
    best, is_cuda = 0.0, device.type == "cuda"
    clock, count = (time.perf_counter, 100) if is_cuda else (time.process_time, 1)
    for dtype in (torch.float32, torch.bfloat16):
        left = torch.randn(rows, 256, device=device).to(dtype)
        right = torch.randn(256, 1024, device=device).to(dtype)
        for _ in range(20):
            start = clock()
            for _ in range(count):
                torch.mm(left, right)
            if is_cuda:
                torch.cuda.synchronize()
            best = max(best, 2 * count * rows * 256 * 1024 / (clock() - start))
    return best


def find_peak(device: torch.device) -> int:
    """Return the peak memory in bytes: of the process, or of the tensors on a CUDA device."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")  # rusage begins with the peak of the parent
    if status.exists():
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Trainer:
    """One version's training, a few steps at a time."""

    def __init__(self, head: str, folder: Path, device: torch.device, seed: int) -> None:
        files = sorted((folder / "features").iterdir())
        data = read_annotated(
            [file for file in files if file.suffix == ".safetensors"],
            sorted((folder / "labels").iterdir()),
        )
        held = frozenset(data.names[::HELD_OUT])
        train, valid = VideoSet(data, frozenset(data.names) - held), VideoSet(data, held)
        config = replace(default_head_training(head), seed=seed)
        self.device = device
        self.task = HeadTask(head, config, train=train, valid=valid, device=device)
        self.loop = make_loop(self.task, folder / "run")
        self.loop.model.train()
        self.generator = torch.Generator().manual_seed(seed)
        self.frames = config.batch_frames
        self.batches = self._list_batches()

    def _list_batches(self) -> Iterator[Any]:
        for epoch in itertools.count():
            generator = torch.Generator().manual_seed(epoch)
            yield from self.task.samples.batches(self.frames, generator)

    def take_steps(self, count: int) -> dict[str, Any]:
        """Take steps; return their wall time, CPU time and losses."""
        wall, cpu = time.perf_counter(), time.process_time()
        losses = [
            float(self.loop.take_step(next(self.batches), self.generator)) for _ in range(count)
        ]
        times = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        return times | {"losses": losses}

    def finish(self) -> dict[str, Any]:
        """Return the scores of the videos held out, the peak memory, and the least CPU time."""
        result = self.task.validate(self.loop.result)
        assert result is not None
        frames = len(self.task.train.data.labels)
        peak = find_peak(self.device)
        operations = count_operations(self.task.network, self.frames, WIDTH)
        return {
            "valid_loss": result.loss,
            "macro_f1": result.macro_f1,
            "memory": peak / 2**30,
            "over_features": peak / (frames * BYTES),
            "least": operations / measure_rate(self.frames, self.device),
        }


def work(arguments: argparse.Namespace) -> None:
    """Do what each line of stdin says: take so many steps, or finish."""
    device = torch.device(arguments.device)
    trainer = Trainer(arguments.head, arguments.worker, device, arguments.seed)
    for line in sys.stdin:
        count = int(line)
        print(json.dumps(trainer.take_steps(count) if count else trainer.finish()), flush=True)


class Version:
    """A process that trains with the code of a folder."""

    def __init__(self, tree: Path, arguments: argparse.Namespace, data: Path, seed: int) -> None:
        command = [sys.executable, __file__, "--worker", str(data), "--head", arguments.head]
        options = {"threads": arguments.threads, "device": arguments.device, "seed": seed}
        self.process = subprocess.Popen(
            [*command, *(f"--{key}={value}" for key, value in options.items())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(tree)},
        )  # fmt: skip
        self.blocks: list[dict[str, Any]] = []

    def ask(self, count: int) -> dict[str, Any]:
        """Let it take steps, or with 0 finish, and return what it answers."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def run_block(self, count: int) -> None:
        """Take steps, and note their times and losses."""
        self.blocks.append(self.ask(count) | {"steps": count})

    def finish(self, device: str) -> NDArray[np.float64]:
        """End the process and return the figures of COLUMNS; times are medians of the blocks."""
        end = self.ask(0)
        self.process.communicate()
        cpu, wall = (
            np.median([block[kind] / block["steps"] for block in self.blocks])
            for kind in ("cpu", "wall")
        )
        share = end["least"] / (wall if device == "cuda" else cpu)
        losses = np.concatenate([block["losses"] for block in self.blocks])
        curve = [part.mean() for part in np.array_split(losses, QUARTERS)]
        sizes = end["memory"], end["over_features"]
        return np.array([1 / wall, cpu, share, *sizes, *curve, end["valid_loss"], end["macro_f1"]])


def train_versions(
    trees: dict[str, Path], arguments: argparse.Namespace, data: Path, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Train with all versions in turn, and return the figures of each."""
    versions = {name: Version(tree, arguments, data, seed) for name, tree in trees.items()}
    for version in versions.values():
        version.ask(1)  # warm-up
    for _ in range(arguments.steps // arguments.block):
        for version in versions.values():
            version.run_block(arguments.block)
    return {name: version.finish(arguments.device) for name, version in versions.items()}


def compare(arguments: argparse.Namespace, data: Path) -> None:
    """Train with all versions from each seed, and print the means."""
    trees = {"this": Path(__file__).resolve().parents[1]}
    if arguments.old:
        trees = {"old": arguments.old.resolve()} | trees
    runs = [train_versions(trees, arguments, data, seed) for seed in range(arguments.seeds)]
    print(explain_device(choose_device(arguments.device)))
    print(
        f"{arguments.head}, {arguments.threads} threads, {arguments.steps} steps each from "
        f"{arguments.seeds} seeds"
    )
    print(f"{'version':8s}" + "".join(f"{name:>12s}" for name in COLUMNS))
    for name in trees:
        figures = np.mean([run[name] for run in runs], axis=0)
        print(f"{name:8s}" + "".join(f"{value:12.3f}" for value in figures))


def main() -> None:
    """Make the data and compare the versions."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--old", type=Path, metavar="DIR")
    parser.add_argument("--head", choices=HEAD_NAMES, default="dual-branch")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--block", type=int, default=10)
    parser.add_argument("--frames", type=int, default=32768)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--data", type=Path, help="the made data are stored here, and reused")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.device = choose_device(arguments.device).type
    if arguments.worker:
        work(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or Path(folder)
        if not (data / "labels").exists():
            make_data(data, arguments.frames)
        compare(arguments, data)


if __name__ == "__main__":
    main()
