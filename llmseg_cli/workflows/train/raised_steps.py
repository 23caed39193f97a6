"""A run that goes on to more steps than it was made for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import BEST, CONFIG, STATE, WEIGHTS
from llmseg_cli.errors import ArtifactError
from llmseg_cli.methods.base import Method
from llmseg_cli.training.checkpoints import load_into, load_weights, weights_note
from llmseg_cli.training.log import DICE, logged, losses_of
from llmseg_cli.training.loop import Loop


def with_raised_steps(config: RunConfig, folder: Path) -> RunConfig:
    """Settings with the record of all times that the steps of the run in *folder* were raised.

    Raises:
        ArtifactError: If its settings are damaged.
    """
    if config.settings.get("budget") or not (folder / CONFIG).exists():
        return config
    existing = RunConfig.load(folder / CONFIG)
    raised = existing.raised
    before, steps = existing.settings.get("steps"), config.settings["steps"]
    if isinstance(before, int) and steps > before:
        optimizer = "continued" if (folder / STATE).exists() else "anew"
        raised = (*raised, {"from": before, "to": steps, "optimizer": optimizer})
    return replace(config, raised=raised)


def without_raised_steps(
    old: dict[str, Any], new: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings by full names without those that differ where steps were raised, if they were.

    These are the steps and, where pseudo-labels are made again and again, the later minings.
    """
    before, steps = old.get("settings.steps"), new.get("settings.steps")
    if not isinstance(before, int) or not isinstance(steps, int) or steps <= before:
        return old, new
    dropped = {"settings.steps", "raised"}
    minings = [found.get("pseudo.minings") or [] for found in (old, new)]
    if minings[1][: len(minings[0])] == minings[0]:
        dropped.add("pseudo.minings")
    old, new = ({k: v for k, v in found.items() if k not in dropped} for found in (old, new))
    return old, new


def without_budget(
    old: dict[str, Any], new: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings by full names without the number of steps, where a budget decides.

    Or without the budget, where a run that ended by one is to have as many steps, or more.
    """
    if new.get("settings.budget"):
        dropped = "settings.steps"
    elif old.get("settings.steps", 0) <= new.get("settings.steps", 0):
        dropped = "settings.budget"
    else:
        return old, new
    old, new = ({k: v for k, v in one.items() if k != dropped} for one in (old, new))
    return old, new


def go_on_from_weights(loop: Loop, method: Method) -> None:
    """Go on from the weights of a finished run that kept no state, with a new optimizer.

    Nothing is done if there is a state, or no weights.

    Raises:
        ArtifactError: If the weights are damaged or of another architecture.
    """
    path = loop.folder / WEIGHTS
    if (loop.folder / STATE).exists() or not path.exists():
        return
    weights = load_weights(path)
    for name, network in [*method.networks().items(), *loop.averages.items()]:
        load_into(network, weights.get(name, {}), source=str(path))
    method.start()
    loop.step = int(_number(path, "step"))
    if (best := loop.folder / BEST).exists():
        loop.best = _number(best, DICE), int(_number(best, "step"))
    for line in logged(loop.folder):
        if line["step"] <= loop.step:
            loop.losses = losses_of(line) or loop.losses
            loop.final_score = line.get(DICE, loop.final_score)


def _number(path: Path, name: str) -> float:
    try:
        return float(weights_note(path)[name])
    except (KeyError, ValueError) as error:
        raise ArtifactError(f"{path} does not say its {name}. Train anew with --force.") from error
