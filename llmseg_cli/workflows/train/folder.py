"""Whose a run folder is: made for this run, or continued, or refused."""

import logging
import re
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from llmseg_cli.artifacts.files import is_leftover, remove_leftovers
from llmseg_cli.artifacts.journal import JOURNAL, Journal
from llmseg_cli.artifacts.learned import LEARNED, Learned
from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.artifacts.own_folder import is_ours, refuse_links
from llmseg_cli.artifacts.pseudo import QC
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import BEST, CONFIG, CURVE, STATE, WEIGHTS
from llmseg_cli.artifacts.split import SPLIT, Split
from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import ArtifactError
from llmseg_cli.options import label_pairs, parse_label_map
from llmseg_cli.registry import METHODS
from llmseg_cli.training.log import LOG, TENSORBOARD
from llmseg_cli.training.trained import Trained
from llmseg_cli.typed import fitted
from llmseg_cli.workflows.train.raised_steps import without_budget, without_raised_steps

logger = logging.getLogger(__name__)

ROUNDS, PREPARED = "pseudo", "prepared"
NAMES = (
    *(MANIFEST, STATE, WEIGHTS, BEST, CONFIG, SPLIT, CURVE),
    *(LOG, TENSORBOARD, ROUNDS, PREPARED),
)
ROUND = re.compile(r"step-\d{6,}")
ARRAY = re.compile(r"(\.tmp-[0-9a-f]{12}-)?(labels|voxels|stored|foreground)-[0-9a-f]{32}\.npy")
MACHINE = ("cache", "workers", "device", "gradient_checkpointing")  # change no weight
OF_BLOCK = tuple(one.name for one in fields(TrainSettings) if "llm" in one.name)
RECORDED = ("image_encoder", *OF_BLOCK)  # elsewhere in the record
# Digests decide: of what lies there, and, with the label map, of the label maps.
DECIDED = ("image_encoder.name", "llm_block.name", "llm_block.source", "label_values")
NOISE, NOISE_UNIT = "method_options.noise", "method_options.noise_unit"
OLDER_NOISE_UNIT = "absolute"  # before there was a choice
OPTIONS = ("seed", "method", "model", "label_map", "ignore_label")  # outside of `settings`
AS_TYPED = "settings.model_option"  # beside what became of it
DIGEST = re.compile(r"[0-9a-f]{64}")
TOLD = 4  # changed settings that are named
OLDER_BLOCK = {"lora": 0, "rotary": False, "final_norm": "plain"}  # before there were options
PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def recorded(settings: TrainSettings, dtype: torch.dtype) -> dict[str, Any]:
    """Settings without what belongs to the machine, and with the precision that `auto` became."""
    kept = {k: v for k, v in asdict(settings).items() if k not in (*MACHINE, *RECORDED)}
    return {**kept, "precision": PRECISIONS[dtype]}


