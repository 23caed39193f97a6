"""What a container (a cgroup of Linux) leaves of the machine."""

from pathlib import Path


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Processors that the cgroup (version 2 or 1) allows, or None for all.

    Args:
        root: Where `sys` is.
    """
    group = root / "sys" / "fs" / "cgroup"
    both = (_read(group / "cpu.max") or "").split()
    if not both:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        both = [part.strip() for name in names if (part := _read(group / "cpu" / name))]
    if len(both) != 2 or both[0] in ("max", "-1"):
        return None
    return int(both[0]) / int(both[1])


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes that the cgroup (version 2 or 1) allows, or None for all.

    Args:
        root: Where `sys` is.
    """
    group = root / "sys" / "fs" / "cgroup"
    found = _read(group / "memory.max") or _read(group / "memory" / "memory.limit_in_bytes")
    return int(found) if found and found.strip().isdecimal() else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # the file is absent where the fact does not exist
        return None
