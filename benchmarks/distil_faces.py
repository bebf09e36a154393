"""Train compact-face by knowledge distillation, in three waves of parallel runs.

1. Teachers: larger compact-face networks of several shapes, on all training images.
2. The student, compact-face in its shipped shape, on their averaged outputs and the votes.
3. Fold encoders: fold k is trained without fold k of the training images, on the outputs and the
   features of the student. A head is trained on features of images that their encoder did not see,
   and is used with the student. Beside them, the student's network without teachers, and without
   the augmentation for video (ablation).

Each run measures the time of its steps first, and takes as many epochs as its wave has time for.
The weights after the last epoch are kept, so that nothing is chosen on the validation images.

    python benchmarks/distil_faces.py --images DIR --manifest FILE --out DIR
        [--other DIR --other-manifest FILE] [--seconds 150 140 95] [--epochs 12 120]

Writes OUT/<run>/final.safetensors and OUT/logits.npz, prints accuracy and macro-F1. It needs a GPU:
two CPU cores take days.
"""

import argparse
import functools
import multiprocessing
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from encoder import read_crops
from numpy.typing import NDArray

from abawcli.config import (
    COMPACT_FACE,
    CompactFaceShape,
    Distillation,
    EncoderTraining,
    ImageAugmentation,
    default_training,
)
from abawcli.device import choose_device
from abawcli.faces.crop import read_image
from abawcli.formats.manifest import read_manifest
from abawcli.labels import index_of
from abawcli.metrics import score_labels
from abawcli.models.checkpoint import load_checkpoint, save_checkpoint
from abawcli.models.encoder import load_encoder
from abawcli.models.metadata import FaceEncoderMetadata
from abawcli.models.training_metadata import TrainingState
from abawcli.stages.train_face import train_face_encoder
from abawcli.training import image_data

