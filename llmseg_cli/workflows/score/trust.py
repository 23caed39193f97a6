"""Whether the trust that `predict` has noted beside each mask tells good masks from bad ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.journal import JOURNAL, Entry, Journal
from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.artifacts.text import counted
from llmseg_cli.errors import ArtifactError
from llmseg_cli.metrics.trust import Reliability, reliability
from llmseg_cli.workflows.score.document import Side
from llmseg_cli.workflows.score.report import ByCase, Report

AGREEMENT, ENTROPY = "agreement", "entropy"
SIGNS = {AGREEMENT: 1.0, ENTROPY: -1.0}  # of what is more trusted
NOUNS = {"networks": "network", "views": "mirrored view"}


@dataclass(frozen=True)
class Noted:
    """What `predict` has noted of the masks of one folder.

    Args:
        name: What the folder is called.
        trust: Case to its trust, of masks that are as they were written.
        dice: Case to its Dice, the mean over classes; None where it is undefined.
    """

    name: str
    trust: dict[str, dict[str, Any]]
    dice: dict[str, float | None]

    def values(self, measure: str) -> list[tuple[float, float]]:
        """Trust and Dice of the cases that have both."""
        return [
            (SIGNS[measure] * trust[measure], dice)
            for case, dice in self.dice.items()
            if dice is not None
            and (trust := self.trust.get(case)) is not None
            and trust[measure] is not None
        ]

    def told(self) -> dict[str, Any] | None:
        """For `scores.json`; None if no case has trust and Dice."""
        pairs = {measure: self.values(measure) for measure in SIGNS}
        known = {
            measure: reliability(*zip(*found, strict=True))
            for measure, found in pairs.items()
            if found
        }
        if not known:
            return None
        measure, first = next(iter(known.items()))
        return {
            "folder": self.name,
            "between": self._between(),
            "cases_without": {name: len(self.dice) - one.n for name, one in known.items()},
            "measures": {name: _plain(one) for name, one in known.items()},
            "in_words": f"{self.name}: {_in_words(self._what(measure), first)}",
        }

    def _between(self) -> dict[str, int] | None:
        """How many voices were compared, and of what kind, where it was alike in all cases."""
        kinds = {(one["between"], one["voices"]) for one in self.trust.values() if one["between"]}
        return dict(kinds) if len(kinds) == 1 else None

    def _what(self, measure: str) -> str:
        if measure == ENTROPY:
            return "mean entropy of the foreground"
        between = self._between() or {}
        shown = [counted(number, NOUNS.get(kind, kind)) for kind, number in between.items()]
        return " ".join(("agreement", *(f"of {one}" for one in shown)))


def trust_told(
    report: Report, sides: Sequence[Side], scores: Sequence[ByCase], names: Sequence[str]
) -> tuple[tuple[dict[str, Any], ...] | None, tuple[str, ...]]:
    """What trust is worth in each folder that has some, and warnings of what cannot be read.

    Args:
        report: Sums up.
        sides: Folders of predictions.
        scores: Of each, case to class to score.
        names: What the folders are called.
    """
    told: list[dict[str, Any]] = []
    warnings: list[str] = []
    for side, found, name in zip(sides, scores, names, strict=True):
        means, _ = report.values(found, "dice")
        trust: dict[str, dict[str, Any]] = {}
        for folder in _folders(side):
            try:
                trust |= _noted(folder, side)
            except ArtifactError as error:
                warnings.append(f"What trust is worth is not told: {error}")
        if one := Noted(name, trust, dict(zip(found, means, strict=True))).told():
            told.append(one)
    return tuple(told) or None, tuple(warnings)


def _folders(side: Side) -> Iterator[Path]:
    """Folders that `predict` has written."""
    for part in side.predictions.parts or (side.predictions,):
        if (part.folder / MANIFEST).is_file() and (part.folder / JOURNAL).is_file():
            yield part.folder


def _noted(folder: Path, side: Side) -> dict[str, dict[str, Any]]:
    if load_manifest(folder)["command"] != "predict":
        return {}
    entries = [one for one in Journal.read(folder) if _is_of(one, side)]
    return {one.case: one.details["trust"] for one in entries if "trust" in one.details}


def _is_of(entry: Entry, side: Side) -> bool:
    """Whether the mask that was scored is the one that the entry is about."""
    result = side.results.get(entry.case)
    return result is not None and result.digests["prediction"] == entry.output


def _plain(found: Reliability) -> dict[str, Any]:
    return {
        "n": found.n,
        "spearman": found.spearman,
        "risk_coverage": {"coverage": found.curve.coverage, "risk": found.curve.risk},
        "area": found.curve.area,
        "area_random": found.area_random,
        "area_best": found.area_best,
        "worst_fifth": {
            "cases": found.worst,
            "among_least_trusted": found.found,
            "share": found.share,
        },
    }


def _in_words(what: str, found: Reliability) -> str:
    rank = "undefined" if found.spearman is None else f"{found.spearman:.2f}"
    return (
        f"trust by {what}, {counted(found.n, 'case')}: rank correlation with Dice {rank}; area "
        f"under risk and coverage {found.curve.area:.3f} ({found.area_random:.3f} by chance, "
        f"{found.area_best:.3f} at best); {found.found} of the {found.worst} worst "
        f"{'is' if found.found == 1 else 'are'} among the {found.worst} least trusted."
    )
