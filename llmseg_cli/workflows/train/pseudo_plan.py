"""What a run will do about pseudo-labels, and which wishes contradict each other."""

import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import CONFIG
from llmseg_cli.config_mining import MiningSettings
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.mining.confidence import ConfidenceRules
from llmseg_cli.methods.base import Method
from llmseg_cli.options import MOST
from llmseg_cli.registry import METHODS
from llmseg_cli.workflows.mine.case import Miner, open_sam_miner
from llmseg_cli.workflows.mine.ensemble import ensemble_miner
from llmseg_cli.workflows.mine.folder import check_masks, find_masks, masks_digest
from llmseg_cli.workflows.mine.network import self_miner
from llmseg_cli.workflows.runs.flips import refuse_without_flips
from llmseg_cli.workflows.train.data import TrainingData
from llmseg_cli.workflows.train.pseudo_rounds import PseudoPlan, mining_steps, round_steps
from llmseg_cli.workflows.train.request import DEFAULTS, PseudoRequest, Request

logger = logging.getLogger(__name__)

LIMITS = ("voxel_confidence", "mask_confidence")  # method options of `self-training`
SELF_SETTINGS = ("mirror", "threshold")  # the mining settings that all who mine heed


def refuse_unused(
    wanted: PseudoRequest, name: str, method: type[Method], *, has_budget: bool = False
) -> None:
    """Refuse options that the method would not heed.

    Args:
        wanted: About pseudo-labels.
        name: Of the method.
        method: The method.
        has_budget: Whether the training ends by the clock.

    Raises:
        UsageError: Naming the option, and the methods that heed it.
    """
    if method.mines == "ensemble":
        _refuse_schedule(wanted, name, has_budget=has_budget)
    if has_budget and wanted.schedule == "continuous":
        raise UsageError(
            "--schedule continuous counts steps, and with --budget their number is not known. Pass "
            "--steps instead of --budget."
        )
    if wanted.folder is not None and not method.uses_pseudo:
        those = [one for one in METHODS if METHODS.load(one).uses_pseudo]
        raise UsageError(
            f"--pseudo: the method '{name}' does not learn from pseudo-labels. Use --method "
            f"{', '.join(those[:-1])} or {those[-1]}."
        )
    if not method.mines:
        for option, default in DEFAULTS.items():
            if getattr(wanted, option) != default:
                raise UsageError(
                    f"--{option} {getattr(wanted, option)}: the method '{name}' makes no "
                    "pseudo-labels. Use --method sam-mining or self-training."
                )
    heeded = _names() if method.mines == "sam" else SELF_SETTINGS if method.mines else ()
    if unused := [option for option in _changed(wanted.mining) if option not in heeded]:
        raise UsageError(
            f"--{unused[0].replace('_', '-')}: the method '{name}' does not ask Segment Anything. "
            "Use --method sam-mining, or 'llmseg mine-sam' and --pseudo."
        )
    changed = _changed(wanted.mining)
    is_idle = wanted.folder and wanted.schedule == "one-time" and method.mines != "ensemble"
    if changed and method.mines and is_idle:
        raise UsageError(
            f"--{changed[0].replace('_', '-')}: the masks of --pseudo {wanted.folder} are ready, "
            "and none are made with --schedule one-time. Pass one of the two, or --schedule "
            "continuous."
        )