FOLDS = 3
BATCH = 512  # images of an evaluation batch
GRACE_S = 20.0  # after a wave's time, for a last epoch
MARGIN = 0.85  # of a wave's time that is planned; validation and saving take the rest
TRIAL_STEPS = (32, 96)  # steps between which time is measured: the first ones choose algorithms
PLAIN = ImageAugmentation(rotate_degrees=10.0, jitter_p=0.3, blur_p=0.05, padaug_p=0.2, erase_p=0.1)
# Large batches keep a GPU busy. The MoE head costs time and does not help a small network.
BASE = replace(
    default_training(COMPACT_FACE),
    batch_size=256, backbone_lr=3e-3, head_lr=3e-3, mixup_alpha=0.2, moe=None,
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One training run."""

    name: str
    config: EncoderTraining
    teachers: tuple[str, ...] = ()
    fold: int | None = None  # of the training images that is left out


@dataclass(frozen=True)
class Job:
    """What all runs share."""

    images: Path
    manifest: Path
    out: Path
    device: str
    epochs: tuple[int, int]  # smallest and largest number

    def find_encoder(self, run: str) -> Path:
        """Return the file of a run's final weights."""
        return self.out / run / "final.safetensors"


def list_waves() -> list[list[Run]]:
    """Return the runs of each wave."""
    shapes = (
        CompactFaceShape(32, (96, 192, 384), (2, 2, 2)),
        CompactFaceShape(24, (64, 128, 256, 512), (2, 2, 2, 2)),
        CompactFaceShape(32, (128, 256, 384), (2, 2, 2)),
        CompactFaceShape(24, (96, 192, 384), (2, 3, 3)),
    )
    teachers = [
        Run(f"teacher{k}", replace(BASE, shape=shape, seed=k + 1)) for k, shape in enumerate(shapes)
    ]
    names = tuple(run.name for run in teachers)
    student = replace(BASE, distillation=Distillation(2.0, 0.7), mixup_alpha=0.4)
    copy = replace(student, distillation=Distillation(2.0, 0.8, feature_weight=2.0))
    folds = [Run(f"fold{k}", replace(copy, seed=20 + k), ("student",), k) for k in range(FOLDS)]
    ablation = [
        Run("no-teachers", BASE),
        Run("no-teachers-plain", replace(BASE, augmentation=PLAIN)),
    ]
    return [teachers, [Run("student", student, names)], folds + ablation]


def write_fold_manifests(job: Job) -> None:
    """Write OUT/folds.csv, and for each fold a manifest without its training images.

    The fold of an image depends on its pixels, so that copies are in one fold.
    """
    table = pd.read_csv(job.manifest, dtype=str, keep_default_na=False)
    train = (table["split"].str.lower() == "train").to_numpy()
    folds = []
    for name in table["file"]:
        image = read_image(job.images / name)
        folds.append(-1 if image is None else zlib.crc32(image[..., 0].tobytes()) % FOLDS)
    job.out.mkdir(parents=True, exist_ok=True)
    rows = table[train].assign(fold=np.array(folds)[train])
    rows[["file", "fold"]].to_csv(job.out / "folds.csv", index=False)
    for k in range(FOLDS):
        kept = table[~train | (np.array(folds) != k)]
        kept.to_csv(job.out / f"without-fold{k}.csv", index=False)


class Enough(Exception):
    """The time of a step is known."""


def train(run: Run, job: Job, config: EncoderTraining, out: Path, progress: Any) -> None:
    """Train a run, or resume it."""
    manifest = job.manifest if run.fold is None else job.out / f"without-fold{run.fold}.csv"
    teachers = [job.find_encoder(name) for name in run.teachers]
    train_face_encoder(
        job.images, manifest, out, COMPACT_FACE, config=config,
        device=job.device, overwrite=True, progress=progress, teachers=teachers,
    )  # fmt: skip


def time_epoch(run: Run, job: Job) -> float:
    """Return the seconds of an epoch's steps, at the load of this moment."""
    times: dict[int, float] = {}  # by the number of steps done in all epochs

    def note(done: int, total: int, what: str) -> None:
        past = int(what.split()[1].split("/")[0]) - 1  # epochs
        times[past * total + done] = time.monotonic()
        first, last = min(TRIAL_STEPS[0], total), min(TRIAL_STEPS[1], 2 * total)
        steps = [step for step in times if first <= step]
        if steps[-1:] and steps[-1] >= last:
            raise Enough((times[steps[-1]] - times[steps[0]]) / (steps[-1] - steps[0]) * total)

    try:
        train(run, job, run.config, job.out / run.name / "trial", note)
    except Enough as enough:
        return float(enough.args[0])
    raise RuntimeError("no step was made")


def keep_last(folder: Path) -> None:
    """Write the EMA of the last epoch of a run as `final.safetensors`."""
    state, _ = load_checkpoint(folder / "last.safetensors", TrainingState)
    best, metadata = load_checkpoint(folder / "encoder.safetensors", FaceEncoderMetadata)
    tensors = {k: state[f"model.ema.module.{k}"].to(v.dtype) for k, v in best.items()}
    training = metadata.training
    if training:
        history = load_checkpoint(folder / "last.safetensors", TrainingState)[1].history
        metadata = replace(metadata, training=replace(training, result=history[-1]))
    save_checkpoint(folder / "final.safetensors", tensors, metadata)


def work(run: Run, job: Job, deadline: float) -> None:
    """Train a run in its own process, as long as the deadline allows."""
    torch.set_num_threads(2)
    torch.backends.cudnn.benchmark = True
    # The trial and the run read the same files.
    image_data.read_image = functools.lru_cache(maxsize=None)(image_data.read_image)
    began = time.monotonic()
    epoch_s = time_epoch(run, job)
    left = deadline - time.monotonic()
    lowest, highest = job.epochs
    epochs = int(min(max(MARGIN * left / epoch_s, lowest), highest))
    print(f"{run.name}: {epoch_s:.2f} s an epoch, {epochs} epochs", flush=True)
    seen = [0]

    def say(done: int, total: int, what: str) -> None:
        epoch = int(what.split()[1].split("/")[0])
        if done == total and epoch % 10 == 0 and epoch > seen[0]:
            seen[0] = epoch
            print(f"{run.name} {time.monotonic() - began:.0f} s: {what}", flush=True)

    folder = job.out / run.name
    train(run, job, replace(run.config, epochs=epochs), folder, say)
    keep_last(folder)
    print(f"{run.name}: done after {time.monotonic() - began:.0f} s", flush=True)


def run_wave(runs: Sequence[Run], job: Job, seconds: float, meanwhile: Callable[[], None]) -> None:
    """Train runs in parallel, and do something meanwhile; a finished run is left as it is."""
    context = multiprocessing.get_context("spawn")
    deadline = time.monotonic() + seconds
    ready = []
    for run in runs:
        found = tuple(name for name in run.teachers if job.find_encoder(name).exists())
        if run.teachers and not found:
            print(f"{run.name}: left out, its teachers are missing", flush=True)
        elif not job.find_encoder(run.name).exists():
            ready.append(replace(run, teachers=found))
    workers = [context.Process(target=work, args=(run, job, deadline)) for run in ready]
    for worker in workers:
        worker.start()
    meanwhile()
    for run, worker in zip(ready, workers, strict=True):
        worker.join(max(deadline + GRACE_S - time.monotonic(), 0.1))
        if worker.is_alive():
            worker.terminate()
            worker.join()
            print(f"{run.name}: stopped, out of time", flush=True)
            state = job.out / run.name / "last.safetensors"
            if state.exists() and not job.find_encoder(run.name).exists():
                keep_last(job.out / run.name)


@dataclass(frozen=True)
class Faces:
    """Images with labels to evaluate on."""

    crops: NDArray[np.uint8]  # (N, 1, S, S, 3)
    labels: NDArray[np.int64]  # (N,) -1: none


def read_faces(options: argparse.Namespace, side: int) -> dict[str, Faces]:
    """Return the images of both splits, and of another collection if there is one."""
    splits = read_manifest(options.manifest, options.images)
    found = {k: Faces(read_crops(v.files, side), v.labels) for k, v in splits.items()}
    if options.other:
        table = pd.read_csv(options.other_manifest)
        files = [options.other / name for name in table["file"]]
        labels = np.array([index_of(name) for name in table["label"]])
        found["other"] = Faces(read_crops(files, side), labels)
    return found


@torch.inference_mode()
def encode(path: Path, faces: Faces, device: str) -> tuple[NDArray[np.float32], ...]:
    """Return logits (N, 8) and features (N, D)."""
    encoder, _ = load_encoder(path, choose_device(device))
    features = [
        encoder.encode(faces.crops[k : k + BATCH]) for k in range(0, len(faces.crops), BATCH)
    ]
    logits = [encoder.classifier(part).cpu() for part in features]
    return torch.cat(logits).numpy(), torch.cat(features).cpu().numpy()


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return torch.from_numpy(logits).float().softmax(dim=1).numpy()


class Evaluation:
    """Logits and features of all runs on all images."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.faces: dict[str, Faces] = {}
        self.logits: dict[tuple[str, str], NDArray[np.float32]] = {}  # by run and images
        self.features: dict[tuple[str, str], NDArray[np.float32]] = {}

    def update(self, waves: list[list[Run]], job: Job) -> None:
        """Take in the encoders that are new; print and write."""
        self.faces = self.faces or read_faces(self.options, 48)
        known = {name for name, _ in self.logits}
        new = [run for wave in waves for run in wave if job.find_encoder(run.name).exists()]
        for run in (run for run in new if run.name not in known):
            for key, group in self.faces.items():
                found = encode(job.find_encoder(run.name), group, job.device)
                self.logits[run.name, key], self.features[run.name, key] = found
        if {run.name for run in new} - known:
            self.show()
            self.write(job.out / "logits.npz")

    def show(self) -> None:
        """Print the scores of encoders and of the teachers' mean."""
        p = {key: softmax(value) for key, value in self.logits.items()}
        for key in self.faces:
            parts = [v for (name, k), v in p.items() if k == key and name.startswith("teacher")]
            if parts:
                p["teachers, mean", key] = np.mean(parts, axis=0, dtype=np.float32)
        print(f"{'run':20s}" + "".join(f"{k + ' acc.':>12s}{'macro-F1':>10s}" for k in self.faces))
        for name in dict.fromkeys(name for name, _ in p):
            cells = ""
            for key, group in self.faces.items():
                score = score_labels(group.labels, p[name, key].argmax(axis=1))
                cells += f"{score.accuracy:12.4f}{score.macro_f1:10.4f}"
            print(f"{name:20s}{cells}", flush=True)
        for name, key in self.features:
            if name.startswith("fold") and key == "valid":
                ours, its = self.features["student", key], self.features[name, key]
                explained = 1 - ((ours - its) ** 2).mean() / ours.var(axis=0).mean()
                print(f"{name}: explained variance of the student's features {explained:.3f}")

    def write(self, path: Path) -> None:
        """Write the logits in half precision, by names such as student_valid."""
        halves = {"_".join(key): value.astype(np.float16) for key, value in self.logits.items()}
        np.savez_compressed(path, allow_pickle=False, **halves)


def main() -> None:
    """Run the waves and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--other-manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, nargs=3, default=(150, 140, 95))
    parser.add_argument("--epochs", type=int, nargs=2, default=(12, 120))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    epochs = (options.epochs[0], options.epochs[1])
    job = Job(options.images, options.manifest, options.out, options.device, epochs)
    began = time.monotonic()
    write_fold_manifests(job)
    waves = list_waves()
    evaluation = Evaluation(options)
    for runs, seconds in zip(waves, options.seconds, strict=True):
        run_wave(runs, job, seconds, lambda: evaluation.update(waves, job))
        print(f"wave done after {time.monotonic() - began:.0f} s", flush=True)
    evaluation.update(waves, job)
    print(f"after {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
