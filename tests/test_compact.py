"""Our own face network."""

import copy
from types import SimpleNamespace

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


@pytest.mark.parametrize("name", ["_reorder_convolution_weight", "_convolution_pointwise"])
@pytest.mark.parametrize("fault", [RuntimeError, AttributeError, TypeError, "wrong", None])
def test_convolutions_stay_where_torch_cannot_pack_them(
    monkeypatch: pytest.MonkeyPatch, name: str, fault: type[Exception] | str | None
) -> None:
    """Each operator raises, as with a changed signature, gives something else, or is gone."""

    def change(*_: object) -> torch.Tensor:
        if isinstance(fault, type):
            raise fault("expected at most 3 arguments")
        return torch.zeros(1, 1, 1, 1)

    names = ("_reorder_convolution_weight", "_convolution_pointwise")
    kept = {key: getattr(torch.ops.mkldnn, key) for key in names}
    operators = kept | {name: change} if fault else {k: v for k, v in kept.items() if k != name}
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(**operators))
    network = fold_batch_norm(CompactFace().eval())
    packed = pack_convolutions(copy.deepcopy(network))
    assert not any(isinstance(module, PackedConv) for module in packed.modules())
    x = torch.randn(2, 1, 44, 44)
    with torch.inference_mode():
        assert torch.equal(packed(x), network(x))


def test_weights_are_packed_once_for_their_input(capfd: pytest.CaptureFixture[str]) -> None:
    """Under AVX2, oneDNN took three times as long to convert weights of another layout."""
    packed = pack_convolutions(fold_batch_norm(CompactFace().eval()))
    x = torch.randn(16, 1, 44, 44).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        packed(x)
        with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
            packed(x)
    done = capfd.readouterr().out
    assert ",convolution," in done and ",reorder," not in done
