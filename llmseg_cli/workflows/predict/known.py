"""What runs that answer have learned from: what they must not be asked, and what is told of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.artifacts.learned import Learned
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import Case
from llmseg_cli.data.digests import former_digest
from llmseg_cli.workflows.runs.folders import short_names
from llmseg_cli.workflows.runs.learned import (
    learned_by,
    refuse_answers,
    says_what_it_learned,
    some,
)


@dataclass(frozen=True)
class Knowledge:
    """What each of several runs has learned from; a mean of them has learned from all of it.

    Args:
        learned: Run folder to what it learned from; None if it does not say.
        checkpoint: `final`, or `best`, which was chosen by validation cases.
        roles: The split that cases are asked by, or None.
    """

    learned: Mapping[Path, Learned | None]
    checkpoint: str
    roles: Split | None = None

    @classmethod
    def of(
        cls, folders: Sequence[Path], cases: Sequence[Case], split: Path | None, checkpoint: str
    ) -> "Knowledge":
        """What runs say of themselves.

        Raises:
            ArtifactError: If a split locks cases, and a run does not say what it learned from.
            PolicyError: If a run knows one of the held-out cases.
        """
        learned = {
            folder: learned_by(folder) if split or says_what_it_learned(folder) else None
            for folder in folders
        }
        found = cls(learned, checkpoint, None if split is None else Split.load(split))
        found._refuse([case.id for case in cases])
        return found

    def refuse(self, case: str, voxels: str) -> None:
        """Refuse a held-out case whose voxels a run knows; raises `PolicyError`."""
        self._refuse([case], {case: voxels})

    def _refuse(self, cases: Sequence[str], voxels: Mapping[str, str] | None = None) -> None:
        if self.roles is None:
            return
        for folder, learned in self.learned.items():
            if learned is not None:
                refuse_answers(
                    folder, learned, self.roles, cases, checkpoint=self.checkpoint, voxels=voxels
                )

    def of_masks(self, journal: Journal, cases: Sequence[Case]) -> dict[str, Any]:
        """Which of the masks are of cases that a run knows, for `run.json` and `score`."""
        union = union_of([one for one in self.learned.values() if one is not None])
        if union is None:
            return {"learned": None, "training_cases": [], "choosing_cases": []}
        done = [case for case in cases if case.id in journal.entries]  # others may be unreadable
        images = {
            case.id: {journal.entries[case.id].image, *filter(None, (former_digest(case),))}
            for case in done
        }
        voxels = {case.id: journal.entries[case.id].details.get("voxels", "") for case in done}
        return union.known(images, self.checkpoint, voxels)

    def warnings(self, known: Mapping[str, Any]) -> tuple[str, ...]:
        """What a reader should know; *known* as of `of_masks`."""
        found = []
        names_of = zip(short_names([*self.learned]), self.learned.values(), strict=True)
        if silent := [name for name, learned in names_of if learned is None]:
            who = f"{len(silent)} of the runs ({some(silent)})"
            who = "The run" if len(self.learned) == 1 else who
            does, they = ("does", "it") if len(silent) == 1 else ("do", "they")
            found.append(
                f"{who} {does} not say which cases {they} learned from, so 'score' cannot tell."
            )
        if names := known["training_cases"]:
            who = "the run has" if len(self.learned) == 1 else "a run has"
            found.append(
                f"{len(names)} of the masks are of cases that {who} learned from "
                f"({some(names)}); 'score' takes them with --subset labeled or unlabeled alone."
            )
        return tuple(found)


def union_of(several: Sequence[Learned]) -> Learned | None:
    """What several runs have learned from together; None of none."""
    if len(several) < 2:
        return several[0] if several else None
    splits = sorted({one.split for one in several})

    def all_of(name: str) -> tuple[str, ...]:
        return tuple(sorted({digest for one in several for digest in getattr(one, name)}))

    return Learned(
        split=splits[0] if len(splits) == 1 else sha256_json(splits),
        trained=all_of("trained"),
        chose=all_of("chose"),
        trained_voxels=all_of("trained_voxels"),
        chose_voxels=all_of("chose_voxels"),
    )
