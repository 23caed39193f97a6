"""What `llmseg plan` does."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.document import llmseg_version
from llmseg_cli.artifacts.split import Split
from llmseg_cli.config import TrainSettings
from llmseg_cli.config_mining import MiningSettings
from llmseg_cli.data.cases import find_cases
from llmseg_cli.errors import PolicyError
from llmseg_cli.knowledge.weights.embedded import is_fetched
from llmseg_cli.options import label_pairs, parse_label_map
from llmseg_cli.planning.fingerprint import Choice
from llmseg_cli.planning.learning import ENCODER
from llmseg_cli.planning.recommended import Recommended, coarsened, narrowed, recommend
from llmseg_cli.planning.steps import in_words, steps_within
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.machine import look_at_power
from llmseg_cli.workflows.plan.document import write_plan
from llmseg_cli.workflows.plan.looking import look
from llmseg_cli.workflows.plan.timing import Pace, time_steps


@dataclass(frozen=True)
class Wish:
    """What is to be planned.

    Args:
        data: The data set.
        budget_s: Seconds that one training may take.
        label_map: Label values to change, `FROM:TO`.
        ignore_label: Value of unknown voxels, or None.
        split: Whose labeled cases' label maps may be opened, and no others; None opens all.
        device: As of training.
        cache: Folder of prepared cases.
    """

    data: Path
    budget_s: float
    label_map: tuple[str, ...]
    ignore_label: int | None
    split: Split | None
    device: str
    cache: Path


@dataclass(frozen=True)
class Planned:
    """Settings with their reasons, and the file that holds them.

    Args:
        recommended: The settings.
        steps: Command to the steps of its training.
        paces: Command to what a step costs.
        text: The YAML file.
    """

    recommended: Recommended
    steps: Mapping[str, Choice]
    paces: Mapping[str, Pace]
    text: str

    def to_dict(self) -> dict[str, Any]:
        """The document of `--json`."""
        choices = {**self.recommended.choices}
        if self.recommended.method:
            choices["method"] = self.recommended.method
        return {
            "schema": "llmseg/plan/1",
            "llmseg": llmseg_version(),
            "choices": {name: asdict(choice) for name, choice in choices.items()},
            "steps": {name: asdict(choice) for name, choice in self.steps.items()},
            "paces": {name: asdict(pace) for name, pace in self.paces.items()},
            "shape": list(self.recommended.geometry.shape),
            "scans": asdict(self.recommended.scans),
            "machine": asdict(self.recommended.power),
        }


def run(wish: Wish, *, progress: Progress = silent) -> Planned:
    """Look at scans and machine, choose settings, time steps, and fit them to the budget.

    Raises:
        DataError: If the data cannot be used.
        PolicyError: If nothing is labeled.
        UsageError: If an option is wrong.
    """
    dataset = find_cases(wish.data)
    labels = parse_label_map(wish.label_map)
    if (split := wish.split) is not None:
        labels = split.label_changes(labels)
        wish = replace(
            wish, label_map=label_pairs(labels), ignore_label=split.ignored(wish.ignore_label)
        )
    scans = look(
        dataset,
        label_map=labels,
        ignore_label=wish.ignore_label,
        split=split,
        progress=progress,
    )
    if not scans.labeled:
        raise PolicyError(
            f"No case of {wish.data} has a label map, and a training needs some. Put them into "
            "labels/, named like the images; 'llmseg check' shows which pair up."
        )
    power = look_at_power(wish.device)
    choose = partial(
        recommend,
        scans,
        power,
        can_mine=is_fetched(MiningSettings().sam, cache=wish.cache),
        has_encoder=is_fetched(ENCODER, cache=wish.cache),
    )
    found = choose()

    def pace_of(recommended: Recommended, method: str) -> Pace:
        return time_steps(
            dataset,
            scans,
            TrainSettings(**recommended.settings(), device=wish.device),
            method=method,
            label_map=wish.label_map,
            ignore_label=wish.ignore_label,
            cache=wish.cache,
            progress=progress,
        )

    pace = pace_of(found, "supervised")
    fitting = steps_within(wish.budget_s, pace.step_s).value
    assert isinstance(fitting, int)
    budget = in_words(wish.budget_s)
    quick = narrowed(found, fitting, budget)
    quick = coarsened(quick, fitting, budget, lambda pixels: choose(pixels=pixels))
    if quick is not found:
        found, pace = quick, pace_of(quick, "supervised")
    paces = {"train-sup": pace}
    if found.method:
        paces["train-semi"] = pace_of(found, str(found.method.value))
    steps = {command: steps_within(wish.budget_s, pace.step_s) for command, pace in paces.items()}
    text = write_plan(wish.data, wish.label_map, wish.ignore_label, found, steps)
    return Planned(found, steps, paces, text)
