"""What a user asks of `llmseg auto`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.folds import fold_name
from llmseg_cli.errors import ArtifactError


@dataclass(frozen=True)
class Wish:
    """What a user asks for.

    Args:
        data: The data set.
        out: The folder.
        budget_s: Seconds of everything.
        label_map: Label values to change, `FROM:TO`.
        ignore_label: Value of unknown voxels, or None.
        group_by: Regular expression of the patient, or None.
        test: Cases to lock as test, or None for what the number of labels allows.
        folds: Networks that validate each other; 0 for none, None for what labels and time allow.
        method: Way of learning from unlabeled scans, or None for the plan's.
        target: What is segmented, if the library is to describe it; None asks by the classes.
        seed: Seed of everything random.
        device: As of training.
    """

    data: Path
    out: Path
    budget_s: float
    label_map: tuple[str, ...] = ()
    ignore_label: int | None = None
    group_by: str | None = None
    test: str | None = None
    folds: int | None = None
    method: str | None = None
    target: str | None = None
    seed: int = 0
    device: str = "auto"

    @property
    def labels(self) -> list[str]:
        """The words of a command that reads label maps."""
        words = [word for change in self.label_map for word in ("--label-map", change)]
        ignored = [] if self.ignore_label is None else ["--ignore-label", str(self.ignore_label)]
        return [*words, *ignored]

    @property
    def on_device(self) -> list[str]:
        """The words of a command that computes."""
        return [] if self.device == "auto" else ["--device", self.device]


def refuse_other_wish(folder: Path, begun: Mapping[str, str], asked: Mapping[str, str]) -> None:
    """Refuse to go on with a course that was begun with other wishes.

    Args:
        folder: Of the course.
        begun: Name to wish when it began.
        asked: The same now.

    Raises:
        ArtifactError: Naming the wish, and what to do.
    """
    remedy = "Choose another -o, or pass --force instead of --resume to begin anew."
    for name, value in asked.items():
        if name not in begun:
            raise ArtifactError(
                f"{folder} holds a course of an earlier version, which knew no --{name}. {remedy}"
            )
        if begun[name] != value:
            raise ArtifactError(
                f"{folder} holds a course of another {name.removesuffix('_s')} ({begun[name]}, now "
                f"{value}). {remedy}"
            )


def first_fold(split: Path) -> Path:
    """The split, or the first fold of a folder of them; tests and unlabeled are those of all."""
    return split / fold_name(0) if split.suffix != ".json" else split
