"""How a workflow tells how far it is, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """Called after each unit of work."""

    def __call__(self, phase: str, done: int, total: int, **values: float | str) -> None:
        """Report that *done* of *total* units of *phase* are finished.

        Args:
            phase: What is being done, such as `train` or `predict`.
            done: Units finished so far.
            total: Units in all.
            values: What else may interest a reader, such as `loss=0.3`.
        """


def silent(phase: str, done: int, total: int, **values: float | str) -> None:
    """A `Progress` that says nothing."""
