"""The mixture-of-experts training head against its definition."""

import torch

from abawcli.config import MoEHead
from abawcli.models.moe import MixtureOfExpertsHead


def test_routing_is_a_distribution_over_experts() -> None:
    head = MixtureOfExpertsHead(32, MoEHead())
    shares = head.route(torch.randn(7, 32))
    assert shares.shape == (7, 4)
    assert (shares > 0).all()
    assert torch.allclose(shares.sum(dim=1), torch.ones(7))


def test_output_is_the_shares_weighted_sum_of_experts() -> None:
    head = MixtureOfExpertsHead(16, MoEHead()).eval()
    x = torch.randn(5, 16)
    shares = head.route(x)
    mixed = sum(shares[:, k, None] * expert(x) for k, expert in enumerate(head.experts))
    assert torch.allclose(head(x), head.classifier(head.out_norm(mixed)), atol=1e-5)


def test_parameter_count_is_the_papers_structure() -> None:
    d = 1024
    with torch.device("meta"):
        head = MixtureOfExpertsHead(d, MoEHead())
    block = 2 * d + 2 * (d * 2 * d + 2 * d) + (2 * d * d + d)  # norm, gate and value, out
    router = 2 * d + (d * 256 + 256) + 2 * 256 + (256 * 4 + 4)  # norm, D->256, norm, 256->4
    expected = 4 * 3 * block + router + 2 * d + (d * 8 + 8)
    assert sum(p.numel() for p in head.parameters()) == expected == 75_859_724
    dropouts = [module.p for module in head.modules() if isinstance(module, torch.nn.Dropout)]
    assert dropouts == [0.6] * 13  # of each block, and of the output


def test_drop_path_rises_linearly_to_the_last_block() -> None:
    head = MixtureOfExpertsHead(8, MoEHead())
    rates = [block.drop_path for block in head.experts[0].children()]
    assert torch.allclose(torch.tensor(rates), torch.tensor([0.0, 0.05, 0.10]))


def test_drop_path_drops_whole_residuals_in_training_only() -> None:
    head = MixtureOfExpertsHead(8, MoEHead(dropout=0.0, drop_path=0.5))
    block = head.experts[0][-1]
    x = torch.randn(400, 8)
    full = block.eval()(x) - x
    dropped = block.train()(x) - x
    ratio = dropped / full
    gone = torch.isclose(ratio, torch.zeros(()), atol=1e-4).all(dim=1)
    doubled = torch.isclose(ratio, torch.full((), 2.0), rtol=1e-2).all(dim=1)
    assert (gone | doubled).float().mean() > 0.98  # the rest: division by a value near 0
    assert 0.4 < gone.float().mean() < 0.6


def test_gradients_reach_every_weight() -> None:
    head = MixtureOfExpertsHead(16, MoEHead(dropout=0.0, drop_path=0.0))
    head(torch.randn(4, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
