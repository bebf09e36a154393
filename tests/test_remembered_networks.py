"""The memory that tests have of networks answers only what is the same in every respect."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from abawcli.config import COMPACT_FACE, COMPACT_VOICE
from abawcli.faces.detect import load_detector
from abawcli.models.audio_backbones import build_audio_backbone
from abawcli.models.encoder import load_feature_encoder

CPU = torch.device("cpu")
CROPS = np.random.default_rng(0).integers(0, 256, (2, 1, 48, 48, 3), dtype=np.uint8)
SAMPLES = torch.from_numpy(0.1 * np.random.default_rng(0).normal(size=8000).astype(np.float32))


def count_runs(monkeypatch: pytest.MonkeyPatch, network: torch.nn.Module) -> list[torch.Tensor]:
    """Note each input that a network is run on."""
    runs: list[torch.Tensor] = []
    real = type(network).forward

    def forward(self: torch.nn.Module, x: torch.Tensor, *options: slice) -> torch.Tensor:
        runs.append(x)
        return real(self, x, *options)

    monkeypatch.setattr(type(network), "forward", forward)
    return runs


def test_a_face_is_encoded_once_by_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, again = (load_feature_encoder(COMPACT_FACE, CPU)[0] for _ in range(2))
    assert encoder.backbone is again.backbone
    runs = count_runs(monkeypatch, encoder.backbone)
    first = encoder.encode(CROPS)
    expected = first.clone()
    first.zero_()  # whoever is answered has a copy
    assert torch.equal(again.encode(CROPS.copy()), expected) and len(runs) == 1
    again.preprocess = replace(again.preprocess, flip=True)
    assert not torch.equal(again.encode(CROPS), expected) and len(runs) == 3
    encoder.encode(CROPS[:1])
    assert len(runs) == 4
    torch.set_num_threads(2)
    try:
        encoder.encode(CROPS)
    finally:
        torch.set_num_threads(1)
    assert len(runs) == 5


def test_audio_is_encoded_anew_by_changed_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, other = (build_audio_backbone(COMPACT_VOICE).eval() for _ in range(2))
    runs = count_runs(monkeypatch, backbone)
    with torch.inference_mode():
        expected, _ = backbone.encode(SAMPLES)
        assert torch.equal(other.encode(SAMPLES)[0], expected) and len(runs) == 1
    with torch.no_grad():
        next(other.parameters()).mul_(1.5)
        changed, _ = other.encode(SAMPLES)
        assert not torch.equal(changed, expected) and len(runs) == 2


def test_faces_are_those_of_the_picture() -> None:
    detector = load_detector("retinaface", threads=1)
    assert detector is load_detector("retinaface", threads=1)
    assert detector is not load_detector("retinaface", replace(detector.config, min_score=0.9))
    picture = np.zeros((64, 64, 3), np.uint8)
    assert detector.detect([picture, picture]) == [[], []] and detector.detect([picture]) == [[]]
