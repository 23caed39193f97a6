"""The machine that a command ran on, as far as it matters for its speed; no name of a host."""

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

MODEL = re.compile(r"^(?:model name|Model)\s*:\s*(.+)$", re.MULTILINE)


def hardware(root: Path = Path("/")) -> dict[str, Any]:
    """Processor, cores that may be used, memory, and, if torch is loaded, its threads and GPU.

    Args:
        root: Where `proc` is.
    """
    found: dict[str, Any] = {
        "cpu": cpu_model(root),
        "cores": _cores(),
        "memory_gb": _memory_gb(),
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


def _cores() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return usable or os.cpu_count() or 1


def _memory_gb() -> float | None:
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a Unix, or one that does not say
        return None
    return round(pages / 1e9, 1)
