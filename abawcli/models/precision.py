"""Networks in a reduced number format, and the check that it changes their outputs little.

Results in the fastest format of a device may be wrong: oneDNN's bfloat16 convolution on AMX (torch
2.13) is, for some shapes. So before a network runs or is trained in a reduced format, its outputs
for a fixed probe are compared in both formats.
"""

import itertools
import logging
import math
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from abawcli.config import PRECISION_TOLERANCE
from abawcli.device import choose_precision, inference_dtype

LOG = logging.getLogger(__name__)


class Probed(Protocol):
    """A backbone that can be cast to another number format and has a probe to compare both."""

    name: str

    def cast_to(self, dtype: torch.dtype) -> None:
        """Cast the network to `dtype`, except for the parts that need float32."""

    def run_probe(self) -> Tensor:
        """Return the features (N, D) of a fixed input."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the weights."""

    def buffers(self) -> Iterator[Tensor]:
        """Yield the other tensors of the network, of any shape."""


class InFloat32(nn.Module):
    """A module that computes in float32 and returns its output in the format of its input."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.float()

    def forward(self, x: Tensor) -> Tensor:
        """Map (...) as the module does."""
        out: Tensor = self.module(x.float())
        return out.to(x.dtype)


def cast_inputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Cast inputs (...) to the format of a module's weights; a forward pre-hook."""
    dtype = next(module.parameters()).dtype
    return tuple(value.to(dtype) for value in inputs)


def cast_weights(network: nn.Module, dtype: torch.dtype) -> None:
    """Cast a network to `dtype`, in place, except for grouped convolutions, which stay in float32.

    Grouped convolutions, as for positions in Wav2Vec 2.0, are where AMX is wrong: with an even
    number of channels below 16 in a group. They take about 2 % of the time.
    """
    network.to(dtype)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv1d | nn.Conv2d) and child.groups > 1:
                setattr(module, name, InFloat32(child))


def measure_difference(rough: Tensor, exact: Tensor) -> float:
    """Return the length of the difference from `exact`, over that of `exact`; inf if not finite.

    Both have any shape (..., D).
    """
    share = (rough.double() - exact.double()).norm() / exact.double().norm()
    return float(share) if math.isfinite(share) else math.inf


def compare_precision(network: Probed, dtype: torch.dtype) -> float:
    """Cast a network, and return the relative change of its output for the probe.

    It is infinity if the network cannot run in that format.
    """
    with torch.inference_mode():
        exact = network.run_probe()
        network.cast_to(dtype)
        return _compare_output(network.run_probe, exact)


def _compare_output(run_probe: Callable[[], Tensor], exact: Tensor) -> float:
    """Return the relative difference of the output for the probe from `exact`."""
    try:
        return measure_difference(run_probe(), exact)
    except RuntimeError as error:  # an operation that torch lacks in this format
        LOG.info("the network cannot compute in this number format: %s", error)
        return math.inf


def choose_training_precision(
    wanted: str, network: nn.Module, run_probe: Callable[[], Tensor], device: torch.device
) -> str:
    """Return the number format to train a network in, for `wanted` of `config.PRECISIONS`.

    As `device.choose_precision`, but `auto` is float32, with a warning, if the network's output
    (..., D) for the probe changes by more than `PRECISION_TOLERANCE` in bfloat16.

    Raises:
        UsageError: the format is unknown.
    """
    precision = choose_precision(wanted, device)
    if wanted != "auto" or precision == "float32":
        return precision
    network.to(device).eval()
    with torch.no_grad():
        exact = run_probe()
        with torch.autocast(device.type, torch.bfloat16):
            difference = _compare_output(run_probe, exact)
    if difference <= PRECISION_TOLERANCE:
        return precision
    LOG.warning(
        "training computes in float32: in bfloat16 outputs differ by %.0f %%, more than %.0f %%",
        100 * difference, 100 * PRECISION_TOLERANCE,
    )  # fmt: skip
    return "float32"


def cast_if_accurate(network: Probed, device: torch.device, small: bool = False) -> torch.dtype:
    """Cast a network to the reduced format of its device, if that changes its output little.

    `small` is as in `device.inference_dtype`.

    Returns its format: float32, with a warning, if its output for the probe changes by more than
    `PRECISION_TOLERANCE`.
    """
    dtype = inference_dtype(device, small)
    if dtype == torch.float32:
        return dtype
    in_float32 = [tensor.data for tensor in _list_tensors(network)]
    difference = compare_precision(network, dtype)
    if difference <= PRECISION_TOLERANCE:
        return dtype
    for tensor, before in zip(_list_tensors(network), in_float32, strict=True):
        tensor.data = before
    LOG.warning(
        "%s is computed in float32: in %s its features differ by %.0f %%, more than %.0f %%",
        network.name, _name(dtype), 100 * difference, 100 * PRECISION_TOLERANCE,
    )  # fmt: skip
    return torch.float32


def _list_tensors(network: Probed) -> Iterator[Tensor]:
    return itertools.chain(network.parameters(), network.buffers())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
