"""`score --shard`: the cases of a share are scored and noted; all notes make the one document."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.shard import Shard
from llmseg_cli.data.digests import label_digest
from llmseg_cli.errors import DataError
from llmseg_cli.metrics.scoring import ClassScore
from llmseg_cli.progress import Progress
from llmseg_cli.typed import fit
from llmseg_cli.workflows.score.case import CaseScore, Lacking, ScoreTask
from llmseg_cli.workflows.score.planned import Answering, Planned, PlannedSide, ScoreOptions
from llmseg_cli.workflows.score.pool import Outcome, score_cases
from llmseg_cli.workflows.shards.notes import Shared

FAILED, LACKING = "failed", "lacking"  # keys of the note of a case that has no score


@dataclass(frozen=True)
class SharedScores:
    """What is scored by shards.

    Args:
        planned: What is scored, in all shards alike.
        options: How.
        out: The document that all make.
    """

    planned: Planned
    options: ScoreOptions
    out: Path

    @cached_property
    def notes(self) -> Shared:
        """What the shards have found so far."""
        sides = range(len(self.planned.sides))
        asked = [
            [name for index in sides if (name := name_of(index, case)) in self._tasks]
            for case in self.planned.references.labels
        ]
        return Shared(self.out, self._settings, asked, lambda name: _state(self._tasks[name]))

    @cached_property
    def _tasks(self) -> dict[str, ScoreTask]:
        return {
            name_of(index, task.case): task
            for index, side in enumerate(self.planned.sides)
            for task in side.tasks
        }

    @property
    def _settings(self) -> dict[str, Any]:
        """All that the document depends on besides the masks."""
        found, sides = asdict(self.options), self.planned.sides
        del found["workers"]
        return {
            **found,
            "split": self.planned.references.split,
            "subset": self.planned.references.subset,
            "label_map": sorted(self.planned.reading.label_map.items()),
            "ignore_label": self.planned.reading.ignore,
            "classes": list(self.planned.names),
            "predictions": [one.predictions.folder.name for one in sides],
            "prediction_label_map": [
                sorted(one.settings.prediction_label_map.items()) for one in sides
            ],
        }

    def score(self, shard: Shard, *, force: bool, progress: Progress) -> dict[str, str]:
        """Score the cases of a share that are not noted yet, and note each at once.

        Args:
            shard: The share.
            force: Whether all of it is scored anew.
            progress: Called after each case.

        Returns:
            Those that have no score, and why.

        Raises:
            UsageError: If another process has it, or notes that are there do not fit.
        """
        failed: dict[str, str] = {}
        with self.notes.answering(shard, force=force) as own:
            left = set(own.left)
            for index, side in enumerate(self.planned.sides):

                def hear(case: str, outcome: Outcome, index: int = index) -> None:
                    name, is_failed = name_of(index, case), isinstance(outcome, str)
                    own.note(name, to_plain(outcome), is_final=not is_failed)
                    if is_failed:
                        failed[name] = str(outcome)

                score_cases(
                    [task for task in side.tasks if name_of(index, task.case) in left],
                    side.settings,
                    workers=self.options.workers,
                    phase=side.phase,
                    progress=progress,
                    hear=hear,
                )
        return failed


def name_of(index: int, case: str) -> str:
    """What a case of the folder of that *index* is called in notes."""
    return case if index == 0 else f"{case} of folder {index + 1}"


def _state(task: ScoreTask) -> str:
    try:
        return sha256_json([label_digest(task.prediction), label_digest(task.reference)])
    except DataError:
        return "unreadable"


def from_notes(answers: Mapping[str, Any]) -> Answering:
    """What scores cases by taking what shards have noted of them."""

    def answering(
        sides: Sequence[PlannedSide], options: ScoreOptions, progress: Progress
    ) -> Iterator[Mapping[str, Outcome]]:
        for index, side in enumerate(sides):
            names = {task.case: name_of(index, task.case) for task in side.tasks}
            yield {case: to_outcome(answers[name]) for case, name in names.items()}

    return answering


def to_plain(outcome: Outcome) -> dict[str, Any]:
    """An outcome as plain values, from which `to_outcome` makes the same again."""
    if isinstance(outcome, str):
        return {FAILED: str(outcome), LACKING: isinstance(outcome, Lacking)}
    return {
        **asdict(outcome),
        "scores": {str(number): asdict(one) for number, one in outcome.scores.items()},
        "stored": sorted(outcome.stored),
    }


def to_outcome(plain: Any) -> Outcome:
    """The outcome that `to_plain` made plain values of.

    Raises:
        MisfitError: If it is none.
    """
    if FAILED in plain:
        kind: Callable[[str], str] = Lacking if plain.get(LACKING) else str
        return kind(plain[FAILED])
    rest = {key: value for key, value in plain.items() if key != "stored"}
    found: CaseScore = fit({**rest, "scores": {}}, CaseScore)
    scores = {int(number): fit(one, ClassScore) for number, one in plain["scores"].items()}
    return replace(found, scores=scores, stored=frozenset(plain["stored"]))
