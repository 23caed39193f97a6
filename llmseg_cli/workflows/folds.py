"""What `llmseg split --folds` does."""

from dataclasses import dataclass, replace
from pathlib import Path

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.folds import NAME, fold_name
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest, recorded_outputs
from llmseg_cli.artifacts.own_folder import refuse_replacing
from llmseg_cli.artifacts.text import counted
from llmseg_cli.data.splitting.folds import Folds, make_folds
from llmseg_cli.data.splitting.roles import Roles
from llmseg_cli.workflows.split import Plan

SHOWN = 5


@dataclass(frozen=True)
class FoldPlan:
    """A split, divided into folds.

    Args:
        whole: The split without validation cases.
        plans: The splits of the folds.
        folds: How the cases were divided.
    """

    whole: Plan
    plans: tuple[Plan, ...]
    folds: Folds

    def sentences(self) -> list[str]:
        """What a user should know, of the whole split and of cases that never validate."""
        kept = (
            (self.folds.partly_unlabeled, "their groups have unlabeled cases, too"),
            (self.folds.alone, "no other case has one of their classes"),
        )
        return [
            *self.whole.sentences(),
            *(
                f"{counted(len(cases), 'case')} must stay labeled in all folds, for {why}: "
                f"{', '.join(cases[:SHOWN])}{', ...' * (len(cases) > SHOWN)}."
                for cases, why in kept
                if cases
            ),
        ]


def plan_folds(whole: Plan, folds: int) -> FoldPlan:
    """Divide the labeled cases of a split without validation cases, by its own seed.

    Raises:
        DataError: If they cannot be divided into so many.
    """
    split = whole.split
    found = make_folds(
        Roles(split.labeled, split.unlabeled, (), split.test),
        list(whole.facts.values()),
        folds=folds,
        seed=split.seed,
        classes=whole.classes,
    )
    plans = [
        replace(
            whole,
            split=replace(
                split, labeled=one.labeled, validation=one.validation, fold=number, folds=folds
            ),
        )
        for number, one in enumerate(found.roles)
    ]
    return FoldPlan(whole, tuple(plans), found)


def refuse_folder(out: Path, folds: int, *, force: bool) -> None:
    """Refuse a folder that holds something, but for what this command wrote with *force*.

    Raises:
        UsageError: Naming it.
    """
    refuse_replacing(out, force=force, names=(MANIFEST, *map(fold_name, range(folds))))


def save_folds(plan: FoldPlan, out: Path) -> None:
    """Write a file a fold and, last, `run.json`; folds of an earlier, larger number go.

    Args:
        plan: The folds.
        out: The folder.
    """
    manifest = Manifest("split", seed=plan.whole.split.seed)
    names = tuple(fold_name(number) for number in range(len(plan.plans)))
    before = recorded_outputs(out)
    (out / MANIFEST).unlink(missing_ok=True)
    for name in before - {*names}:
        if NAME.fullmatch(name):
            (out / name).unlink(missing_ok=True)
    for name, one in zip(names, plan.plans, strict=True):
        one.split.save(out / name)
    split = plan.whole.split
    manifest.inputs = {"images": f"sha256:{sha256_json(split.images)}"}
    manifest.counts = {
        "folds": len(plan.plans),
        "labeled": len(split.labeled),
        "unlabeled": len(split.unlabeled),
        "locked_test": len(split.test),
    }
    manifest.write(out, outputs=names)
