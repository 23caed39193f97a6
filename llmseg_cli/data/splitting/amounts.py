"""How many cases: a fraction, a count or all, as people type it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from llmseg_cli.errors import UsageError

ALL = "all"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Amount:
    """A fraction of something, or a count.

    Args:
        text: As it was typed.
        fraction: Share in (0, 1], 1 for all, or None.
        count: Number of cases, or None; exactly one of the two is given.
    """

    text: str
    fraction: float | None = None
    count: int | None = None

    @property
    def is_all(self) -> bool:
        """Whether it is all that is there."""
        return self.fraction == 1

    def of(self, total: int) -> int:
        """The number of cases: the count, or the fraction of *total*, rounded, at least 1."""
        if self.count is not None:
            return self.count
        return max(1, math.floor((self.fraction or 0.0) * total + 0.5))


def parse_amount(text: str, *, flag: str, allow_none: bool = False) -> Amount | None:
    """Read `0.2` and `20%` as a fraction, `8` as a count, and `all`, `1.0` and `100%` as all.

    Args:
        text: What was typed.
        flag: The option, for the message.
        allow_none: Take 0 as none, instead of refusing it.

    Returns:
        None for 0.

    Raises:
        UsageError: If it is neither a fraction in (0, 1] nor a positive whole number.
    """
    wanted = "a fraction such as 0.2 or 20%, a count such as 8, or all"
    typed = text.strip()
    if typed.lower() == ALL:
        return Amount(text, fraction=1.0)
    is_percent = typed.endswith("%")
    number = typed.removesuffix("%").rstrip()
    if not _NUMBER.fullmatch(number):
        raise UsageError(f"{flag} '{text}': expected {wanted}.")
    value = float(number) / (100 if is_percent else 1)
    if value == 0 and allow_none:
        return None
    if value <= 0:
        raise UsageError(f"{flag} {text}: expected more than 0; {wanted}.")
    if not is_percent and re.fullmatch(r"\+?\d+", number):
        return Amount(text, count=int(number))
    if value > 1:
        raise UsageError(
            f"{flag} {text}: a fraction is at most 1.0 or 100%, a count is a whole number; "
            f"expected {wanted}."
        )
    return Amount(text, fraction=value)


def shares_in_words(amounts: Mapping[str, Amount | None], total: int, of: str) -> str:
    """What fractions come to, in a sentence; empty if there are none.

    Args:
        amounts: Option to amount.
        total: How many cases there are.
        of: What they are.
    """
    parts = [
        f"--{name} {amount.text} is {amount.of(total)}"
        for name, amount in amounts.items()
        if amount is not None and amount.fraction is not None and not amount.is_all
    ]
    return f"Fractions are of the {total} {of}: {', '.join(parts)}." if parts else ""
