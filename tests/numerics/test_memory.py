"""Freed memory that is kept: where that can be asked for, and that it changes no number."""

import ctypes
import platform
import subprocess
import sys

import pytest
import torch

from llmseg_cli.numerics.memory import keep_freed_memory, zeros_of_their_own

HAS_GLIBC = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"


def convolved() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 8, 32, 32, 32, generator=generator)  # 2 MB and more a result
    kernel = torch.randn(8, 8, 3, 3, 3, generator=generator, requires_grad=True)
    torch.nn.functional.conv3d(image, kernel).square().sum().backward()
    return kernel.grad


@pytest.mark.skipif(not HAS_GLIBC, reason="the C library is not glibc")
def test_glibc_keeps_it_and_numbers_stay():
    before = convolved()
    assert keep_freed_memory() is True
    assert keep_freed_memory() is True  # as often as one likes
    assert torch.equal(convolved(), before)


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", None)  # not even opened
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False


@pytest.mark.parametrize("library", [object(), OSError("no such library")])
def test_another_c_library_has_no_such_setting(monkeypatch, library):
    def opened(name: str | None) -> object:
        if isinstance(library, OSError):
            raise library
        return library

    monkeypatch.setattr(ctypes, "CDLL", opened)
    assert keep_freed_memory() is False


def test_zeros_of_their_own():
    found = zeros_of_their_own((3, 5, 7), torch.device("cpu"))
    assert (found.shape, found.dtype, int(found.count_nonzero())) == ((3, 5, 7), torch.float32, 0)
    found[1:].add_(2.0)
    part = found[1, 2]
    del found
    assert part.tolist() == [2.0] * 7  # the memory lives as long as what refers to it


PEAK = """
import sys
import torch
from llmseg_cli.artifacts.manifest import peak_rss_mb
from llmseg_cli.numerics.memory import keep_freed_memory, zeros_of_their_own
keep_freed_memory()
device, small = torch.device("cpu"), []
zeros = zeros_of_their_own if sys.argv[1] == "own" else torch.zeros
for turn in range(4):
    large = zeros((100 << 18,), device=device).add_(1)  # 100 MB
    del large
    small.append(torch.ones(5 << 18))  # stays, and would lie where the large one was
sys.stdout.write(str(peak_rss_mb()))
"""


@pytest.mark.skipif(not HAS_GLIBC, reason="the C library is not glibc")
def test_what_is_large_leaves_no_hole():
    own, torchs = (
        subprocess.run(
            [sys.executable, "-c", PEAK, whose], capture_output=True, text=True, check=True
        ).stdout
        for whose in ("own", "torch")
    )
    assert float(own) < float(torchs) - 80


def test_too_much_is_a_lack_of_memory():
    with pytest.raises(MemoryError, match="bytes"):
        zeros_of_their_own((1 << 45,), torch.device("cpu"))