def claim(
    folder: Path, config: RunConfig, split: Split, learned: Learned, *, resume: bool
) -> Trained | None:
    """Make the folder this run's; returns the result if the run is complete already."""
    path = folder / CONFIG
    refuse_links(folder, (ROUNDS, PREPARED, TENSORBOARD))
    if resume and path.exists():
        return _continued(folder, config, learned)
    if resume and folder.is_dir() and _others(folder):
        raise ArtifactError(
            f"{folder} is no run to resume: it has other files and no {CONFIG}. Choose another "
            "-o, or pass --force instead of --resume to replace it."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if is_ours(folder):  # of an earlier run, and nothing that lies beside it
        _remove_rounds(folder / ROUNDS)
        remove_prepared(folder)
    if resume or is_ours(folder):
        remove_leftovers(folder)
    for name in (MANIFEST, STATE, WEIGHTS, BEST, CURVE, CONFIG):
        (folder / name).unlink(missing_ok=True)
    split.save(folder / SPLIT)
    learned.save(folder / LEARNED)
    config.save(path)  # last, for it makes the folder a run
    return None


def _continued(folder: Path, config: RunConfig, learned: Learned) -> Trained | None:
    """Make a run that the folder holds this one; returns the result if it is complete already."""
    remove_leftovers(folder)
    existing = RunConfig.load(folder / CONFIG)
    _refuse_other_settings(folder, existing, config)
    if existing.raised != config.raised:
        config.save(folder / CONFIG)
    if not (folder / LEARNED).is_file():  # an older run
        learned.save(folder / LEARNED)
    if (folder / MANIFEST).exists() and (found := load_manifest(folder))["status"] == "ok":
        trained = _trained(folder / MANIFEST, found["details"])
        if config.settings["budget"] or trained.steps >= config.settings["steps"]:
            return trained
        (folder / MANIFEST).unlink()  # of fewer steps
    if not (folder / STATE).exists() and not (folder / WEIGHTS).exists():
        logger.warning("%s has no saved state yet: it starts anew, from step 0.", folder)
    return None


def _others(folder: Path) -> set[str]:
    """What lies there besides the files of a run that was killed before its configuration."""
    names = {found.name for found in folder.iterdir() if not is_leftover(found)}
    return names - {SPLIT, LEARNED}


def _remove_rounds(folder: Path) -> None:
    """Delete pseudo-labels that a run has made for itself, as far as its journals say so."""
    for step in folder.glob("step-*"):
        if step.is_symlink() or not ROUND.fullmatch(step.name):
            continue
        entries = Journal.read(step)
        for entry in entries:
            entry.remove(step)
        for name in (JOURNAL, QC) if entries else ():
            (step / name).unlink(missing_ok=True)
        remove_leftovers(step)
        _remove_if_empty(step)
    _remove_if_empty(folder)


def remove_prepared(run: Path, *, but: str = "") -> None:
    """Delete prepared pseudo-labels of a run, all rounds but one.

    Args:
        run: The run folder.
        but: Name of the round that stays.
    """
    folder = run / PREPARED
    for path in folder.glob("*/*/*.npy"):
        place = path.parts[-3]
        is_here = path.resolve().is_relative_to(folder.resolve())  # and not behind a link
        if is_here and place != but and place.isdigit() and ARRAY.fullmatch(path.name):
            path.unlink()
    for found in (*folder.glob("*/*"), *folder.glob("*"), folder):
        if found.is_dir() and found.name != but:
            _remove_if_empty(found)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # something of somebody else is in it, or it is not there
        folder.rmdir()


def _trained(path: Path, details: dict[str, Any]) -> Trained:
    hint = "Pass --force instead of --resume to train anew."
    found: Trained = fitted(
        details.get("trained"),
        Trained,
        name=f"{path}: details.trained",
        error=ArtifactError,
        hint=hint,
    )
    return found


def _refuse_other_settings(folder: Path, existing: RunConfig, wanted: RunConfig) -> None:
    old, new = _flat(existing.to_dict()), _flat(plain(wanted).to_dict())
    if NOISE in old and NOISE_UNIT in new:  # a method whose noise has no unit never had one
        old.setdefault(NOISE_UNIT, OLDER_NOISE_UNIT)
    newer = {"settings": asdict(TrainSettings()), "method_options": METHODS.defaults(wanted.method)}
    since = _flat(newer)  # settings that are newer than the run
    old |= {key: since[key] for key in new if key not in old and key in since}
    for flat, config in ((old, existing), (new, wanted)):
        flat["label_map"] = label_pairs(parse_label_map(config.label_map))
    if existing.llm_block:
        old = {f"llm_block.{key}": value for key, value in OLDER_BLOCK.items()} | old
    old, new = without_raised_steps(old, new)
    old, new = without_budget(old, new)
    changed = [k for k in {**old, **new} if old.get(k) != new.get(k) and k not in DECIDED]
    if changed:
        named = [key for key in changed if key != AS_TYPED] or changed
        told = [_change(key, old.get(key), new.get(key)) for key in named]
        more = f"; and {len(told) - TOLD} more" if len(told) > TOLD else ""
        raise ArtifactError(
            f"{folder} holds a run of other settings: {'; '.join(told[:TOLD])}{more}. Choose "
            "another -o, or pass --force instead of --resume to train anew."
        )


def _change(key: str, was: Any, now: Any) -> str:
    """A setting in the words that a user types, where it is an option, and what became of it."""
    place, _, name = key.rpartition(".")
    if place in ("method_options", "model_options"):
        key = f"--{place[:-1].replace('_', '-')} {name}"
    elif place == "settings" or key in OPTIONS:
        key = f"--{name.replace('_', '-')}"
    if any(isinstance(value, str) and DIGEST.fullmatch(value) for value in (was, now)):
        return f"{key} differs"
    return f"{key} was {_said(was)}, now {_said(now)}"


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    """Nested settings by full names, such as `pseudo.made_by.rules.min_iou`."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found |= {f"{key}.{inner}": item for inner, item in _flat(value).items()}
        else:
            found[key] = value
    return found


def plain(config: RunConfig) -> RunConfig:
    return RunConfig.from_text(config.to_text(suffix=".yaml"), name="config")
