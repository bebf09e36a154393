"""What one process computes: test_reproducibility.py runs it under limits of oneDNN.

python isa_worker.py OUT.npz CLIP BACKBONE: probabilities of a clip by batch size and threads, and
the differences of networks in a reduced number format.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from abawcli.config import Prediction
from abawcli.formats.metadata import Preprocess
from abawcli.models import precision
from abawcli.models.audio_backbones import build_audio_backbone
from abawcli.models.image_backbones import Backbone
from abawcli.pipeline.reproducibility import measure_agreement, measure_precision
from abawcli.stages.predict import Predictor

SETTINGS = ((1, 1), (64, 2))  # batch size, threads


def label(clip: str) -> dict[str, np.ndarray]:
    """Return the probabilities (T, 8) of a clip by settings."""
    tables = {}
    for batch, threads in SETTINGS:
        torch.set_num_threads(threads)
        table = Predictor(device="cpu", config=Prediction(batch)).predict_video(Path(clip))
        tables[f"{batch},{threads}"] = table.filter(regex="^p_").to_numpy()
    return tables


def check_formats(backbone: str) -> dict[str, float]:
    """Return the changes of features by bfloat16, as it is used after the check at load."""
    precision.inference_dtype = lambda device: torch.bfloat16  # type: ignore[attr-defined]
    torch.manual_seed(0)
    # Eight channels and a kernel of eight: what AMX computes wrong in torch 2.13.
    convolution = torch.nn.Conv2d(8, 8, (1, 8))
    mean = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 1), convolution, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    doubtful = Backbone("doubtful", mean.eval(), 8, Preprocess(32, 32, (0.5,), (0.5,)))
    sound = build_audio_backbone(backbone).eval()
    with torch.inference_mode():
        before = doubtful.run_probe(), sound.run_probe()
    for network in (doubtful, sound):
        precision.reduce_precision(network, torch.device("cpu"))
    with torch.inference_mode():
        after = doubtful.run_probe(), sound.run_probe()
    return {
        "doubtful": precision.measure_difference(after[0], before[0]),
        "sound": precision.measure_difference(after[1], before[1]),
        "face": measure_precision("compact-face", torch.bfloat16),
        "voice": measure_precision("compact-voice", torch.bfloat16),
    }


if __name__ == "__main__":
    out, clip, backbone = sys.argv[1:]
    found: dict[str, Any] = label(clip) | check_formats(backbone)
    np.savez(out, numbers=measure_agreement("compact", (16,), (1,)), **found)
