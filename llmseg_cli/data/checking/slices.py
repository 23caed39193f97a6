"""Whether cases of one slice are slices of a few scans, and nothing says so."""

import re
from collections import Counter
from collections.abc import Sequence

from llmseg_cli.data.case import Fault
from llmseg_cli.data.checking.case import CaseCheck

FEWEST_SLICES = 2  # of a scan, and scans
_SLICE = re.compile(r"(.+?)([_\-. ](?:(?:slice|sl|s|z|frame|img|image)[_\-]?)?)\d+", re.IGNORECASE)


def find_slices(checks: Sequence[CaseCheck]) -> list[Fault]:
    """A warning if one-slice cases share names but for a last number, and no case has a group."""
    flat = [check.case for check in checks if check.grid and check.grid.ras_shape[2] == 1]
    if not flat or any(check.case.group for check in checks):
        return []
    matches = {case.id: _SLICE.fullmatch(case.id) for case in flat}
    scans = Counter(match[1] for match in matches.values() if match)
    several = [name for name, count in scans.items() if count >= FEWEST_SLICES]
    if len(several) < FEWEST_SLICES or sum(scans[name] for name in several) < len(flat) / 2:
        return []
    example = next(name for name, match in matches.items() if match and match[1] == several[0])
    match = matches[example]
    assert match is not None  # several come from matches
    pattern = f"(.+){re.escape(match[2])}[0-9]+$".replace(r"\-", "-")
    return [
        Fault(
            "groups",
            "",
            "",
            f"{len(flat)} cases of one slice, of which those of {len(several)} names (such as "
            f"{example}, of {several[0]}) seem to belong together",
            "",
            f"Keep them in one role with --group-by '{pattern}', or neighbors of training slices "
            "may test.",
            is_warning=True,
        )
    ]
