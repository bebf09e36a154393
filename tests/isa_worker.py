"""What test_reproducibility.py computes under a limit of oneDNN's instruction sets.

oneDNN reads the limit when it is first used: in an early fork for each limit. What is found is
written into its folder: the probabilities of a clip by batch size and threads, the differences of
networks in a reduced number format, and the instruction set that oneDNN reports.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Wav2Vec2Model  # noqa: F401  before there are forks

from abawcli.config import Prediction
from abawcli.formats.metadata import Preprocess
from abawcli.models import precision
from abawcli.models.audio_backbones import build_audio_backbone
from abawcli.models.image_backbones import Backbone
from abawcli.pipeline import reproducibility
from abawcli.pipeline.reproducibility import measure_agreement, measure_precision
from abawcli.stages.predict import Predictor

SETTINGS = ((1, 1), (64, 2))  # batch size, threads
EXACT = "exact.npy"  # beside the clip
FOUND, LOG = Path("found.npz"), Path("onednn.log")


def predict(clip: Path) -> dict[str, np.ndarray]:
    """Return the probabilities (T, 8) of a clip by settings."""
    predictor, tables = Predictor(device="cpu"), {}
    for batch, threads in SETTINGS:
        torch.set_num_threads(threads)
        predictor.extractor.config = Prediction(batch)
        table = predictor.predict_video(clip)
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


def compute(clip: Path, backbone: Path, limit: str) -> None:
    """Write FOUND; oneDNN, which is used for the first time, says in LOG what it uses."""
    os.environ |= {"ONEDNN_MAX_CPU_ISA": limit, "ONEDNN_VERBOSE": "1"}
    os.dup2(os.open(LOG, os.O_WRONLY | os.O_CREAT), sys.stdout.fileno())
    # In float64, which knows no limit: computed once, by whoever starts this.
    exact = torch.from_numpy(np.load(clip.with_name(EXACT)))
    reproducibility.compute_exact = lambda recipe: exact  # type: ignore[assignment]
    found: dict[str, Any] = predict(clip)
    found["numbers"] = measure_agreement("compact", (16,), (1,))
    found |= check_formats(str(backbone))  # from here on, in bfloat16 everywhere
    isa = re.search("cpu,isa:(.*)", LOG.read_text())
    np.savez(FOUND, isa=isa[1] if isa else "", **found)
