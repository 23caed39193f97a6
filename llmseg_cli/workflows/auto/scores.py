"""What `scores.json` says in one number."""

from pathlib import Path

from llmseg_cli.artifacts.scores import Scores


def dice_of(path: Path) -> float | None:
    """Mean Dice over classes and cases; None where it does not exist.

    Raises:
        ArtifactError: If the file cannot be read.
    """
    found = Scores.load(path).metrics["dice"]["mean"]
    return None if found is None else float(found)
