"""Decisions of one example, whoever makes them: hypothesis, or a list of numbers."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

POWERS = (7, 8, 15, 16, 31, 32, 53, 63, 64)
NUMBERS = (0, 1, -1, 2, 3, 4, 5, 7, 255, 1000, 30000, *(2**p for p in POWERS), *(
    2**p - 1 for p in POWERS
), *(-(2**p) for p in POWERS))  # fmt: skip
REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e-7, 1e30, 3.4e38, 1e300)
ODD_REALS = (*REALS, float("nan"), float("inf"), float("-inf"))


class Choices:
    """Small questions, all asked of one that draws whole numbers.

    Args:
        whole: Draws a whole number from a first to a last one, both included.
    """

    def __init__(self, whole: Callable[[int, int], int]) -> None:
        self.whole = whole

    def pick(self, options: Sequence[T]) -> T:
        """One of several."""
        return options[self.whole(0, len(options) - 1)]

    def chance(self, one_in: int) -> bool:
        """True once in so many."""
        return self.whole(1, one_in) == one_in

    def place(self, size: int) -> int:
        """An index into something of *size* items, 0 if it is empty."""
        return self.whole(0, max(size - 1, 0))

    def number(self) -> int:
        """A whole number of the kind that programs get wrong."""
        return self.pick(NUMBERS)

    def real(self) -> float:
        """A real number of that kind, not always finite."""
        return self.pick(ODD_REALS)
