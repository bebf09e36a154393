"""Where networks run: CUDA, Apple's MPS or the CPU, chosen by themselves or by name."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from abawcli.config import PRECISIONS
from abawcli.errors import UsageError

DEVICES = ("auto", "cuda", "mps", "cpu")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device for `name`: `auto` takes CUDA, else MPS, else the CPU.

    Raises:
        UsageError: the device asked for is not there, or no such device is known.
    """
    kind = name.split(":")[0]
    if kind not in DEVICES:
        raise UsageError(f"unknown device {name!r}; choose one of {', '.join(DEVICES)}")
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, there in have.items() if there), "cpu"))
    if not have.get(kind, True):
        raise UsageError(f"device {name!r} is not available here; use --device auto")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """Return the number format to train in: `auto` takes bfloat16 where the device has it.

    A CPU has it with AVX-512 BF16 or AMX; others emulate it, slower than float32.

    Raises:
        UsageError: no such format is known.
    """
    if name not in PRECISIONS:
        raise UsageError(f"unknown precision {name!r}; choose one of {', '.join(PRECISIONS)}")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    can: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # since torch 2.10
    native = device.type == "cpu" and (can.get("avx512_bf16") or can.get("amx_bf16"))
    return "bfloat16" if native else "float32"


def explain_device(device: torch.device) -> str:
    """Return one sentence on what was chosen and why."""
    if device.type == "cuda":
        return f"CUDA device {torch.cuda.get_device_name(device)}"
    if device.type == "mps":
        return "Apple GPU (MPS); no CUDA device is visible"
    built = "this torch is built without CUDA" if torch.version.cuda is None else "no CUDA device"
    return f"CPU, {torch.get_num_threads()} threads; {built}"


def spare_a_core() -> None:
    """Let torch use all CPU cores that this process may run on but one.

    For work that runs beside another thread, which decodes and finds faces: with as many threads
    as cores, both wait for each other, and a prediction on two cores takes twice the CPU time.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(max(1, (cores or 2) - 1))


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return mixed precision where it is safe and fast: bfloat16 or float16 on CUDA."""
    if device.type != "cuda":
        return nullcontext()
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.autocast("cuda", dtype=dtype)


def inference_dtype(device: torch.device) -> torch.dtype:
    """Return the number format for the weights of a large network that is not trained further.

    On a CPU that multiplies bfloat16 itself that is four times as fast as float32 there. On
    CUDA, `autocast` does the same, layer by layer.
    """
    half = device.type == "cpu" and choose_precision("auto", device) == "bfloat16"
    return torch.bfloat16 if half else torch.float32
