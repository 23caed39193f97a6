"""What is refused before a workflow is imported, for torch alone takes more than a second.

The workflows check all of it again, in the same words.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from llmseg_cli.artifacts.at_hand import (
    refuse_absent_data,
    refuse_absent_embeddings,
    refuse_absent_image,
    refuse_absent_masks,
    refuse_absent_run,
    refuse_unfinished_run,
)
from llmseg_cli.artifacts.files import refuse_resume_and_force
from llmseg_cli.artifacts.split import Split
from llmseg_cli.commands._inputs import refuse_taken_outputs
from llmseg_cli.options import parse_window, refuse_unknown_device
from llmseg_cli.registry import METHODS, MODELS

CHECKS: dict[str, Callable[[Any], object]] = {  # by the names of options, in the order of checking
    "method": METHODS.__getitem__,
    "model": MODELS.__getitem__,
    "device": refuse_unknown_device,
    "normalize": parse_window,
    "data": refuse_absent_data,
    "images": refuse_absent_image,
    "more": refuse_absent_image,
    "split": Split.load,
    "run": refuse_absent_run,
    "init": partial(refuse_unfinished_run, flag="--init"),
    "text": refuse_absent_embeddings,
    "pseudo": refuse_absent_masks,
}


def refuse_early(values: Mapping[str, Any]) -> None:
    """Refuse an output that is there, a name that is unknown, and what is missing.

    Args:
        values: All words of a command, by the names of its options.

    Raises:
        LlmsegError: Of the kind that the workflow would raise.
    """
    resume, force = bool(values.get("resume")), bool(values.get("force"))
    refuse_resume_and_force(resume=resume, force=force)
    if "force" in values and not (force or resume or values.get("dry_run")):
        refuse_taken_outputs(values)
    for name, check in CHECKS.items():
        found = values.get(name)
        for one in found if isinstance(found, list | tuple) else [found]:
            if one is not None:
                check(one)
