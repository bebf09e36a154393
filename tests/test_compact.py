"""Our own face network."""

import copy

import pytest
import torch

from abawcli.models.compact import CompactFace, PackedConv, fold_batch_norm, pack_convolutions


@pytest.mark.parametrize("side", [36, 44, 48, 64])
def test_features_have_one_shape_at_any_size(side: int) -> None:
    assert CompactFace()(torch.rand(2, 1, side, side)).shape == (2, 256)


def test_folding_batch_norm_changes_nothing_but_the_modules() -> None:
    network = CompactFace()
    network(torch.randn(16, 1, 48, 48))  # running statistics away from 0 and 1
    network.eval()
    folded = fold_batch_norm(copy.deepcopy(network))
    x = torch.randn(3, 1, 48, 48)
    assert torch.allclose(folded(x), network(x), atol=1e-5)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())


def test_packed_convolutions_compute_the_same() -> None:
    network = fold_batch_norm(CompactFace().eval())
    packed = pack_convolutions(copy.deepcopy(network))
    assert any(isinstance(module, PackedConv) for module in packed.modules())
    with torch.inference_mode():
        for batch in (1, 3, 16):
            x = torch.randn(batch, 1, 44, 44).to(memory_format=torch.channels_last)
            assert torch.allclose(packed(x), network(x), atol=1e-5)


def test_convolutions_stay_where_torch_cannot_pack_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    network = pack_convolutions(CompactFace())
    assert not any(isinstance(module, PackedConv) for module in network.modules())
