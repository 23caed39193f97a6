"""A folder of trainings that differ in fold or seed alone, such as `OUT/fold-0/seed-1`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.errors import ArtifactError
from llmseg_cli.typed import fitted

PARTS = ("fold", "seed")  # outer folder, inner folder


@dataclass(frozen=True)
class Member:
    """A run of a set.

    Args:
        fold: Its fold; None if the set has one split for all.
        seed: Its seed; None if all have the same.
    """

    fold: int | None
    seed: int | None

    @property
    def folder(self) -> str:
        """Its folder within that of the set."""
        parts = zip(PARTS, (self.fold, self.seed), strict=True)
        return "/".join(f"{part}-{number}" for part, number in parts if number is not None)

    @property
    def words(self) -> str:
        """Such as `fold 0, seed 1`."""
        return self.folder.replace("/", ", ").replace("-", " ")


@dataclass(frozen=True, kw_only=True)
class RunOfSet:
    """What `run.json` of a set says of a run.

    Args:
        folder: Within that of the set.
        fold: Its fold, or None.
        seed: Its seed.
        steps: Of training.
        validation_dice_final: At the last step; None without validation cases.
        validation_dice_best: At the best step.
        best_step: That step.
    """

    folder: str
    fold: int | None
    seed: int
    steps: int
    validation_dice_final: float | None
    validation_dice_best: float | None
    best_step: int | None


def load_set(folder: Path) -> tuple[RunOfSet, ...] | None:
    """The runs of a finished set; None if the folder is none.

    Args:
        folder: As `train-sup` and `train-semi` write it for folds or seeds.

    Raises:
        ArtifactError: If its `run.json` is damaged.
    """
    if not (folder / MANIFEST).is_file():
        return None
    details: dict[str, Any] = {**load_manifest(folder)["details"]}
    if "runs" not in details:
        return None
    name = f"{folder / MANIFEST}: details.runs"
    found: tuple[RunOfSet, ...] = fitted(
        details["runs"], tuple[RunOfSet, ...], name=name, error=ArtifactError
    )
    return found


def is_set(folder: Path) -> bool:
    """Whether a folder holds those of folds or seeds."""
    return any(numbers_in(folder, part) for part in PARTS)


def member_folder(folder: Path, *, fold: int | None, seed: int, flag: str) -> Path:
    """The folder of a fold and seed within *folder*; *folder* itself where it is not of several.

    Args:
        folder: Of a set of runs, or of one run (or what was made from it, named alike).
        fold: The fold that is wanted; None for a split that is none.
        seed: The seed that is wanted.
        flag: The option that named the folder, for messages.

    Raises:
        ArtifactError: If the set has no such fold or seed.
    """
    found = folder
    for part, number in zip(PARTS, (fold, seed), strict=True):
        own = numbers_in(found, part)
        if not own:
            continue
        if number not in own:
            wanted = f"and {part} {number} is wanted" if number is not None else "and none is meant"
            raise ArtifactError(
                f"{flag} {found} has the {part}s {', '.join(map(str, own))}, {wanted}. Name one, "
                f"such as {found / f'{part}-{own[0]}'}."
            )
        found = found / f"{part}-{number}"
    return found


def numbers_in(folder: Path, part: str) -> list[int]:
    """The numbers of the folders `PART-0`, `PART-1`, ... in a folder, ascending.

    Args:
        folder: Of runs, or of what was made from them.
        part: One of `PARTS`.
    """
    if not folder.is_dir():
        return []
    names = (re.fullmatch(rf"{part}-(0|[1-9]\d*)", path.name) for path in folder.iterdir())
    return sorted(int(name[1]) for name in names if name and (folder / name[0]).is_dir())
