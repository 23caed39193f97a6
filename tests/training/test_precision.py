"""Devices, number formats and layouts by name."""

import os

import pytest
import torch

from llmseg_cli.errors import ResourceError, UsageError
from llmseg_cli.training.precision import (
    autocast,
    choose_device,
    choose_dtype,
    choose_memory_format,
    demand_determinism,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def pretend_gpu(monkeypatch, *, cudnn: int = 91900, bf16: bool = True) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: cudnn)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)


def test_auto_takes_the_gpu_if_there_is_one(monkeypatch):
    for available, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=available: found)
        assert choose_device("auto").type == kind


def test_cpu_is_the_cpu():
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize(("name", "devices", "fits"), [("cuda", 0, False), ("cuda:1", 1, False)])
def test_a_device_that_is_not_here(monkeypatch, name, devices, fits):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    with pytest.raises(ResourceError, match=f"{devices} CUDA devices here. Use --device cpu"):
        choose_device(name)


def test_a_device_by_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1").index == 1


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "meta", "mps"])
def test_a_device_that_is_none(name):
    with pytest.raises(UsageError, match="expected auto, cpu, cuda or cuda:N"):
        choose_device(name)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_a_named_format_is_taken(precision, dtype):
    assert choose_dtype(precision, CPU) == choose_dtype(precision, GPU) == dtype


def test_half_precision_needs_a_gpu():
    assert choose_dtype("fp16", GPU) == torch.float16
    with pytest.raises(UsageError, match="needs a GPU"):
        choose_dtype("fp16", CPU)


@pytest.mark.parametrize(
    ("cudnn", "bf16", "dtype"),
    [
        (91900, True, torch.bfloat16),
        (90800, True, torch.float16),  # pytorch#163539
        (91002, True, torch.float16),
        (91100, True, torch.bfloat16),
        (91900, False, torch.float16),
    ],
)
def test_auto_on_a_gpu(monkeypatch, cudnn, bf16, dtype):
    pretend_gpu(monkeypatch, cudnn=cudnn, bf16=bf16)
    assert choose_dtype("auto", GPU) == dtype


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_on_a_cpu(monkeypatch, fast, dtype):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    if fast and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16 convolutions")
    assert choose_dtype("auto", CPU) == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast(dtype):
    layer = torch.nn.Conv3d(1, 2, 3)
    with autocast(CPU, dtype):
        assert layer(torch.randn(1, 1, 4, 4, 4)).dtype == dtype


@pytest.mark.parametrize("name", ["auto", "channels-last"])
def test_channels_last(name):
    assert choose_memory_format(name, dimensions=3) == torch.channels_last_3d
    assert choose_memory_format(name, dimensions=2) == torch.channels_last
    assert choose_memory_format("contiguous", dimensions=3) == torch.contiguous_format


def test_determinism(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    try:
        demand_determinism()
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
