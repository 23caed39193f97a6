"""What this machine has, and whether anything about it is known to give wrong results."""

import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.artifacts.document import llmseg_version
from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.weights.embedded import WEIGHTS, is_fetched, verify, weights_folder
from llmseg_cli.numerics.torchvision_operators import ensure_torchvision
from llmseg_cli.training.precision import BAD_CUDNN_BF16
from llmseg_cli.workflows.machine import Machine, look_at_machine

PACKAGES = ("numpy", "monai", "torchio", "transformers", "nibabel", "segment-anything", "openai")
LITTLE_SPACE = 2 * 1024**3  # the embedded weights and SmolLM2's converted form take 0.5 GB


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: What.
        value: What was found.
        verdict: `ok`, `info`, `warning` or `bad`.
        remedy: What to do about it; empty if nothing.
    """

    name: str
    value: str
    verdict: str = "ok"
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings."""

    findings: tuple[Finding, ...]

    @property
    def bad(self) -> tuple[Finding, ...]:
        """What gives wrong results."""
        return tuple(found for found in self.findings if found.verdict == "bad")

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "llmseg": llmseg_version(),
            "healthy": not self.bad,
            "findings": [asdict(found) for found in self.findings],
        }


def run(*, cache: Path | None = None) -> Diagnosis:
    """Look at the interpreter, the packages, the machine and the fetched weights.

    Args:
        cache: llmseg's cache folder, if it is not the usual one.
    """
    cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None  # type: ignore[no-untyped-call]
    return Diagnosis(
        (
            Finding("python", f"{platform.python_version()}, {platform.platform()}"),
            judge_torch(torch.__version__),
            judge_cudnn(cudnn),
            *_devices(),
            _torchvision(),
            *(_package(name) for name in PACKAGES),
            *_machine(look_at_machine()),
            _cache(cache or default_cache()),
            *(_weights(name, cache) for name in WEIGHTS),
        )
    )


def judge_torch(found: str) -> Finding:
    """Torch 2.9 computes 3D convolutions under autocast slowly or wrongly."""
    if found.split("+")[0].split(".")[:2] == ["2", "9"]:
        return Finding(
            "torch",
            found,
            "bad",
            "torch 2.9 computes 3D convolutions under autocast slowly or wrongly. Install another: "
            "python -m pip install 'torch>=2.10'",
        )
    return Finding("torch", found)


def judge_cudnn(found: int | None) -> Finding:
    """Versions 9.8 to 9.10 of cuDNN may compute bfloat16 3D convolutions wrongly (pytorch#163539).

    Args:
        found: As torch gives it, such as 91002, or None without CUDA.
    """
    if found is None:
        return Finding("cuDNN", "none", "info")
    shown = f"{found // 10000}.{found % 10000 // 100}.{found % 100}"
    if found in BAD_CUDNN_BF16:
        return Finding(
            "cuDNN",
            shown,
            "bad",
            "cuDNN 9.8 to 9.10 may compute bfloat16 3D convolutions wrongly. Train with "
            "--precision fp32 or fp16, or run: python -m pip install 'nvidia-cudnn-cu12>=9.11'",
        )
    return Finding("cuDNN", shown)


def _devices() -> list[Finding]:
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"no CUDA device (torch is built for CUDA {built})" if built else "CPU build of torch"
        return [Finding("GPU", why, "info")]
    found = []
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        memory = device.total_memory / 1024**3
        found.append(Finding(f"GPU {index}", f"{device.name}, {memory:.0f} GiB"))
    return found


def _torchvision() -> Finding:
    name = "torchvision"
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(name, "not installed", "info")
    if ensure_torchvision():
        return Finding(
            name,
            f"{found}, its operators do not fit this torch",
            "info",
            "Nothing to do: llmseg uses its own nms.",
        )
    return Finding(name, f"{found}, native operators")


def _package(name: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "not installed", "info")


def _machine(machine: Machine) -> list[Finding]:
    flags = ", ".join(machine.bf16_flags) or "none"
    processors = f"{machine.processors:g} processors"
    found = [
        Finding("bfloat16 instructions", flags, "ok" if machine.bf16_flags else "info"),
        Finding("processors", f"{processors}{machine.processor_limit}"),
        Finding("memory", f"{_gib(machine.memory)}{machine.memory_limit}"),
    ]
    if machine.driver:
        found.append(Finding("NVIDIA driver", machine.driver))
    if machine.shared_memory is not None:
        found.append(Finding("/dev/shm", _gib(machine.shared_memory)))
    return found


def _cache(folder: Path) -> Finding:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files)
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    value = f"{folder}: {_gib(size)} used, {_gib(free)} free"
    if free < LITTLE_SPACE:
        return Finding("cache", value, "warning", "Free some disk, or set LLMSEG_CACHE.")
    return Finding("cache", value)


def _weights(name: str, cache: Path | None) -> Finding:
    label = f"weights {name}"
    if not is_fetched(name, cache=cache):
        return Finding(label, "absent", "info", f"llmseg weights fetch {name}")
    try:
        verify(name, cache=cache)
    except WeightsError as error:
        return Finding(label, str(error), "bad", f"llmseg weights fetch {name}")
    return Finding(label, f"verified, in {weights_folder(name, cache=cache)}")


def _gib(size: float) -> str:
    return f"{size / 1024**3:.1f} GiB"
