"""Steps of a training that has a time to end, and how far along it is.

No tool of the comparison but llmseg knows a budget. Each rival's own loop asks a `Pace`: after the
first steps have been timed, the number of steps is what fits, and its own schedule of the learning
rate is laid over them. The number is worked out anew at every step, so that a machine that becomes
busy or idle neither cuts the schedule off nor stretches it.
"""

import time
from collections import deque
from collections.abc import Callable

FIRST_STEPS = 2  # which set up kernels and memory, and are not timed
RECENT = 50  # steps whose mean foretells the next ones


def steps_that_fit(seconds: float, seconds_per_step: float) -> int:
    """Whole steps that end within *seconds*; 0 if there is no time.

    Raises:
        ValueError: If a step takes no time.
    """
    if seconds_per_step <= 0:
        raise ValueError(f"a step of {seconds_per_step} s; expected more than 0")
    return max(0, int(seconds / seconds_per_step))


class Pace:
    """Counts steps until a deadline.

    Args:
        deadline: Time at which the last step has ended, by *clock*.
        clock: Seconds of any origin; a deadline from another process needs the default, the date.
    """

    def __init__(self, deadline: float, *, clock: Callable[[], float] = time.time) -> None:
        self.deadline = deadline
        self.clock = clock
        self.done = 0
        self._ends: deque[float] = deque(maxlen=RECENT + 1)

    def tick(self) -> None:
        """A step has ended."""
        self.done += 1
        if self.done >= FIRST_STEPS:
            self._ends.append(self.clock())

    @property
    def seconds_per_step(self) -> float | None:
        """Mean of the recent steps; None while none is timed."""
        if len(self._ends) < 2:
            return None
        return (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)

    @property
    def total(self) -> int | None:
        """Steps in all, as foretold now; None while no step is timed."""
        each = self.seconds_per_step
        if each is None:
            return None
        return self.done + steps_that_fit(self.deadline - self.clock(), max(each, 1e-9))

    @property
    def progress(self) -> float:
        """Share of the training that is done: 0 while no step is timed, 1 when it has to end."""
        if self.clock() >= self.deadline:
            return 1.0
        total = self.total
        return 0.0 if total is None else self.done / total


def poly(progress: float, power: float) -> float:
    """Factor of the learning rate at *progress* from 0 to 1: `(1 - progress) ** power`."""
    return (1.0 - progress) ** power
