"""Feature files and annotations for tests: classes that either modality tells, with noise."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.config import DualBranchHead, GatedHead, SequenceHead
from abawcli.formats.abaw import write_annotation
from abawcli.formats.features import Features, write_features
from abawcli.formats.metadata import (
    AudioBackboneMetadata,
    Backbones,
    FeaturesMetadata,
    ImageBackboneMetadata,
)

VISUAL = ImageBackboneMetadata("tiny-face", 10, "f" * 64)
AUDIO = AudioBackboneMetadata("tiny-voice", 6, "a" * 64)
BACKBONES = Backbones(VISUAL, AUDIO)

TEMPORARY = TemporaryDirectory(prefix="abaw-features-")  # removed when the process ends
SMALL_GATED = GatedHead(hidden=16)
SMALL_DUAL = DualBranchHead(16, 1, 2, 2, 0.1, window_frames=12, stride_frames=5)
SMALL_SEQUENCE = SequenceHead(16, 2, 0.1, window_frames=12, stride_frames=5)


def small_network(head: str) -> GatedHead | DualBranchHead | SequenceHead:
    """Return settings of a head that is quickly trained."""
    if head == "dual-branch":
        return SMALL_DUAL
    return SMALL_SEQUENCE if head in ("tcn", "gru") else SMALL_GATED


def make_features(
    labels: NDArray[np.int64],
    video: str = "v",
    subject: str = "main",
    seed: int = 0,
    noise: float = 0.5,
    missing: float = 0.2,
    backbones: Backbones = BACKBONES,
) -> Features:
    """Features of one frame a label; each modality is missing in that share of the frames."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(99)  # the same for all videos
    frames = len(labels)
    arrays: dict[str, Any] = {}
    for name in ("visual", "audio"):
        backbone = backbones.get(name)
        dim = backbone.dim if backbone else 0
        has = rng.random(frames) >= missing if dim else np.zeros(frames, bool)
        means = basis.normal(size=(9, dim))  # the last for -1
        values = means[labels] + noise * rng.normal(size=(frames, dim))
        arrays |= {name: (values * has[:, None]).astype(np.float16), f"has_{name}": has}
    return Features(
        frame=np.arange(1, frames + 1),
        time_s=np.arange(frames) / 25,
        box=np.full((frames, 4), np.nan, np.float32),
        face_score=np.full(frames, np.nan, np.float32),
        quality=np.full((frames, 4), np.nan, np.float32),
        metadata=FeaturesMetadata(video, subject, backbones),
        **arrays,
    )


def save_videos(
    folder: Path, names: list[str], frames: int = 80, classes: int = 8, **options: Any
) -> tuple[Path, Path]:
    """Write features and annotations of videos; return the two folders."""
    made = _make_videos(tuple(names), frames, classes, **options)
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return folder / "features", folder / "labels"


@cache
def _make_videos(names: tuple[str, ...], frames: int, classes: int, **options: Any) -> Path:
    """Return a folder with features and annotations of videos, for this process."""
    folder = Path(TEMPORARY.name) / str(_make_videos.cache_info().misses)
    for k, name in enumerate(names):
        rng = np.random.default_rng(k)
        labels = np.repeat(rng.permutation(classes), -(-frames // classes))[:frames]
        features = make_features(labels, name, seed=k, **options)
        write_features(features, folder / "features" / f"{name}.safetensors", {})
        annotation = np.where(rng.random(frames) < 0.1, -1, labels)
        write_annotation(annotation, folder / "labels" / f"{name}.txt")
    return folder


NAMES = ["a", "b", "c", "d_left", "d_right", "e", "f"]
