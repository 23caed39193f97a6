"""Facts of the machine that files of Linux tell, and that containers limit."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.container import cpu_quota, memory_limit
from llmseg_cli.planning.fingerprint import Power

BF16_FLAGS = ("avx512_bf16", "amx_bf16", "amx_tile", "avx_vnni_bf16", "bf16", "svebf16")


@dataclass(frozen=True)
class Machine:
    """What there is.

    Args:
        bf16_flags: Instructions of the processor that speed up bfloat16.
        processors: Usable processors, as a container may limit them.
        processor_limit: What limits them, to be shown behind the number.
        memory: Usable memory in bytes.
        memory_limit: What limits it, to be shown behind the number.
        shared_memory: Bytes of /dev/shm, or None where there is none.
        driver: Version of the NVIDIA driver, or None.
    """

    bf16_flags: tuple[str, ...]
    processors: float
    processor_limit: str
    memory: int
    memory_limit: str
    shared_memory: int | None
    driver: str | None


def look_at_machine(root: Path = Path("/")) -> Machine:
    """Read the facts.

    Args:
        root: Where `proc`, `sys` and `dev` are.
    """
    present = float(os.cpu_count() or 1)
    allowed = min(
        present, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1e9
    )
    quota = cpu_quota(root)
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = memory_limit(root)
    shared = root / "dev" / "shm"
    return Machine(
        bf16_flags=bf16_flags(root),
        processors=min(allowed, quota or allowed),
        processor_limit=f" (of {present:g}; cgroup or affinity limit)"
        if min(allowed, quota or allowed) < present
        else "",
        memory=min(physical, limit or physical),
        memory_limit=" (cgroup limit)" if limit and limit < physical else "",
        shared_memory=shutil.disk_usage(shared).total if shared.is_dir() else None,
        driver=driver(root),
    )


def bf16_flags(root: Path) -> tuple[str, ...]:
    """The bfloat16 instructions that /proc/cpuinfo names, none where there is no such file."""
    text = _read(root / "proc" / "cpuinfo") or ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return tuple(flag for flag in BF16_FLAGS if flag in value.split())
    return ()


def driver(root: Path) -> str | None:
    """Version of the NVIDIA driver, or None."""
    text = _read(root / "proc" / "driver" / "nvidia" / "version")
    words = text.splitlines()[0].split() if text else []
    return next((word for word in words if word[0].isdigit() and "." in word), None)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # the file is absent where the fact does not exist
        return None


def look_at_power(device: str) -> Power:
    """What trains here.

    Args:
        device: As of training: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        ResourceError, UsageError: If there is no such device.
    """
    import torch

    from llmseg_cli.training.precision import choose_device

    machine = look_at_machine()
    processors, memory = max(1, int(machine.processors)), machine.memory
    chosen = choose_device(device)
    if chosen.type != "cuda":
        return Power(processors, memory)
    gpu = torch.cuda.get_device_properties(chosen)
    return Power(processors, memory, gpu.name, gpu.total_memory)
