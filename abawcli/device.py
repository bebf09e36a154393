"""The device that networks run on: CUDA, Apple's MPS or the CPU, and its number formats."""

import os

import torch
from torch import Tensor

from abawcli.config import CROP_WORKERS, PRECISIONS
from abawcli.cores import count_cores, share_cores
from abawcli.errors import UsageError

# Instruction sets for bfloat16, and parts of the names of oneDNN's limits that allow them.
_ALLOWED_BY = {
    "avx512_bf16": ("BF16", "FP16", "AVX10", "AMX", "DEFAULT", "ALL"),
    "amx_bf16": ("AMX", "DEFAULT", "ALL"),
}
DEVICES = ("auto", "cuda", "mps", "cpu")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device for `name`: `auto` takes CUDA, else MPS, else the CPU.

    Raises:
        UsageError: the device is unknown or not available.
    """
    kind = name.split(":")[0]
    if kind not in DEVICES:
        raise UsageError(f"unknown device {name!r}; choose one of {', '.join(DEVICES)}")
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, there in have.items() if there), "cpu"))
    try:
        device = torch.device(name)
    except RuntimeError:  # of the number
        raise UsageError(f"unknown device {name!r}; a number is as in cuda:0") from None
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if not have.get(kind, True) or (device.index or 0) >= count:
        raise UsageError(f"device {name!r} is not available here; use --device auto")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Return the number format to train in: `auto` takes bfloat16 where the device has it.

    CPUs with AVX-512 BF16 or AMX have it, and CUDA devices since Ampere. Others emulate it and
    are slower than with float32.

    Raises:
        UsageError: the format is unknown.
    """
    if name not in PRECISIONS:
        raise UsageError(f"unknown precision {name!r}; choose one of {', '.join(PRECISIONS)}")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if _has_bfloat16(device) else "float32"
    fast = device.type == "cpu" and any(map(_can_use, _ALLOWED_BY))
    return "bfloat16" if fast else "float32"


def choose_workers(device: torch.device) -> int:
    """Return how many processes prepare crops for a network on a device.

    On a CPU, the network itself needs the cores.
    """
    return 1 if device.type == "cpu" else min(CROP_WORKERS, share_cores())


def find_capabilities() -> dict[str, object]:
    """Return the CPU's capabilities as reported by torch 2.10 or newer; empty before."""
    return dict(getattr(torch.cpu, "get_capabilities", dict)())


def _can_use(name: str) -> bool:
    """Tell whether the CPU has an instruction set for bfloat16 that oneDNN may use."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    return bool(find_capabilities().get(name)) and any(k in limit for k in _ALLOWED_BY[name])


def _has_bfloat16(device: torch.device) -> bool:
    """Tell whether a CUDA device supports bfloat16 in hardware, which began with Ampere."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def explain_device(device: torch.device) -> str:
    """Return a phrase that says which device was chosen and why."""
    if device.type == "cuda":
        return f"CUDA device {torch.cuda.get_device_name(device)}"
    if device.type == "mps":
        return "Apple GPU (MPS); no CUDA device is visible"
    built = "this torch is built without CUDA" if torch.version.cuda is None else "no CUDA device"
    return f"CPU, {torch.get_num_threads()} threads; {built}"


def leave_one_core() -> None:
    """Limit torch to one thread less than the CPU cores that this process may use.

    A second thread decodes and detects faces. With as many torch threads as cores, both wait for
    each other, and a prediction on two cores takes twice the CPU time.
    """
    torch.set_num_threads(max(1, count_cores() - 1))


def exact_dtype(device: torch.device) -> torch.dtype:
    """Return the number format for sums that must not lose digits: MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def move_pixels(pixels: Tensor, device: torch.device) -> Tensor:
    """Copy pixels (B, S, S, 3) to a device; to CUDA from pinned memory, without waiting for it."""
    if device.type != "cuda":
        return pixels.to(device)
    return pixels.pin_memory().to(device, non_blocking=True)


def inference_dtype(device: torch.device, small: bool = False) -> torch.dtype:
    """Return the number format for the weights of a network in inference.

    On a CPU that supports bfloat16, it makes a large network four times as fast as float32. A
    `small` network of convolutions only gains by AMX: with AVX-512 BF16, bfloat16 is not faster,
    and on a GPU such a network takes little of the time. CUDA devices before Ampere support float16
    only.
    """
    if small:
        has_amx = device.type == "cpu" and _can_use("amx_bf16")
        return torch.bfloat16 if has_amx else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if _has_bfloat16(device) else torch.float16
    return torch.bfloat16 if choose_precision("auto", device) == "bfloat16" else torch.float32
