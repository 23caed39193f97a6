"""How much memory this process has, and how much it may still take."""

import os
import sys
from pathlib import Path

KIB = 1024
CACHED_FILES = ("active_file", "inactive_file")  # counted as used by a group, but given up at need


def available_bytes(root: Path = Path("/")) -> int:
    """Bytes that can still be taken, by the machine, its container and the process's own limits.

    Args:
        root: Where `proc` and `sys` are.

    Returns:
        The least of them, not below 0; a huge number where nothing says how much there is.
    """
    left = (_of_machine(root), _of_group(root), _of_group_1(root), *_of_process(root))
    return max(0, min(left))


def resident_bytes(root: Path = Path("/")) -> int | None:
    """Bytes of the machine's memory that this process has now, or None where nobody says.

    Args:
        root: Where `proc` is.
    """
    told = _text(root / "proc" / "self" / "statm").split()
    return int(told[1]) * os.sysconf("SC_PAGE_SIZE") if len(told) > 1 else None


def _of_machine(root: Path) -> int:
    found = _numbers(root / "proc" / "meminfo").get("MemAvailable:")
    return sys.maxsize if found is None else found * KIB


def _of_group(root: Path) -> int:
    """What a container leaves, by version 2 of cgroup."""
    group = root / "sys" / "fs" / "cgroup"
    names = ("memory.max", "memory.current", "memory.stat")
    return _left_of_group(*(group / name for name in names), prefix="")


def _of_group_1(root: Path) -> int:
    """The same by version 1."""
    group = root / "sys" / "fs" / "cgroup" / "memory"
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    return _left_of_group(*(group / name for name in names), prefix="total_")


def _left_of_group(limit: Path, used: Path, stat: Path, *, prefix: str) -> int:
    most, taken = _text(limit).strip(), _text(used).strip()
    if not most.isdecimal() or not taken.isdecimal():  # "max", or no such file
        return sys.maxsize
    told = _numbers(stat)
    return int(most) - int(taken) + sum(told.get(prefix + name, 0) for name in CACHED_FILES)


def _of_process(root: Path) -> tuple[int, ...]:
    """What `ulimit -v` and `ulimit -d` leave."""
    try:
        import resource
    except ImportError:  # not a Unix
        return ()
    told = _text(root / "proc" / "self" / "statm").split()
    if len(told) < 6:
        return ()
    page = os.sysconf("SC_PAGE_SIZE")
    limits = (resource.RLIMIT_AS, int(told[0])), (resource.RLIMIT_DATA, int(told[5]))
    return tuple(
        resource.getrlimit(kind)[0] - pages * page
        for kind, pages in limits
        if resource.getrlimit(kind)[0] != resource.RLIM_INFINITY
    )


def _numbers(path: Path) -> dict[str, int]:
    """Name to number, of a file with such a pair per line."""
    pairs = (line.split()[:2] for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # the file is absent where the fact does not exist
        return ""
