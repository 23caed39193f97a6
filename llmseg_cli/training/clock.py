"""A budget of time instead of a number of steps."""

import time
from collections.abc import Callable


class Clock:
    """Lays the steps of a training over a budget, and anew as the pace changes.

    Args:
        budget_s: Seconds of all steps and what interrupts them.
        used_s: Seconds that an earlier process used of it.
        now: Seconds.
    """

    def __init__(
        self, budget_s: float, *, used_s: float = 0.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.budget_s, self._now = budget_s, now
        self._begun = now() - used_s

    def start(self, used_s: float) -> None:
        """The steps begin now."""
        self._begun = self._now() - used_s

    @property
    def used_s(self) -> float:
        """Seconds up to now."""
        return self._now() - self._begun

    def steps(self, done: int, *, step_s: float | None, ending_s: float) -> int:
        """Steps in all, if they go on as they went; *done* when there is no time for another.

        Args:
            done: Steps up to now.
            step_s: Seconds of a step; None before the first is known.
            ending_s: Seconds that the last validation takes.
        """
        left = self.budget_s - self.used_s - ending_s
        if done and left < (step_s or 0.0) / 2:
            return done
        return done + max(1, round(left / step_s)) if step_s else done + 1000
