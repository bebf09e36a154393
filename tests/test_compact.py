"""Our own face network."""

import copy

import pytest
import torch

from abawcli.models.compact import CompactFace, fold_batch_norm


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
