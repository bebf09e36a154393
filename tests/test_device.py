"""Choosing where networks run."""

import os

import pytest
import torch

from abawcli.device import (
    choose_device,
    choose_precision,
    explain_device,
    inference_dtype,
    leave_one_core,
)
from abawcli.errors import UsageError


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 * cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_best_there_is(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str
) -> None:
    pretend(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device("auto").type == chosen


def test_a_named_device_is_that_device(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=True, mps=False)
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize(
    "name", ["cuda:x", "cuda:2", "cuda:-1", "cpu:1", "auto:0", "cuda:", "cpu:0:1"]
)
def test_a_wrong_number_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pretend(monkeypatch, cuda=True, mps=False)
    with pytest.raises(UsageError, match=f"device '{name}'"):
        choose_device(name)


@pytest.mark.parametrize("name", ["cuda", "mps", "tpu"])
def test_what_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pretend(monkeypatch, cuda=False, mps=False)
    with pytest.raises(UsageError, match=name):
        choose_device(name)


def test_cpu_is_explained() -> None:
    assert "CPU" in explain_device(torch.device("cpu"))


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({}, "float32")],
)
def test_precision_is_what_the_cpu_has(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], chosen: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert choose_precision("auto", torch.device("cpu")) == chosen
    assert choose_precision("auto", torch.device("mps")) == "float32"
    assert choose_precision("float32", torch.device("cpu")) == "float32"
    with pytest.raises(UsageError, match="float8"):
        choose_precision("float8", torch.device("cpu"))


@pytest.mark.parametrize(
    ("limit", "large", "small"),
    [
        (None, torch.bfloat16, torch.bfloat16),
        ("AVX512_CORE_AMX", torch.bfloat16, torch.bfloat16),
        ("avx512_core_bf16", torch.bfloat16, torch.float32),
        ("AVX512_CORE", torch.float32, torch.float32),
        ("AVX2", torch.float32, torch.float32),
    ],
)
def test_formats_that_onednn_may_not_use_are_not_chosen(
    monkeypatch: pytest.MonkeyPatch, limit: str | None, large: torch.dtype, small: torch.dtype
) -> None:
    can = {"avx512_bf16": True, "amx_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can, raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    cpu = torch.device("cpu")
    assert (inference_dtype(cpu), inference_dtype(cpu, small=True)) == (large, small)


def test_a_small_network_gains_by_amx_only(monkeypatch: pytest.MonkeyPatch) -> None:
    can = {"avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can, raising=False)
    for device in ("cpu", "cuda", "mps"):
        assert inference_dtype(torch.device(device), small=True) == torch.float32


@pytest.mark.parametrize(
    ("capability", "training", "inference"),
    [
        ((7, 0), "float32", torch.float16),  # Volta emulates bfloat16
        ((7, 5), "float32", torch.float16),
        ((8, 0), "bfloat16", torch.bfloat16),  # Ampere
        ((9, 0), "bfloat16", torch.bfloat16),
    ],
)
def test_cuda_before_ampere_never_emulates_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    training: str,
    inference: torch.dtype,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)  # by emulation
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision("auto", torch.device("cuda")) == training
    assert inference_dtype(torch.device("cuda")) == inference


def test_a_core_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        for cores, threads in ((1, 1), (2, 1), (4, 3)):
            monkeypatch.setattr(
                os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False
            )
            leave_one_core()
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
