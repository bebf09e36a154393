"""Networks on a CUDA device: what they compute, against the CPU, and how they train.

    pytest -m cuda

Without such a device these tests are skipped.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from audio_files import save_audio_set
from raw_checkpoints import read_raw
from sample_clips import CLIPS, SAMPLES, abaw
from sample_features import NAMES, make_features, save_videos, small_network
from tiny_models import save_audio_backbone, save_image_set, save_vision_backbone

from abawcli.config import (
    PRECISION_TOLERANCE,
    PROBABILITY_TOLERANCE,
    EncoderTraining,
    Prediction,
    VoiceTraining,
    default_head_training,
)
from abawcli.device import choose_device, choose_precision, explain_device, inference_dtype
from abawcli.formats.features import read_features
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import read_table
from abawcli.models.heads import HEADS, load_head
from abawcli.models.precision import measure_difference
from abawcli.stages.predict import Predictor
from abawcli.stages.train_face import train_face_encoder
from abawcli.stages.train_head import train_fusion_head
from abawcli.stages.train_voice import train_voice_encoder
from abawcli.training.run_folder import History

DEVICE = "cuda"
CPU = torch.device("cpu")
CLIP = SAMPLES / "rotated_phone.mp4"
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def find_change(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """Return the largest difference of two tables' probabilities."""
    p, q = (table[PROBABILITIES].to_numpy() for table in (one, other))
    return float(np.nanmax(np.abs(p - q)))


def stop_at(epoch: int) -> Any:
    """Return a progress callback that interrupts a run within an epoch."""

    def stop(done: int, total: int | None, what: str) -> None:
        if what.startswith(f"epoch {epoch}/"):
            raise KeyboardInterrupt

    return stop


def train_twice(train: Callable[..., History], folder: Path, result: str) -> None:
    """Train whole, and in two parts; compare the runs."""
    history = train(folder / "whole")
    assert len(history) == 2 and all(np.isfinite(each.loss) for each in history)
    with pytest.raises(KeyboardInterrupt):
        train(folder / "cut", progress=stop_at(2))
    train(folder / "cut")
    assert not torch.is_autocast_enabled(DEVICE)
    compare_runs(folder / "whole", folder / "cut", result)


def compare_runs(whole: Path, cut: Path, result: str) -> None:
    """Compare the weights of two runs: not every sum on a GPU has a fixed order."""
    for name in (result, "last.safetensors"):
        one, other = read_raw(whole / name)[0], read_raw(cut / name)[0]
        assert one.keys() == other.keys()
        flat = [torch.cat([part[key].double().flatten() for key in one]) for part in (one, other)]
        assert measure_difference(flat[0], flat[1]) < 1e-3, name
    assert (whole / "config.json").read_text() == (cut / "config.json").read_text()


def test_the_device_is_chosen_and_named() -> None:
    device = choose_device("auto")
    assert device.type == DEVICE and choose_device(f"{DEVICE}:0").index == 0
    assert torch.cuda.get_device_name(0) in explain_device(device)
    ampere = torch.cuda.get_device_capability(0) >= (8, 0)
    assert choose_precision("auto", device) == ("bfloat16" if ampere else "float32")
    assert inference_dtype(device) == (torch.bfloat16 if ampere else torch.float16)


@pytest.mark.parametrize("recipe", ["compact", "compact-dual-branch", "compact-face"])
def test_predictions_are_those_of_the_cpu(recipe: str) -> None:
    found = {
        (device, size): Predictor(recipe, device, Prediction(size)).predict_video(CLIP)
        for device, size in (("cpu", 16), (DEVICE, 16), (DEVICE, 3))
    }
    expected = found["cpu", 16]
    for table in found.values():
        assert (table["source"] == expected["source"]).all()
        assert find_change(table, expected) < PROBABILITY_TOLERANCE


