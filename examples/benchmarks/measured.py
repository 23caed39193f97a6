"""A command in a process of its own: its time by the clock, and by the processors, and memory."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LAST_LINES = 12  # of a log, when a command fails


class FailedError(Exception):
    """A command has not ended well; the message has the last lines that it said."""


@dataclass(frozen=True)
class Measured:
    """What a command took.

    Args:
        wall_s: By the clock.
        cpu_s: Of the processors, user and system, its ended children included.
        peak_mb: Resident memory of the largest of its processes.
        load: Work that waited for a processor when it began (mean of the minute before).
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    load: float

    def __add__(self, other: "Measured") -> "Measured":
        """One command after the other."""
        return Measured(
            self.wall_s + other.wall_s,
            self.cpu_s + other.cpu_s,
            max(self.peak_mb, other.peak_mb),
            self.load,
        )

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


def limited(threads: int) -> dict[str, str]:
    """This process' environment, with as many threads for whatever counts them itself."""
    names = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "BLOSC")
    return {**os.environ, **{f"{name}_NUM_THREADS": str(threads) for name in names}}


def measure(
    words: Sequence[str], log: Path, *, cores: Sequence[int], environment: Mapping[str, str]
) -> Measured:
    """Run a command on these cores alone; what it prints goes to *log*.

    Call it in a thread of its own to have another command on other cores meanwhile.

    Raises:
        FailedError: If it does not end with 0.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)  # of this thread; its children inherit it
    load = os.getloadavg()[0]
    start = time.monotonic()
    with log.open("ab") as said:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        raise FailedError(
            "\n".join([f"'{' '.join(words)}' ended with {process.returncode}:", *last])
        )
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, load)
