"""Short runs of `train face` on made images, with and without teachers."""

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tiny_models import save_image_set, save_vision_backbone

from abawcli.config import (
    COMPACT_FACE,
    CompactFaceShape,
    EncoderTraining,
    MoEHead,
    default_training,
)
from abawcli.models.training_metadata import EpochResult
from abawcli.progress import Progress, ignore_progress
from abawcli.stages.train_face import train_face_encoder

TEMPORARY = TemporaryDirectory(prefix="abaw-images-")  # removed when the process ends
SMALL_MOE = MoEHead(experts=2, router_hidden=16, blocks=1)
FAST = replace(EncoderTraining(), epochs=3, batch_size=8, frozen_blocks=1, moe=SMALL_MOE)
SMALL = CompactFaceShape(4, (8, 8), (1, 1))  # features still have 256 entries
STUDENT = replace(
    default_training(COMPACT_FACE), epochs=1, batch_size=12, shape=SMALL, moe=None,
    precision="float32",
)  # fmt: skip


def save_images(folder: Path) -> Path:
    """Write an image set, and a tiny transformer in its `vit`."""
    return Path(shutil.copytree(_make_images(), folder))


@cache
def _make_images() -> Path:
    folder = Path(TEMPORARY.name)
    save_image_set(folder)
    save_vision_backbone(folder / "vit", "vit")
    return folder


def run(
    images: Path, out: Path, config: EncoderTraining = FAST, backbone: str = ""
) -> list[EpochResult]:
    """Train a tiny transformer, or another backbone, on the images."""
    name = backbone or str(images / "vit")
    return train_face_encoder(
        images, images / "manifest.csv", out, name, config=config, device="cpu"
    )


def teach(
    images: Path,
    out: Path,
    teachers: list[Path],
    config: EncoderTraining = STUDENT,
    progress: Progress = ignore_progress,
) -> list[EpochResult]:
    return train_face_encoder(
        images,
        images / "manifest.csv",
        out,
        COMPACT_FACE,
        config=config,
        device="cpu",
        progress=progress,
        teachers=teachers,
    )


def spy(calls: list[Any], function: Any) -> Any:
    """Return the function, which notes its arguments."""

    def noting(*args: Any) -> Any:
        calls.append(args)
        return function(*args)

    return noting
