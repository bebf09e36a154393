"""Networks on a device without float64, as Apple's MPS is, shown on a CPU that refuses it."""

from typing import Any

import numpy as np
import pytest
import torch
from sample_features import BACKBONES, small_network
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from abawcli.config import COMPACT_FACE, COMPACT_VOICE, ImageAugmentation
from abawcli.device import exact_dtype
from abawcli.models import log_mel, whisper
from abawcli.models.audio_backbones import build_audio_backbone
from abawcli.models.encoder import find_encoder, load_backbone
from abawcli.models.heads import HEADS, build_head
from abawcli.models.log_mel import LogMel, sum_around
from abawcli.models.preprocessing import prepare_crops
from abawcli.training.image_augmentation import augment_images
from abawcli.training.losses import ccc_loss, focal_loss, unit_loss


class WithoutFloat64(TorchDispatchMode):
    """Raise an error where float64 is computed with, as MPS does."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), options: Any = None
    ) -> Any:
        out = function(*args, **(options or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64:
                raise TypeError(f"{function} gives float64")
        return out


@pytest.fixture
def reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sums be those of MPS."""
    for module in (log_mel, whisper):
        monkeypatch.setattr(module, "exact_dtype", lambda device: exact_dtype(torch.device("mps")))


def noise(seconds: float) -> torch.Tensor:
    samples = 0.1 * torch.randn(
        1, round(16_000 * seconds), generator=torch.Generator().manual_seed(0)
    )
    samples[:, : samples.shape[1] // 2] *= 1e-3  # quiet, and then loud
    return samples


def test_only_mps_lacks_it() -> None:
    formats = [exact_dtype(torch.device(name)) for name in ("cpu", "cuda", "mps")]
    assert formats == [torch.float64, torch.float64, torch.float32]
    with pytest.raises(TypeError, match="gives float64"), WithoutFloat64():
        torch.ones(2).double()


@pytest.mark.parametrize("frames", [1, 7, 200])
def test_sums_in_float32_lose_nothing_that_is_quiet(frames: int) -> None:
    generator = torch.Generator().manual_seed(frames)
    rows = torch.rand(2, 3, frames, generator=generator)
    rows[..., : frames // 2] *= 1e4
    found = sum_around(rows, 10)
    torch.testing.assert_close(found, sum_around(rows.double(), 10).float(), rtol=1e-6, atol=0)


def test_the_embedded_networks_need_none(reduced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    voice, samples = build_audio_backbone(COMPACT_VOICE).eval(), noise(2.0)
    faces = load_backbone(find_encoder(COMPACT_FACE))[0].eval()
    crops = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
    with torch.inference_mode(), WithoutFloat64():
        features = voice(samples)
        voice.detect_speech(features[0])
        faces(prepare_crops(crops, faces.preprocess))
        bands = LogMel()(samples)
    monkeypatch.undo()
    with torch.inference_mode():
        torch.testing.assert_close(features, voice(samples), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(bands, LogMel()(samples), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_training_of_heads_needs_none(name: str) -> None:
    head = build_head(name, BACKBONES, small_network(name))
    generator = torch.Generator().manual_seed(0)
    visual, audio = (torch.randn(2, 12, dim, generator=generator) for dim in (10, 6))
    there = torch.rand(2, 2, 12, generator=generator) < 0.7
    labels = torch.randint(-1, 8, (24,), generator=generator)
    values = torch.rand(24, 8, generator=generator)
    with WithoutFloat64():
        logits = head(visual, audio, *there).flatten(0, 1)
        losses = focal_loss(logits, labels, 2.0, torch.ones(8)), ccc_loss(logits.tanh(), values)
        (sum(losses) + unit_loss(logits, values.round(), torch.ones(8))).backward()


def test_augmentation_needs_none() -> None:
    shares = [name for name in vars(ImageAugmentation()) if name.endswith("_p")]
    always: dict[str, Any] = dict.fromkeys(shares, 1.0)
    images, mean = torch.rand(4, 3, 24, 24), torch.full((3, 1, 1), 0.5)
    for rotate in (0.0, 20.0):
        config = ImageAugmentation(rotate_degrees=rotate, gamma=1.5, **always)
        with WithoutFloat64():
            augment_images(images, 20, mean, config=config, generator=torch.Generator())
