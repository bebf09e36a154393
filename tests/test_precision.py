"""Reduced number formats, and the check at load that they change little."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import AUDIO_KINDS, KINDS, save_audio_backbone, save_vision_backbone

from abawcli.config import COMPACT_FACE, PROBABILITY_TOLERANCE
from abawcli.formats.metadata import Preprocess
from abawcli.models import precision
from abawcli.models.audio_backbones import build_audio_backbone
from abawcli.models.encoder import FeatureEncoder, find_encoder, load_encoder
from abawcli.models.image_backbones import Backbone, load_hub_backbone
from abawcli.models.precision import (
    InFloat32,
    cast_if_accurate,
    choose_training_precision,
    measure_difference,
)
from abawcli.models.preprocessing import prepare_crops
from abawcli.pipeline.audio_features import AudioEncoder
from abawcli.pipeline.reproducibility import make_probe

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let bfloat16 be chosen on any CPU."""
    monkeypatch.setattr(precision, "inference_dtype", lambda device, small=False: torch.bfloat16)


class Wrong(torch.nn.Module):
    """A network that is computed wrong in bfloat16, or not at all."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 6)
        self.register_buffer("offset", torch.full((6,), 1.2345678))
        self.error = error

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.layer(pixels.mean(dim=(1, 2, 3), keepdim=True)[:, 0, 0]) + self.offset
        if features.dtype == torch.float32:
            return features
        if self.error:
            raise self.error
        return 1.2 * features


def build_wrong(error: Exception | None = None) -> Backbone:
    return Backbone("wrong", Wrong(error), 6, Preprocess(8, 8, (0.5,), (0.5,)))


@pytest.mark.parametrize("error", [None, RuntimeError("not implemented for 'BFloat16'")])
def test_a_network_that_is_wrong_in_bfloat16_is_computed_in_float32(
    error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8, 3), np.uint8)
    torch.manual_seed(0)
    backbone = build_wrong(error)
    with torch.inference_mode():
        exact = backbone(prepare_crops(crops[:, 0], backbone.preprocess))
    encoder = FeatureEncoder(backbone, CPU)
    assert encoder.dtype == torch.float32
    assert torch.equal(encoder.encode(crops), exact)  # not the weights rounded to bfloat16
    (record,) = caplog.records
    assert "wrong is computed in float32: in bfloat16" in record.getMessage()
    assert ("inf" if error else "20 %, more than 5 %") in record.getMessage()


def test_the_embedded_face_network_gives_the_same_labels_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crops = make_probe()[0][:4]
    rough = load_encoder(find_encoder(COMPACT_FACE), CPU)[0]
    monkeypatch.setattr(precision, "inference_dtype", lambda device, small=False: torch.float32)
    exact = load_encoder(find_encoder(COMPACT_FACE), CPU)[0]
    assert (rough.dtype, exact.dtype) == (torch.bfloat16, torch.float32)
    assert 0 < measure_difference(rough.encode(crops), exact.encode(crops)) < 0.01
    formats = {p.dtype for n, p in rough.backbone.named_parameters() if "squeeze" in n}
    assert formats == {torch.float32}  # of the channel gates
    expected = exact.classify(crops)
    found = rough.classify(crops)
    assert np.abs(found - expected).max() < PROBABILITY_TOLERANCE
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_image_backbone_is_reduced_only_within_the_tolerance(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(save_vision_backbone(tmp_path, kind, image_size=112))
    crops = np.random.default_rng(0).integers(0, 256, (2, 1, 128, 128, 3), np.uint8)
    rough = FeatureEncoder(load_hub_backbone(folder), CPU)
    assert rough.dtype == torch.bfloat16
    monkeypatch.setattr(precision, "PRECISION_TOLERANCE", 0.0)
    exact = FeatureEncoder(load_hub_backbone(folder), CPU)
    assert exact.dtype == torch.float32
    with torch.inference_mode():
        pixels = prepare_crops(crops[:, 0], exact.preprocess)
        expected = load_hub_backbone(folder).eval()(pixels)
    torch.testing.assert_close(exact.encode(crops), expected)
    assert 0 < measure_difference(rough.encode(crops), expected) < 0.05


@pytest.mark.parametrize("kind", sorted(AUDIO_KINDS))
def test_audio_backbone_is_reduced_only_within_the_tolerance(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(save_audio_backbone(tmp_path, kind))
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    assert AudioEncoder(build_audio_backbone(folder), CPU).dtype == torch.bfloat16
    monkeypatch.setattr(precision, "PRECISION_TOLERANCE", 0.0)
    exact = AudioEncoder(build_audio_backbone(folder), CPU)
    assert exact.dtype == torch.float32
    with torch.inference_mode():
        expected = build_audio_backbone(folder).eval()(torch.from_numpy(samples)[None])[0]
    np.testing.assert_allclose(exact.encode(samples)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(AUDIO_KINDS))
def test_grouped_convolutions_and_those_on_the_audio_stay_in_float32(
    kind: str, tmp_path: Path
) -> None:
    backbone = build_audio_backbone(str(save_audio_backbone(tmp_path, kind)))
    backbone.cast_to(torch.bfloat16)
    grouped = [m for m in backbone.modules() if isinstance(m, torch.nn.Conv1d) and m.groups > 1]
    assert [conv.weight.dtype for conv in grouped] == [torch.float32]
    assert sum(isinstance(module, InFloat32) for module in backbone.modules()) == 1
    audio = {p.dtype for p in backbone.network.feature_extractor.parameters()}
    rest = {p.dtype for p in backbone.network.feature_projection.parameters()}
    assert (audio, rest) == ({torch.float32}, {torch.bfloat16})


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_probe_of_a_transformer_is_small(kind: str, tmp_path: Path) -> None:
    backbone = load_hub_backbone(str(save_vision_backbone(tmp_path, kind, image_size=224)))
    seen: list[tuple[int, ...]] = []
    backbone.network.embeddings.register_forward_pre_hook(
        lambda module, inputs: seen.append(tuple(inputs[0].shape))
    )
    assert backbone.run_probe().shape == (1, 16)
    assert seen == [(1, 3, 56, 56)]


def test_what_is_not_finite_differs_infinitely() -> None:
    exact = torch.ones(3)
    assert measure_difference(exact, exact) == 0
    assert measure_difference(1.1 * exact, exact) == pytest.approx(0.1)
    assert measure_difference(torch.tensor([1, torch.nan, 1]), exact) == float("inf")
    assert measure_difference(exact, 0 * exact) == float("inf")


def test_float32_is_neither_probed_nor_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "inference_dtype", lambda device, small=False: torch.float32)
    backbone = build_wrong()
    monkeypatch.setattr(backbone, "run_probe", None)
    assert cast_if_accurate(backbone, CPU) == torch.float32


@pytest.mark.parametrize("error", [None, RuntimeError("not implemented for 'BFloat16'")])
def test_a_network_that_is_wrong_in_bfloat16_is_trained_in_float32(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "choose_precision", lambda wanted, device: "bfloat16")
    right = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Dropout())
    inputs = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))

    def answer_wrong() -> torch.Tensor:
        out: torch.Tensor = right(inputs)
        if out.dtype == torch.float32:
            return out
        if error:
            raise error
        return 1.2 * out

    assert choose_training_precision("auto", right, lambda: right(inputs), CPU) == "bfloat16"
    assert choose_training_precision("bfloat16", right, answer_wrong, CPU) == "bfloat16"
    assert not caplog.records
    assert choose_training_precision("auto", right, answer_wrong, CPU) == "float32"
    (record,) = caplog.records
    assert "training computes in float32: in bfloat16 outputs differ" in record.getMessage()
    assert ("inf" if error else "20 %, more than 5 %") in record.getMessage()
