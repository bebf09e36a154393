"""Short runs of `train head` on made features."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sample_features import SMALL_GATED, small_network

from abawcli.config import HeadTraining
from abawcli.models.training_metadata import EpochResult
from abawcli.stages.train_head import Files, train_fusion_head

FAST = HeadTraining(epochs=3, batch_frames=200, network=SMALL_GATED, lr=1e-2, precision="float32")


def list_files(folders: tuple[Path, Path]) -> Files:
    features, labels = folders
    return sorted(features.glob("*.safetensors")), sorted(labels.glob("*.txt"))


def run(files: Files, out: Path, head: str = "gated", **options: Any) -> list[EpochResult]:
    config = replace(options.pop("config", FAST), network=small_network(head))
    return train_fusion_head(files, out, head, config, device="cpu", **options)
