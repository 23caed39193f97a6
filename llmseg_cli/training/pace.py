"""How fast training goes, and how long it still takes."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from llmseg_cli.numerics.free_memory import resident_bytes

WINDOW = 20  # steps whose mean is the pace


class Pace:
    """Measures steps and, apart from them, what interrupts them, such as validation.

    The first step of a process takes longer than all others, so it counts only until the second.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps: deque[float] = deque(maxlen=WINDOW)
        self._is_warm = False
        self._last = clock()
        self._paused = 0.0
        self.validation_s = 0.0  # of the last one

    def start(self) -> None:
        """A step begins now."""
        self._last, self._paused = self._clock(), 0.0

    def step(self) -> None:
        """A step ends now, and the next one begins."""
        now = self._clock()
        if len(self._steps) == 1 and not self._is_warm:
            self._steps.clear()
            self._is_warm = True
        self._steps.append(max(0.0, now - self._last - self._paused))
        self._last, self._paused = now, 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done within is no part of a step."""
        begun = self._clock()
        try:
            yield
        finally:
            self._paused += self._clock() - begun

    @contextmanager
    def validating(self) -> Iterator[None]:
        """The same for a validation, which will come again."""
        begun = self._clock()
        with self.paused():
            yield
        self.validation_s = self._clock() - begun

    @property
    def step_s(self) -> float | None:
        """Seconds a step, or None before the first."""
        return sum(self._steps) / len(self._steps) if self._steps else None

    def left_s(self, steps: int, validations: int) -> float:
        """Seconds that so many steps and validations still take."""
        return steps * (self.step_s or 0.0) + validations * self.validation_s


def memory_mb(device: torch.device) -> float | None:
    """MB that this process has of the GPU, or on a CPU of the machine now; None if nobody says.

    It does not wait for the GPU.
    """
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device) / 1e6
    taken = resident_bytes()
    return None if taken is None else taken / 2**20  # as `peak_rss_mb` of run.json