def plan_pseudo(
    request: Request, method: type[Method], options: Mapping[str, Any], data: TrainingData
) -> PseudoPlan:
    """Find ready masks, and open what makes others.

    Args:
        request: What the user wants.
        method: The way of learning.
        options: All of its options.
        data: The prepared cases.

    Raises:
        UsageError: If no pseudo-label would ever be made, or the wishes contradict each other.
        DataError, PolicyError: If the ready masks do not serve.
        WeightsError: If Segment Anything's weights are missing.
    """
    wanted = request.pseudo
    if not method.uses_pseudo:
        return PseudoPlan()
    if len(data.classes) > UNKNOWN:
        raise UsageError(f"{len(data.classes)} classes; pseudo-labels allow {UNKNOWN}.")
    masks = _ready_masks(request, wanted.folder) if wanted.folder else {}
    minings: tuple[int, ...] = ()
    miner: Miner | None = None
    if method.mines == "ensemble":
        minings = round_steps(options["rounds"], steps=request.settings.steps)
    elif method.mines:
        minings = mining_steps(
            wanted.schedule,
            wanted.every,
            steps=MOST if request.settings.budget else request.settings.steps,
            has_masks=bool(masks),
            has_weights=request.init is not None and _knows(request.init, data.classes),
        )
        if not minings and not masks:
            raise UsageError(
                f"--every {wanted.every}: the first pseudo-labels would be made after the last of "
                f"{request.settings.steps} steps. Pass a smaller --every, or --init RUN."
            )
        if not minings:
            _refuse_idle_limits(request, method, options)
    if minings:
        miner = _miner(request, method, options, data)
    if not masks and not minings:
        return PseudoPlan()
    unlabeled = {case.id for case in data.unlabeled}
    images = {case.id: case for case in find_cases(request.data).cases if case.id in unlabeled}
    if masks:
        settings = request.settings
        preprocessing = Preprocessing(settings.spacing, settings.normalize)
        check_masks(
            data.unlabeled, masks, images, preprocessing=preprocessing, classes=data.classes
        )
    record = {
        "schedule": wanted.schedule,
        "minings": list(minings),
        "masks": masks_digest(masks) if masks else None,
        "made_by": miner.made_by if miner else None,
    }
    restarts = minings if options.get("restart") else ()
    return PseudoPlan(images, masks, minings, miner, record, restarts)


def _knows(run: Path, classes: tuple[str, ...]) -> bool:
    """Whether a run predicts these classes, so that it can be mined before the first step."""
    return run.is_dir() and RunConfig.load(run / CONFIG).classes == classes


def warn_of_no_masks(plan: PseudoPlan, steps: int) -> None:
    """Say so if a training ended before the first pseudo-labels, which it was to learn from."""
    if plan.minings and not plan.masks and steps <= plan.minings[0]:
        logger.warning(
            "The training ended after %d step%s, before pseudo-labels were made (--every %d): it "
            "learned from labels alone. Pass a larger --budget, a smaller --every, or --init RUN.",
            steps,
            "s" * (steps != 1),
            plan.minings[0],
        )


def _ready_masks(request: Request, folder: Path) -> dict[str, Path]:
    if folder.resolve().is_relative_to(request.output.resolve()):
        raise UsageError(
            f"--pseudo {folder} lies in the run folder {request.output}, which is replaced when "
            "the run starts. Choose another -o."
        )
    return find_masks(folder, request.split)


def _miner(
    request: Request, method: type[Method], options: Mapping[str, Any], data: TrainingData
) -> Miner:
    wanted = request.pseudo
    if wanted.mining.mirror:
        refuse_without_flips(request.settings.augment)
    if method.mines == "network":
        rules = ConfidenceRules(options["voxel_confidence"], options["mask_confidence"])
        return self_miner(wanted.mining, len(data.classes), rules)
    if method.mines == "ensemble":
        return ensemble_miner(wanted.mining, len(data.classes), options["agreement"])
    return open_sam_miner(
        wanted.mining,
        device=request.settings.device,
        cache=request.cache,
        offline=request.offline,
    )


def _refuse_schedule(wanted: PseudoRequest, name: str, *, has_budget: bool) -> None:
    """Refuse what says when pseudo-labels are made, where parts of the steps say so."""
    if has_budget:
        raise UsageError(
            f"--budget: the method '{name}' divides the steps into parts, and with --budget their "
            "number is not known. Pass --steps instead of --budget."
        )
    for option, default in DEFAULTS.items():
        if getattr(wanted, option) != default:
            raise UsageError(
                f"--{option} {getattr(wanted, option)}: the method '{name}' makes pseudo-labels "
                "between equal parts of the steps. Say how often with --method-option rounds=2."
            )


def _refuse_idle_limits(request: Request, method: type[Method], options: Mapping[str, Any]) -> None:
    """Refuse limits of confidence where no mask is made that they could drop."""
    limits = [name for name in LIMITS if options.get(name)]
    if limits and method.mines == "network":
        raise UsageError(
            f"--method-option {limits[0]}={options[limits[0]]}: the masks of --pseudo "
            f"{request.pseudo.folder} are ready, and none are made with --schedule one-time. Pass "
            "one of the two, or --schedule continuous."
        )


def _changed(mining: MiningSettings) -> list[str]:
    """Options of mining that differ from their defaults."""
    return [one.name for one in fields(mining) if getattr(mining, one.name) != one.default]


def _names() -> tuple[str, ...]:
    return tuple(one.name for one in fields(MiningSettings))
