"""A budget of time instead of a number of steps."""

import time
from collections.abc import Callable

UNKNOWN = 1000  # steps, where they took no time that a clock could tell


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

    def steps(self, done: int, *, step_s: float, validation_s: float, validate_every: int) -> int:
        """Steps in all, if they go on as they went; *done* when there is no time for another.

        Args:
            done: Steps up to now.
            step_s: Seconds of a step.
            validation_s: Seconds of a validation, of which there is one at the end, too.
            validate_every: Steps between two validations.
        """
        is_due = done % validate_every == 0  # one now, and one at the end
        left = self.budget_s - self.used_s - validation_s * (1 + is_due)
        if left < step_s / 2:
            return done
        each = step_s + validation_s / validate_every
        return done + max(1, round(left / each)) if each else done + UNKNOWN
