"""Which masks are of cases that their run has learned from; their scores would flatter it."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.learned import Learned
from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.naming import stem
from llmseg_cli.errors import PolicyError

SHOWN = 3


@dataclass(frozen=True)
class Known:
    """What a run knows of the cases whose masks it made.

    Args:
        trained: Digests of the images that its weights come from.
        chose: Digests of the images that chose its best checkpoint, if that made the masks.
        training_cases: Names of the masks of the former.
        choosing_cases: Names of the masks of the latter.
    """

    trained: frozenset[str] = frozenset()
    chose: frozenset[str] = frozenset()
    training_cases: frozenset[str] = frozenset()
    choosing_cases: frozenset[str] = frozenset()

    @classmethod
    def of(cls, manifest: Mapping[str, Any], *, name: str) -> "Known":
        """From the manifest of `predict` or `mine-sam`; an older one says nothing.

        Args:
            manifest: The content of `run.json`.
            name: The file, for messages.
        """
        details = manifest["details"]
        if details.get("learned") is None:
            return NOTHING_KNOWN
        learned = Learned.from_dict(details["learned"], name=f"{name}: learned")
        best = details.get("checkpoint") == "best"
        return cls(
            frozenset(learned.trained),
            frozenset(learned.chose if best else ()),
            frozenset(details.get("training_cases", ())),
            frozenset(details.get("choosing_cases", ())),
        )

    def trained_on(self, mask: str, images: Set[str]) -> bool:
        """Whether the run has learned from a case, by the name of its mask or its digests."""
        return mask in self.training_cases or bool(images & self.trained)

    def chosen_by(self, mask: str, images: Set[str]) -> bool:
        """Whether a case chose the checkpoint that made its mask."""
        return mask in self.choosing_cases or bool(images & self.chose)


NOTHING_KNOWN = Known()


def maker_of(mask: Path) -> Known | None:
    """What is known of a single mask that lies in a folder of `predict` or `mine-sam`."""
    if not (mask.parent / MANIFEST).is_file():
        return None
    manifest = load_manifest(mask.parent)
    listed = mask.name in manifest["outputs"]
    return Known.of(manifest, name=str(mask.parent / MANIFEST)) if listed else None


def check_known(
    folder: Path, masks: Mapping[str, Path], known: Known, roles: Split | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Refuse scores that flatter a run.

    Args:
        folder: The predictions, for messages.
        masks: Case to its mask, of those that are to be scored.
        known: What the run that made them knows.
        roles: The split that chose the cases, or None.

    Returns:
        The cases that the run has learned from, and what a reader should know of them; they were
        asked for by their role.

    Raises:
        PolicyError: If the run has learned from a test or validation case, if the masks are of its
            best checkpoint and a test case chose it, or if no role says that training cases are
            meant.
    """
    names = {
        case: (stem(mask), roles.digests_of(case) if roles else set())
        for case, mask in masks.items()
    }
    trained = [case for case, found in names.items() if known.trained_on(*found)]
    chose = [case for case, found in names.items() if known.chosen_by(*found)]
    held_out = {*roles.test, *roles.validation} if roles else {*masks}
    tests = {*roles.test} if roles else {*masks}
    for cases, locked, knows in (
        (trained, held_out, "has learned from"),
        (chose, tests, "chose its best checkpoint by"),
    ):
        if flattering := [case for case in cases if case in locked]:
            raise PolicyError(
                f"The run that made {folder} {knows} {len(flattering)} of these cases "
                f"({_some(flattering)}), so their scores would flatter it. Score its held-out "
                "cases with the --split of the run, or name a training role on purpose, such as "
                "--split FILE --subset labeled."
            )
    warnings = []
    if trained:
        warnings.append(
            f"{len(trained)} of {len(masks)} cases in {folder.name} are training cases of the run "
            f"({_some(trained)}); their scores say nothing about new ones."
        )
    if chose:
        warnings.append(
            f"The checkpoint that made {folder.name} was chosen by {len(chose)} of these cases."
        )
    return tuple(trained), tuple(warnings)


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
