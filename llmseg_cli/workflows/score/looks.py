"""How often a test list was looked at: noted in the ledger beside the split, told in the scores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.document import llmseg_version
from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.folds import load_pooled
from llmseg_cli.artifacts.inputs import Input, refuse_file_over_inputs
from llmseg_cli.artifacts.looks import (
    Look,
    ledger_of,
    list_digest,
    note,
    number_of,
    ordinal,
    read_looks,
)
from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.artifacts.text import counted
from llmseg_cli.workflows.score.run import Scored

NOTED = ("dice", "jaccard", "hd95", "asd", "nsd")


def refuse_ledger(split: Path | None, outputs: Sequence[Path | None]) -> None:
    """Refuse a ledger that cannot be read before anything is scored, and outputs that are it.

    Args:
        split: File of `llmseg split`, or folder of its folds; None for none.
        outputs: Files that will be written.

    Raises:
        ArtifactError: If it is damaged.
        UsageError: If an output would replace it.
    """
    if split is None:
        return
    ledger = ledger_of(split)
    read_looks(ledger)
    for output in filter(None, outputs):
        refuse_file_over_inputs(output, [Input("the ledger of looks", ledger)])


def with_looks(scored: Scored, split: Path | None) -> Scored:
    """Scores that say which look at the test list they are, once that is noted in the ledger.

    A folder of predictions is a look; the same masks again are the same look. What cannot be noted
    is said in a warning, and loses no score.

    Args:
        scored: The scores.
        split: What chose their cases, a file of `llmseg split` or a folder of its folds; None if
            nothing did.

    Returns:
        The same scores, with `looks` if a test case of the split has one.

    Raises:
        ArtifactError: If the ledger is damaged.
    """
    if split is None:
        return scored
    roles, digest = load_pooled(split)
    folders = list(_folders(scored.scores, set(roles.test)))
    if not folders:
        return scored
    ledger = _Ledger(ledger_of(split))
    test_list = list_digest(roles)
    told = [
        ledger.tell(one.look(scored.scores, split=digest, test_list=test_list)) for one in folders
    ]
    looks = {"ledger": ledger.path.name, "test_list": test_list, "predictions": told}
    warnings = (*scored.scores.warnings, *ledger.faults)
    return replace(scored, scores=replace(scored.scores, looks=looks, warnings=warnings))


class _Ledger:
    """Notes looks, and goes on counting where they cannot be written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unnoted: list[Look] = []
        self._fault = ""

    @property
    def faults(self) -> tuple[str, ...]:
        """What a reader should know if looks could not be noted."""
        if not self._unnoted:
            return ()
        return (
            f"{counted(len(self._unnoted), 'look')} at the test list cannot be noted in "
            f"{self.path}: {self._fault}. Later scores will not count them. Make the file "
            "writable, and score again.",
        )

    def tell(self, look: Look) -> dict[str, Any]:
        """Which look it is, for `scores.json`; a new one is noted."""
        number = number_of(look, [*read_looks(self.path), *self._unnoted])
        is_new = number is None
        if number is None:
            number = self._note(look)
        return {
            "folder": look.folder,
            "look": number,
            "is_new": is_new,
            "is_noted": look not in self._unnoted,
            "in_words": _in_words(look.folder, number, is_new=is_new),
        }

    def _note(self, look: Look) -> int:
        try:
            return note(self.path, look)
        except OSError as error:
            self._unnoted.append(look)
            self._fault = error.strerror or str(error)
            return number_of(look, [*read_looks(self.path), *self._unnoted]) or 1


def _in_words(folder: str, number: int, *, is_new: bool) -> str:
    if is_new:
        return f"{folder}: {ordinal(number)} look at this test list."
    return (
        f"{folder}: no new look; the same masks were the {ordinal(number)} look at this test list."
    )


@dataclass(frozen=True)
class _Folder:
    """What the scores say of one folder of predictions.

    Args:
        name: Of the folder.
        made_by: What made its masks.
        metrics: Name to its sum-up of this folder.
        masks: Test case to digest of its mask; those that have a score.
    """

    name: str
    made_by: Mapping[str, Any]
    metrics: Mapping[str, Any]
    masks: Mapping[str, str]

    def look(self, scores: Scores, *, split: str, test_list: str) -> Look:
        """As the ledger has it."""
        return Look(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            llmseg=llmseg_version(),
            split=split,
            test_list=test_list,
            predictions=sha256_json(dict(self.masks)),
            folder=self.name,
            made_by=dict(self.made_by),
            subset=str(scores.subset),
            cases=len(self.masks),
            metrics=dict(self.metrics),
        )


def _folders(scores: Scores, test: set[str]) -> Iterator[_Folder]:
    """The folders that were scored on a test case."""
    sides = [(scores.predictions, scores.metrics, scores.cases)]
    if (other := scores.comparison) is not None:
        sides.append((other["predictions"], other["metrics"], other["cases"]))
    for predictions, metrics, cases in sides:
        seeds = predictions.get("seeds")
        for index, one in enumerate(seeds or [predictions]):
            own = [case for case in cases if not seeds or case["predictions"] == one["folder"]]
            masks = {
                case["case"]: case["digests"]["prediction"] for case in own if case["case"] in test
            }
            if masks:
                made_by = {key: value for key, value in one.items() if key != "folder"}
                means = _means(metrics, index if seeds else None)
                yield _Folder(one["folder"], made_by, means, masks)


def _means(metrics: Mapping[str, Any], seed: int | None) -> dict[str, float | None]:
    """The means that are noted, of one of several seeds or of all there is."""
    return {
        key: found["mean"] if seed is None else found["seeds"]["means"][seed]
        for key, found in metrics.items()
        if key.split("_")[0] in NOTED
    }
