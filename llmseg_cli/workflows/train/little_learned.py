"""Whether a method learned from unlabeled voxels at all, as its log tells."""

from pathlib import Path
from statistics import fmean

from llmseg_cli.training.log import OBSERVED, logged

SHARES = ("confident", "certain")  # what methods call the share of unlabeled voxels that they take
LITTLE = 0.1


def little_learned(folder: Path) -> list[str]:
    """A sentence where a method took few of the unlabeled voxels, on average over the log.

    Args:
        folder: Of the run.

    Raises:
        ArtifactError: If a line of the log is damaged.
    """
    lines = logged(folder)
    found = []
    for name in (f"{OBSERVED}{share}" for share in SHARES):
        shares = [float(line[name]) for line in lines if name in line]
        if shares and fmean(shares) < LITTLE:
            found.append(
                f"The teacher was sure of {100 * fmean(shares):.1f} % of the unlabeled voxels "
                f"({name} in log.jsonl), so this run learned nearly from labels alone. Networks "
                "become sure late: give it more --steps, and --init a run that had more."
            )
    return found
