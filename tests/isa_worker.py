"""Runs test_reproducibility.py's computations under limits of oneDNN's instruction sets.

python isa_worker.py FOLDER CLIP BACKBONE LIMIT...: FOLDER/LIMIT.npz has the probabilities of a clip
by batch size and threads, the differences of networks in a reduced number format, and the
instruction set that oneDNN reports. Imports are the same for all limits; oneDNN reads its limit
when it is first used, which is in a fork for each limit.
"""

import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Wav2Vec2Model  # noqa: F401  once here, and not in each fork

from abawcli.config import Prediction
from abawcli.formats.metadata import Preprocess
from abawcli.models import precision
from abawcli.models.audio_backbones import build_audio_backbone
from abawcli.models.image_backbones import Backbone
from abawcli.pipeline import reproducibility
from abawcli.pipeline.reproducibility import measure_agreement, measure_precision
from abawcli.stages.predict import Predictor

SETTINGS = ((1, 1), (64, 2))  # batch size, threads


def predict(clip: str) -> dict[str, np.ndarray]:
    """Return the probabilities (T, 8) of a clip by settings."""
    predictor, tables = Predictor(device="cpu"), {}
    for batch, threads in SETTINGS:
        torch.set_num_threads(threads)
        predictor.extractor.config = Prediction(batch)
        table = predictor.predict_video(Path(clip))
        tables[f"{batch},{threads}"] = table.filter(regex="^p_").to_numpy()
    torch.set_num_threads(1)
    return tables


def check_formats(backbone: str) -> dict[str, float]:
    """Return the changes of features by bfloat16, as it is used after the check at load."""
    precision.inference_dtype = lambda device, small=False: torch.bfloat16  # type: ignore[attr-defined]
    torch.manual_seed(0)
    # Eight channels and a kernel of eight: what AMX computes wrong in torch 2.13.
    convolution = torch.nn.Conv2d(8, 8, (1, 8))
    mean = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 1), convolution, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    doubtful = Backbone("doubtful", mean.eval(), 8, Preprocess(32, 32, (0.5,), (0.5,)))
    audio = build_audio_backbone(backbone).eval()
    with torch.inference_mode():
        before = doubtful.run_probe(), audio.run_probe()
    for network in (doubtful, audio):
        precision.cast_if_accurate(network, torch.device("cpu"))
    with torch.inference_mode():
        after = doubtful.run_probe(), audio.run_probe()
    return {
        "doubtful": precision.measure_difference(after[0], before[0]),
        "audio": precision.measure_difference(after[1], before[1]),
        "face": measure_precision("compact-face", torch.bfloat16),
        "voice": measure_precision("compact-voice", torch.bfloat16),
    }


def compute(folder: Path, clip: str, backbone: str, limit: str) -> None:
    """Write FOLDER/LIMIT.npz; stdout goes to FOLDER/LIMIT.log, where oneDNN says what it uses."""
    os.environ |= {"ONEDNN_MAX_CPU_ISA": limit, "ONEDNN_VERBOSE": "1"}
    log = folder / f"{limit}.log"
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), sys.stdout.fileno())
    found: dict[str, Any] = predict(clip)
    found["numbers"] = measure_agreement("compact", (16,), (1,))
    found |= check_formats(backbone)  # from here on, in bfloat16 everywhere
    isa = re.search("cpu,isa:(.*)", log.read_text())
    np.savez(folder / f"{limit}.npz", isa=isa[1] if isa else "", **found)


def run_in_fork(work: Callable[[], object], name: str) -> None:
    """Run in a process of its own what sets oneDNN's limit for good."""
    if (child := os.fork()) == 0:
        work()
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(f"{name}: status {status}")


if __name__ == "__main__":
    where, video, saved, *limits = sys.argv[1:]
    # In float64, which knows no limit: computed once, by whoever starts this.
    exact = torch.from_numpy(np.load(Path(where) / "exact.npy"))
    reproducibility.compute_exact = lambda recipe: exact  # type: ignore[assignment]
    for limit in limits:
        run_in_fork(partial(compute, Path(where), video, saved, limit), limit)
