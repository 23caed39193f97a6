"""How a workflow tells how far it is, without knowing who listens, and its values in words."""

from collections.abc import Callable, Mapping
from typing import Protocol

UNITS = {
    "train": "step",
    "time": "step",
    "share": "share",
    **dict.fromkeys(("prepare", "validate", "mine", "calibrate"), "case"),
}
LEFT = "left_s"  # the value that says how long it still takes


class Progress(Protocol):
    """Called after each unit of work."""

    def __call__(self, phase: str, done: int, total: int, **values: float | str) -> None:
        """Report that *done* of *total* units of *phase* are finished.

        Args:
            phase: What is being done, such as `train` or `predict`.
            done: Units finished so far; 0 says that the phase begins.
            total: Units in all.
            values: What else may interest a reader, such as `loss=0.3`. Those of `WORDS` and
                `left_s`, the seconds that are left, are said with their units.
        """


def silent(phase: str, done: int, total: int, **values: float | str) -> None:
    """A `Progress` that says nothing."""


def duration(seconds: float) -> str:
    """Seconds as people say them: `45 s`, `12 min`, `3.5 h`, `2.1 days`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def memory(megabytes: float) -> str:
    """An amount of memory: `850 MB`, `1.2 GB`."""
    if megabytes < 999.5:
        return f"{megabytes:.0f} MB"
    return f"{megabytes / 1000:.{1 if megabytes < 99_950 else 0}f} GB"


WORDS: Mapping[str, Callable[[float], str]] = {
    "step_s": lambda value: f"{value:.2g} s/step" if value < 9.95 else f"{value:.0f} s/step",
    "loss": lambda value: f"loss {value:.3g}",
    "validation_dice": lambda value: f"Dice {value:.3f}",
    "memory_mb": memory,
}


def in_words(values: Mapping[str, float | str]) -> str:
    """Values of a report in one line, but for the time that is left."""
    return " ".join(_said(name, value) for name, value in values.items() if name != LEFT)


def _said(name: str, value: float | str) -> str:
    if name in WORDS and not isinstance(value, str):
        return WORDS[name](value)
    return f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
