"""A check that the embedded networks give the same results on every machine.

A recipe's networks process a fixed probe, in the number format of this machine and in float64. The
results of every machine are compared with float64.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abawcli.config import AUDIO_RATE_HZ, COMPACT_FACE, COMPACT_VOICE
from abawcli.models.audio_backbones import AudioBackbone, build_audio_backbone
from abawcli.models.encoder import FeatureEncoder, load_backbone
from abawcli.models.heads import load_head
from abawcli.models.image_backbones import Backbone
from abawcli.models.precision import compare_precision
from abawcli.models.preprocessing import prepare_crops
from abawcli.models.recipes import RECIPES, find_weights
from abawcli.pipeline.audio_features import AudioEncoder

CPU = torch.device("cpu")
FRAMES = 64  # of the probe
EXACT_BATCH = 8  # all at once take half as long again in float64, which torch does not cut up
FRAMES_PER_AUDIO_FRAME = 2  # of 25 a second, per audio frame of compact-voice


def measure_precision(name: str, dtype: torch.dtype) -> float:
    """Return the relative change of an embedded backbone's features by `dtype`.

    Raises:
        CheckpointError: its weights are missing or damaged.
    """
    backbone: Backbone | AudioBackbone
    if name == COMPACT_VOICE:
        backbone = build_audio_backbone(name)
    else:
        backbone = load_backbone(find_weights(name))[0]
    return compare_precision(backbone.eval(), dtype)


def measure_agreement(recipe: str, batch_sizes: Sequence[int], threads: Sequence[int]) -> float:
    """Return the largest difference of an embedded recipe's probabilities from those in float64.

    It is the maximum over the frames of the probe, batch sizes and numbers of threads.

    Raises:
        CheckpointError: its weights are missing or damaged.
    """
    crops, samples = make_probe()
    exact = compute_exact(recipe)
    head = load_head(RECIPES[recipe], CPU)[0].head
    encoder = FeatureEncoder(load_backbone(find_weights(COMPACT_FACE))[0], CPU)
    audio_encoder = AudioEncoder(build_audio_backbone(COMPACT_VOICE), CPU)
    worst = 0.0
    for size, count in itertools.product(batch_sizes, threads):
        with _use_threads(count), torch.inference_mode():
            parts = [encoder.encode(crops[k : k + size]) for k in range(0, FRAMES, size)]
            audio_frames, _ = audio_encoder.encode(samples.astype(np.float32))
            found = _read(head, torch.cat(parts), torch.from_numpy(audio_frames))
        worst = max(worst, float((found - exact).abs().max()))
    return worst


@cache
def compute_exact(recipe: str) -> Tensor:
    """Return an embedded recipe's probabilities (64, 8) of the probe in float64.

    Raises:
        CheckpointError: its weights are missing or damaged.
    """
    head = load_head(RECIPES[recipe], CPU)[0].head
    with torch.inference_mode():
        return _read(head.double(), *_compute_exact_features())


@cache
def _compute_exact_features() -> tuple[Tensor, Tensor]:
    """Return the features of the probe in float64: visual (64, Dv) and of audio frames (S, Da)."""
    crops, samples = make_probe()
    faces = load_backbone(find_weights(COMPACT_FACE))[0].eval().double()
    with torch.inference_mode():
        pixels = prepare_crops(crops[:, 0], faces.preprocess)
        visual = torch.cat([faces(part) for part in torch.split(pixels, EXACT_BATCH)])
        audio = build_audio_backbone(COMPACT_VOICE).eval().double()(torch.from_numpy(samples)[None])
    return visual.double(), audio[0].double()


def make_probe() -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return crops (64, 1, 48, 48, 3) of blobs like eyes and mouths, and audio (N,) of 2.56 s."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:48, 0:48]
    light = np.full((FRAMES, 48, 48), 140.0)
    for middle in ((16, 15), (16, 33), (34, 24)):  # y, x
        centre = middle + rng.normal(0, 2, (FRAMES, 2))
        width = rng.uniform(3, 9, (FRAMES, 2))
        far = ((y - centre[:, :1, None]) / width[:, :1, None]) ** 2
        far = far + ((x - centre[:, 1:, None]) / width[:, 1:, None]) ** 2
        light += rng.uniform(-120, 60, (FRAMES, 1, 1)) * np.exp(-far)
    crops = np.repeat(light.clip(0, 255).astype(np.uint8)[:, None, :, :, None], 3, axis=-1)
    time_s = np.arange(FRAMES * AUDIO_RATE_HZ // 25) / AUDIO_RATE_HZ
    pitch = 180 + 40 * np.sin(2 * np.pi * 1.5 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch) / AUDIO_RATE_HZ
    samples = sum(np.sin(k * phase) / k for k in range(1, 12)) * 0.1
    return crops, np.asarray(samples * (np.sin(2 * np.pi * 3 * time_s) > -0.5), np.float64)


def _read(head: nn.Module, visual: Tensor, audio: Tensor) -> Tensor:
    """Map features (T, Dv) and audio frames (S, Da) to probabilities (T, 8)."""
    audio = audio.repeat_interleave(FRAMES_PER_AUDIO_FRAME, dim=0)[: len(visual)]
    there = torch.ones(1, len(visual), dtype=torch.bool)
    logits: Tensor = head(visual[None], audio[None], there, there)
    return logits[0].softmax(dim=-1).double()


@contextmanager
def _use_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
