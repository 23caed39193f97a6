"""The machine that a command ran on, as far as it matters for its speed; no name of a host."""

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.container import cpu_quota, memory_limit

MODEL = re.compile(r"^(?:model name|Model)\s*:\s*(.+)$", re.MULTILINE)


def hardware(root: Path = Path("/")) -> dict[str, Any]:
    """Processor, cores and memory, as a container limits them; if torch is loaded, threads and GPU.

    Args:
        root: Where `proc` and `sys` are.
    """
    found: dict[str, Any] = {
        "cpu": cpu_model(root),
        "cores": _cores(root),
        "memory_gb": _memory_gb(root),
        "gpu": None,
    }
    if (torch := sys.modules.get("torch")) is not None:  # a command without it has no use for it
        found["torch_threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name()
    return found


def cpu_model(root: Path = Path("/")) -> str:
    """What the processor is called."""
    path = root / "proc" / "cpuinfo"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    match = MODEL.search(text)
    return " ".join(match[1].split()) if match else platform.processor() or platform.machine()


def _cores(root: Path) -> float:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    present = usable or os.cpu_count() or 1
    quota = cpu_quota(root)
    return present if quota is None else min(present, quota)


def _memory_gb(root: Path) -> float | None:
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a Unix, or one that does not say
        return None
    limit = memory_limit(root)
    return round((pages if limit is None else min(pages, limit)) / 1e9, 1)
