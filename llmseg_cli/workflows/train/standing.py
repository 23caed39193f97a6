"""What a run folder holds already, told and refused before anything heavy is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.artifacts.own_folder import is_ours
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import CONFIG, STATE
from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import UsageError
from llmseg_cli.training.log import RATE, logged
from llmseg_cli.training.ramps import learning_rate_factor

DEFAULT = TrainSettings().steps


@dataclass(frozen=True)
class Standing:
    """A run that a folder holds.

    Args:
        steps: Steps that it was to take.
        done: Steps that it took; of an unfinished one, as far as they are logged.
        finished: When it was finished, or None.
        dice: Validation Dice of its last weights, or None.
        has_state: Whether it can go on exactly.
        budget: Time that ends it instead of the steps, or empty.
    """

    steps: int
    done: int
    finished: str | None
    dice: float | None
    has_state: bool
    budget: str = ""


def standing(folder: Path) -> Standing | None:
    """What a folder holds of a run; None if it holds none.

    Raises:
        ArtifactError: If its record, its settings or its log is damaged.
    """
    if not (folder / CONFIG).is_file() or not is_ours(folder):
        return None
    settings = RunConfig.load(folder / CONFIG).settings
    steps, budget = settings.get("steps"), str(settings.get("budget") or "")
    if not isinstance(steps, int):
        return None
    has_state = (folder / STATE).exists()
    record = load_manifest(folder) if (folder / MANIFEST).is_file() else None
    trained: Any = record["details"].get("trained") if record else None
    if record and isinstance(trained, dict) and trained.get("steps") == steps:
        dice = trained.get("final_score")
        return Standing(steps, steps, str(record.get("finished")), dice, has_state, budget)
    done = max((line["step"] for line in logged(folder) if RATE in line), default=0)
    return Standing(steps, done, None, None, has_state, budget)


def refuse_taken(folder: Path) -> None:
    """Refuse to begin a run where another one is, and say what can be done with that.

    Raises:
        UsageError: If the folder holds a run, finished or not.
    """
    if (found := standing(folder)) is None:
        return
    others = "replace it with --force, or choose another -o"
    if found.finished is None:
        of = f"steps of --budget {found.budget}" if found.budget else f"of {found.steps:,} steps"
        raise UsageError(
            f"{folder} holds an unfinished run ({found.done:,} {of} are logged). Continue it with "
            f"--resume, {others}."
        )
    dice = "" if found.dice is None else f", validation Dice {found.dice:.3f}"
    raise UsageError(
        f"{folder} holds a finished run ({_moment(found.finished)}, {found.steps:,} steps{dice}). "
        f"Train it further with --steps {2 * found.steps} --resume, {others}."
    )


def further(folder: Path, settings: TrainSettings, *, is_given: bool) -> str | None:
    """Refuse fewer steps than a run has; of more, say what becomes of it, in a sentence or two.

    Args:
        folder: The run folder, which is resumed.
        settings: How to train.
        is_given: Whether the user named the steps.

    Raises:
        UsageError: If they are fewer, or differ without being named.
        ArtifactError: If the run's record, settings or log is damaged.
    """
    found = standing(folder)
    if found is None or settings.budget:
        return None
    if found.budget and found.finished is None:
        raise UsageError(
            f"{folder} holds an unfinished run of --budget {found.budget}. Pass that instead of "
            "--steps, or choose another -o."
        )
    has = f"{folder} holds a run of {found.steps:,} steps"
    if found.steps == settings.steps:
        return None
    if not is_given and settings.steps == DEFAULT:
        raise UsageError(
            f"{has}, and without --steps it would have {DEFAULT:,}. Pass --steps {found.steps} "
            "to keep to them, or more to train it further."
        )
    if settings.steps < found.steps:
        raise UsageError(
            f"{has}, {found.done:,} of them done, and --steps {settings.steps} is fewer. Pass "
            f"--steps {found.steps} or more, or choose another -o."
        )
    return f"{has} and goes on to {settings.steps:,}. {_rate(found, settings)} {_optimizer(found)}"


def _rate(found: Standing, settings: TrainSettings) -> str:
    schedule = settings.learning_rate_schedule
    if schedule == "plateau":
        return "The learning rate falls where the loss stops falling, as before."
    was, now = (
        settings.learning_rate
        * learning_rate_factor(schedule, step, steps=steps, warmup=settings.warmup)
        for step, steps in ((max(0, found.done - 1), found.steps), (found.done, settings.steps))
    )
    return (
        f"The learning rate ({schedule}) is laid out anew over {settings.steps:,} steps: it was "
        f"{was:.2g} at step {found.done:,}, and goes on at {now:.2g}."
    )


def _optimizer(found: Standing) -> str:
    if found.has_state:
        return "The optimizer goes on from its saved state."
    if found.finished is None:
        return ""
    return "The optimizer starts anew: the finished run kept no state (--keep-state keeps it)."


def _moment(text: str) -> str:
    return text[:16].replace("T", " ")
