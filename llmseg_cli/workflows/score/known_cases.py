"""Which masks are of cases that their run has learned from; their scores would flatter it."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.learned import Learned
from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.digests import label_digest
from llmseg_cli.data.naming import stem
from llmseg_cli.errors import DataError, PolicyError

SHOWN = 3


@dataclass(frozen=True)
class Known:
    """What a run knows of the cases whose masks it made.

    Args:
        trained: Digests of the images that its weights come from.
        chose: Digests of the images that chose its best checkpoint, if that made the masks.
        training_cases: Names of the masks of the former.
        choosing_cases: Names of the masks of the latter.
        training_masks: Digests of these masks, which other names do not change.
        choosing_masks: Likewise.
    """

    trained: frozenset[str] = frozenset()
    chose: frozenset[str] = frozenset()
    training_cases: frozenset[str] = frozenset()
    choosing_cases: frozenset[str] = frozenset()
    training_masks: frozenset[str] = frozenset()
    choosing_masks: frozenset[str] = frozenset()

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
        training = frozenset(details.get("training_cases", ()))
        choosing = frozenset(details.get("choosing_cases", ()))
        return cls(
            trained=frozenset(learned.trained),
            chose=frozenset(learned.chose if best else ()),
            training_cases=training,
            choosing_cases=choosing,
            training_masks=_masks_of(training, manifest["outputs"]),
            choosing_masks=_masks_of(choosing, manifest["outputs"]),
        )

    def trained_on(self, mask: "_Mask") -> bool:
        """Whether the run has learned from the case of a mask."""
        return (
            mask.name in self.training_cases
            or mask.digest in self.training_masks
            or not self.trained.isdisjoint(mask.images)
        )

    def chosen_by(self, mask: "_Mask") -> bool:
        """Whether a case chose the checkpoint that made its mask."""
        return (
            mask.name in self.choosing_cases
            or mask.digest in self.choosing_masks
            or not self.chose.isdisjoint(mask.images)
        )

    def look_at(self, mask: Path, images: Set[str]) -> "_Mask":
        """A mask as `trained_on` takes it; it is read only if its content can say something.

        Args:
            mask: The file.
            images: Digests of the image of its case, as far as they are known.
        """
        is_telling = self.training_masks or self.choosing_masks
        return _Mask(stem(mask), _digest(mask) if is_telling else None, images)


@dataclass(frozen=True)
class _Mask:
    name: str
    digest: str | None
    images: Set[str]


NOTHING_KNOWN = Known()


def _masks_of(cases: frozenset[str], outputs: Mapping[str, str]) -> frozenset[str]:
    """Digests that the masks of these cases have, and no others: empty masks are all alike."""
    own = {digest for name, digest in outputs.items() if stem(Path(name)) in cases}
    return frozenset(own - {d for name, d in outputs.items() if stem(Path(name)) not in cases})


def _digest(mask: Path) -> str | None:
    """As `run.json` has it; None of a mask that cannot be read, which scoring will say."""
    try:
        return f"sha256:{label_digest(mask)}"
    except DataError:
        return None


def maker_of(mask: Path) -> Mapping[str, Any] | None:
    """The `run.json` of a single mask that lies in a folder of `predict` or `mine-sam`."""
    if not (mask.parent / MANIFEST).is_file():
        return None
    manifest = load_manifest(mask.parent)
    outputs = manifest["outputs"]
    listed = mask.name in outputs or _digest(mask) in outputs.values()
    return manifest if listed else None


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
    found = {
        case: known.look_at(mask, roles.digests_of(case) if roles else set())
        for case, mask in masks.items()
    }
    trained = [case for case, mask in found.items() if known.trained_on(mask)]
    chose = [case for case, mask in found.items() if known.chosen_by(mask)]
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
        is_unlabeled = roles is not None and {*trained} <= {*roles.unlabeled}
        meaning = "their scores say nothing about new ones"
        if is_unlabeled:
            meaning = "unlabeled by this split: their scores are of these scans, not of new ones"
        warnings.append(
            f"{len(trained)} of {len(masks)} cases in {folder.name} are training cases of the run "
            f"({_some(trained)}); {meaning}."
        )
    if chose:
        warnings.append(
            f"The checkpoint that made {folder.name} was chosen by {len(chose)} of these cases."
        )
    return tuple(trained), tuple(warnings)


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
