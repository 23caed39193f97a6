"""Whether post-processing raises Dice: measured on validation cases, and offered where it does."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.folds import load_one_or_folds
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.errors import PolicyError, UsageError
from llmseg_cli.inference.post_processing import PostProcessing
from llmseg_cli.metrics.comparison import compare
from llmseg_cli.metrics.overlap import dice_per_class
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.score.case import ScoreTask
from llmseg_cli.workflows.score.pairing import find_references, pair
from llmseg_cli.workflows.score.planned import ScoreOptions
from llmseg_cli.workflows.score.predictions import find_predictions
from llmseg_cli.workflows.score.reading import Reading, changes_of, reading_of
from llmseg_cli.workflows.score.run import Scored
from llmseg_cli.workflows.score.seeds import seed_folders

LARGEST, HOLES = "--largest-component", "--fill-holes"
STEPS = (LARGEST, HOLES)
FEWEST = 5  # cases; of fewer, an interval excludes zero too easily


@dataclass(frozen=True)
class Trial:
    """What one step does to one class.

    Args:
        option: Of `llmseg predict`.
        value: The class.
        name: Its name.
        cases: Cases where the class has a Dice, with and without.
        changed: Cases whose Dice it changes.
        difference: Mean of the Dice with it minus that without; None without cases.
        interval: 95 % bootstrap interval of it over cases (or groups); None of fewer than two.
    """

    option: str
    value: int
    name: str
    cases: int
    changed: int
    difference: float | None
    interval: tuple[float, float] | None

    @property
    def wins(self) -> bool:
        """Whether Dice is higher with it, beyond what chance among so many cases explains."""
        return self.cases >= FEWEST and self.interval is not None and self.interval[0] > 0

    def to_dict(self, noun: str) -> dict[str, Any]:
        """For `scores.json`; *noun* as in `in_words`."""
        return {**asdict(self), "wins": self.wins, "in_words": self.in_words(noun)}

    def in_words(self, noun: str) -> str:
        """The offer, or why there is none; *noun* are the cases, such as `validation cases`."""
        option = f"{self.option} {self.value}"
        who = option if self.name == f"class {self.value}" else f"{option} ({self.name})"
        where = f"On the {self.cases} {noun} {who}"
        if self.difference is None or not self.changed:
            return f"{where} changes no Dice."
        points = f"{100 * self.difference:+.2f} points"
        if self.interval is not None:
            points += f" [{100 * self.interval[0]:+.2f}, {100 * self.interval[1]:+.2f}]"
        if self.wins:
            return f"{where} changes Dice by {points}: add it to predict."
        if self.interval is not None and self.interval[1] < 0:
            return f"{where} changes Dice by {points}: it harms."
        few = (
            f"too few cases to tell, {FEWEST} are needed" if self.cases < FEWEST else "no clear win"
        )
        return f"{where} changes Dice by {points}: {few}."


@dataclass(frozen=True)
class Pair:
    """A prediction and its reference, `(X, Y, Z)` each, and where the reference is known."""

    prediction: NDArray[Any]
    reference: NDArray[Any]
    known: NDArray[np.bool_] | None = None  # everywhere

    def dice(self, values: Sequence[int]) -> NDArray[np.float64]:
        """Dice of classes; NaN where both are empty."""
        place = ... if self.known is None else self.known
        return dice_per_class(self.prediction[place], self.reference[place], classes=values)

    def after(self, step: str, value: int) -> "Pair":
        """The same with a step done to a class."""
        changed = self.prediction.copy()
        largest, holes = ((value,) if step == one else () for one in STEPS)
        PostProcessing(largest, holes).apply(changed)
        return replace(self, prediction=changed)


def measure(
    pairs: Iterable[Pair],
    classes: Mapping[int, str],
    *,
    groups: Sequence[str] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> list[Trial]:
    """Try each step on each class alone, and compare its Dice with and without it, case by case.

    Args:
        pairs: The cases.
        classes: Value to name.
        groups: What each case belongs to, such as its patient; None for itself.
        draws: Bootstrap draws.
        seed: Their seed.
    """
    before: dict[int, list[float]] = {value: [] for value in classes}
    after: dict[tuple[str, int], list[float]] = {(s, v): [] for s in STEPS for v in classes}
    for one in pairs:
        for value, found in zip(classes, one.dice([*classes]), strict=True):
            before[value].append(float(found))
        for (step, value), scores in after.items():
            scores.append(float(one.after(step, value).dice([value])[0]))
    return [
        _trial(step, value, classes[value], scores, before[value], groups, draws, seed)
        for (step, value), scores in after.items()
    ]


def _trial(
    step: str,
    value: int,
    name: str,
    after: Sequence[float],
    before: Sequence[float],
    groups: Sequence[str] | None,
    draws: int,
    seed: int,
) -> Trial:
    paired = compare(after, before, better="higher", groups=groups, draws=draws, seed=seed)
    changed = paired.n - paired.n_equal
    return Trial(step, value, name, paired.n, changed, paired.difference, paired.interval)


def refuse_several(predictions: Sequence[Path]) -> None:
    """Refuse several folders of predictions, or one that holds those of several seeds.

    Raises:
        UsageError: Saying how many there are.
    """
    if (count := len(seed_folders(predictions))) > 1:
        raise UsageError(f"--try-post-processing takes one --pred, and there are {count}. Try one.")


def refuse_chosen_by_test(split: Path | None, subset: str | None) -> None:
    """Refuse to choose by cases that are to be scored afterwards.

    Raises:
        PolicyError: If the role has test cases of the split.
    """
    if split is None:
        return
    role = subset or "test"
    roles = next(iter(load_one_or_folds(split).values()))
    if tests := {*roles.cases(role)} & {*roles.test}:
        raise PolicyError(
            f"--try-post-processing would choose by {len(tests)} test cases of {split} (--subset "
            f"{role}), whose scores would flatter from then on. Predict and score the validation "
            "cases: --subset validation."
        )


def with_trials(
    scored: Scored,
    predictions: Path,
    references: Path,
    *,
    split: Path | None,
    subset: str | None,
    options: ScoreOptions,
    progress: Progress = silent,
) -> Scored:
    """Scores, and what post-processing would change about them.

    Args:
        scored: As `run` has scored the same files in the same manner.
        predictions: Folder of label maps named by case, or one file.
        references: Data set, folder of label maps, or one file.
        split: File of `llmseg split`, or folder of its folds.
        subset: Its role that is scored.
        options: How they were scored.
        progress: Called after each case.

    Raises:
        PolicyError: If the run behind the predictions has learned from some of the cases.
    """
    scores = scored.scores
    if trained := scores.predictions.get("training_cases"):
        raise PolicyError(
            f"--try-post-processing would choose by {len(trained)} cases that the run has learned "
            "from. Predict and score validation cases: --subset validation."
        )
    found = find_references(references, split=split, subset=subset)
    made = find_predictions(predictions)
    reading = reading_of(
        found, [made], label_map=options.label_map, ignore_label=options.ignore_label
    )
    own = changes_of(made, options.prediction_label_map)
    tasks, _, _ = pair(made, found)
    tasks = [task for task in tasks if task.case not in scores.failed]
    trials = measure(
        _pairs(tasks, reading, own, progress),
        {int(value): name for value, name in scores.classes.items()},
        groups=[found.groups.get(task.case, task.case) for task in tasks],
        draws=options.draws,
        seed=options.seed,
    )
    noun = f"{scores.subset} cases" if scores.subset else "cases"
    said = tuple(one.to_dict(noun) for one in trials)
    return replace(scored, scores=replace(scores, post_processing=said))


def _pairs(
    tasks: Sequence[ScoreTask], reading: Reading, own: Mapping[int, int], progress: Progress
) -> Iterator[Pair]:
    ignore = reading.ignore
    for done, task in enumerate(tasks, start=1):
        reference = load_label_map(task.reference, label_map=reading.label_map, ignore=ignore)
        prediction = load_label_map(task.prediction, label_map=own)
        known = None if ignore is None else reference.array != UNKNOWN
        yield Pair(prediction.array, reference.array, known)
        progress("post-processing", done, len(tasks), case=task.case)