@pytest.mark.parametrize(
    ("visual", "audio"), [("dinov2", "wav2vec2"), ("beit", "wavlm"), ("vit", "hubert")]
)
def test_features_of_large_backbones_are_those_of_the_cpu(
    visual: str, audio: str, tmp_path: Path
) -> None:
    backbones = ["--visual", save_vision_backbone(tmp_path / "image", visual)]
    backbones += ["--audio", save_audio_backbone(tmp_path / "audio", audio)]
    clip, made = SAMPLES / f"{CLIPS[0]}.mp4", {}
    for device in ("cpu", DEVICE):
        path = tmp_path / f"{device}.safetensors"
        abaw("extract", clip, "-o", path, *backbones, "--audio-layers", "last2", "--device", device)
        made[device] = read_features(path)
    one, other = made["cpu"], made[DEVICE]
    for name in ("visual", "audio"):
        exact, rough = (getattr(part, name).astype(np.float64) for part in (one, other))
        assert exact.any() and np.isfinite(rough).all()
        distance = np.linalg.norm(rough - exact) / np.linalg.norm(exact)
        assert distance < 2 * PRECISION_TOLERANCE  # both may be in a reduced format
        assert (getattr(one, f"has_{name}") == getattr(other, f"has_{name}")).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_face_encoder_trains_and_goes_on(precision: str, tmp_path: Path) -> None:
    manifest = save_image_set(tmp_path / "images")
    backbone = str(save_vision_backbone(tmp_path / "vit", "vit"))
    config = replace(
        EncoderTraining(), epochs=2, batch_size=8, frozen_blocks=1, precision=precision
    )

    def train(out: Path, **options: Any) -> History:
        return train_face_encoder(
            manifest.parent, manifest, out, backbone, config=config, device=DEVICE, **options
        )

    train_twice(train, tmp_path, "encoder.safetensors")
    encoder = tmp_path / "whole" / "encoder.safetensors"
    tables = [Predictor(str(encoder), device).predict_video(CLIP) for device in ("cpu", DEVICE)]
    assert find_change(*tables) < PRECISION_TOLERANCE


def test_a_voice_encoder_trains_and_goes_on(tmp_path: Path) -> None:
    manifest = save_audio_set(tmp_path / "recordings")
    config = VoiceTraining(epochs=2, epoch_batches=2, batch_size=4, crop_s=0.64)

    def train(out: Path, **options: Any) -> History:
        return train_voice_encoder(manifest.parent, manifest, out, config, device=DEVICE, **options)

    train_twice(train, tmp_path, "encoder.safetensors")


@pytest.mark.parametrize("head", list(HEADS))
def test_a_head_trains_goes_on_and_is_read_by_the_cpu(head: str, tmp_path: Path) -> None:
    features, labels = save_videos(tmp_path, NAMES)
    files = sorted(features.glob("*.safetensors")), sorted(labels.glob("*.txt"))
    config = replace(
        default_head_training(head), epochs=2, batch_frames=200, network=small_network(head)
    )

    def train(out: Path, **options: Any) -> History:
        return train_fusion_head(files, out, head, config, device=DEVICE, **options)

    train_twice(train, tmp_path, "head.safetensors")
    made = make_features(np.arange(80) % 8, seed=100)
    arrays = made.visual, made.audio, made.has_visual, made.has_audio
    path = tmp_path / "whole" / "head.safetensors"
    expected, found = (
        load_head(path, device)[0].classify(*arrays) for device in (CPU, torch.device(DEVICE))
    )
    assert (expected[1] == found[1]).all()
    np.testing.assert_allclose(found[0], expected[0], atol=PROBABILITY_TOLERANCE)


def test_commands_choose_the_device_by_themselves(tmp_path: Path) -> None:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated()
    abaw("predict", CLIP, "-o", tmp_path / "labels.csv")
    assert torch.cuda.max_memory_allocated() > before
    assert (read_table(tmp_path / "labels.csv")["label"] >= 0).any()
