"""What is refused before a workflow is imported, for torch alone takes more than a second.

The workflows check all of it again, in the same words.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.at_hand import (
    refuse_absent_data,
    refuse_absent_embeddings,
    refuse_absent_masks,
    refuse_absent_run,
    refuse_unfinished_run,
)
from llmseg_cli.artifacts.files import refuse_resume_and_force
from llmseg_cli.artifacts.folds import load_one_or_folds
from llmseg_cli.artifacts.launch import launched
from llmseg_cli.artifacts.run_set import is_set
from llmseg_cli.artifacts.shard import refuse_shard_and_merge
from llmseg_cli.choices import parse_window
from llmseg_cli.commands._absent import refuse_absent
from llmseg_cli.commands._inputs import refuse_taken_outputs
from llmseg_cli.errors import UsageError
from llmseg_cli.options import refuse_unknown_device
from llmseg_cli.registry import METHODS, MODELS

OF_TRAINING = "keep_state"  # an option of trainings, which say more of a folder that is taken


def _refuse_unfinished(folder: Path) -> None:
    """Refuse a folder that is neither a finished run nor one of several; of a file, see later."""
    if not folder.is_file() and not is_set(folder):
        refuse_unfinished_run(folder, flag="--init")


CHECKS: dict[str, Callable[[Any], object]] = {  # by the names of options, in the order of checking
    "method": METHODS.__getitem__,
    "model": MODELS.__getitem__,
    "device": refuse_unknown_device,
    "normalize": parse_window,
    "data": refuse_absent_data,
    "split": load_one_or_folds,
    "run": refuse_absent_run,
    "init": _refuse_unfinished,
    "text": refuse_absent_embeddings,
    "pseudo": refuse_absent_masks,
}


def _refuse_several_processes(values: Mapping[str, Any]) -> None:
    """Refuse what torchrun would start several times, and is no training of one run."""
    launch = launched(os.environ)
    if launch is None or launch.size == 1:
        return
    if OF_TRAINING not in values:
        raise UsageError(
            f"torchrun starts {launch.size} processes of this command, and they share no work but "
            "that of train-sup and train-semi. Start it once; predict, mine-sam and others share "
            "their cases by --shard."
        )
    split = values.get("split")
    if values["seeds"] > 1 or (split is not None and split.is_dir()):
        raise UsageError(
            "Several runs, of --seeds or of folds, under torchrun: its processes train one run. "
            "Start torchrun once a run."
        )


def refuse_early(values: Mapping[str, Any]) -> None:
    """Refuse an output that is there, a name that is unknown, and what is missing.

    Args:
        values: All words of a command, by the names of its options.

    Raises:
        LlmsegError: Of the kind that the workflow would raise.
    """
    _refuse_several_processes(values)
    resume, force = bool(values.get("resume")), bool(values.get("force"))
    refuse_resume_and_force(resume=resume, force=force)
    refuse_shard_and_merge(values.get("shard"), merge=bool(values.get("merge")))
    goes_on = values.get("shard") or values.get("merge") or values.get("dry_run")
    is_new = "force" in values and not (force or resume or goes_on)
    if is_new and OF_TRAINING not in values:
        refuse_taken_outputs(values)
    refuse_absent(values)
    for name, check in CHECKS.items():
        found = values.get(name)
        for one in found if isinstance(found, list | tuple) else [found]:
            if one is not None:
                check(one)
