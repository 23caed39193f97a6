"""`--labeled` beside a split that has its own number of labeled cases."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from llmseg_cli.artifacts.split import Split
from llmseg_cli.errors import UsageError

if TYPE_CHECKING:
    from llmseg_cli.data.splitting.amounts import Amount


def refuse_contradiction(found: Split, labeled: str, path: Path) -> None:
    """Refuse an amount of `--labeled` that the split of a file does not have.

    Raises:
        UsageError: Naming both.
    """
    from llmseg_cli.data.splitting.amounts import parse_amount

    amount = parse_amount(labeled, flag="--labeled")
    assert amount is not None  # only allow_none gives None
    own = len(found.labeled) + len(found.validation)
    total = own + len(found.unlabeled)
    if not _may_be(amount, found, own):
        raise UsageError(
            f"--labeled {labeled} contradicts {path}, which has {own} labeled cases of {total}. "
            "Leave one of the two out."
        )


def _may_be(amount: "Amount", found: Split, own: int) -> bool:
    """Whether a split may be of that amount; it does not say which unlabeled cases have maps."""
    if amount.is_all:
        return True
    largest_group = max(Counter(found.groups.values()).values(), default=1)
    slack = largest_group - 1 if amount.count is None else 0  # groups stay together
    fewest = own + len(found.test)
    most = fewest + len(found.unlabeled)
    return amount.of(fewest) - slack <= own <= amount.of(most) + slack
