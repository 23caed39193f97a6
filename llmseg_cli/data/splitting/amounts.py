"""How many cases: a fraction or a count, as people type it."""

import math
import re
from dataclasses import dataclass

from llmseg_cli.errors import UsageError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Amount:
    """A fraction of something, or a count.

    Args:
        text: As it was typed.
        fraction: Share in (0, 1], or None.
        count: Number of cases, or None; exactly one of the two is given.
    """

    text: str
    fraction: float | None = None
    count: int | None = None

    def of(self, total: int) -> int:
        """The number of cases: the count, or the fraction of *total*, rounded, at least 1."""
        if self.count is not None:
            return self.count
        return max(1, math.floor((self.fraction or 0.0) * total + 0.5))


def parse_amount(text: str, *, flag: str, allow_none: bool = False) -> Amount | None:
    """Read `0.2` as a fraction, `8` as a count and `1.0` as all.

    Args:
        text: What was typed.
        flag: The option, for the message.
        allow_none: Take 0 as none, instead of refusing it.

    Returns:
        None for 0.

    Raises:
        UsageError: If it is neither a fraction in (0, 1] nor a positive whole number.
    """
    wanted = "a fraction such as 0.2 or a count such as 8"
    if not _NUMBER.fullmatch(text.strip()):
        raise UsageError(f"{flag} '{text}': expected {wanted}.")
    value = float(text)
    if value == 0 and allow_none:
        return None
    if value <= 0:
        raise UsageError(f"{flag} {text}: expected more than 0; {wanted}.")
    if re.fullmatch(r"\s*\+?\d+\s*", text):
        return Amount(text, count=int(text))
    if value > 1:
        raise UsageError(
            f"{flag} {text}: a fraction is at most 1.0, a count is a whole number; expected "
            f"{wanted}."
        )
    return Amount(text, fraction=value)
