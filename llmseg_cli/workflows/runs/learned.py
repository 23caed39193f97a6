"""What a finished run has learned from, and what must therefore not be held out from it."""

from pathlib import Path

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.split import SPLIT, Split
from llmseg_cli.errors import ArtifactError, PolicyError
from llmseg_cli.registry import METHODS
from llmseg_cli.training.loop import WEIGHTS
from llmseg_cli.workflows.runs.run_folder import CONFIG


def refuse_learned(folder: Path, split: Split, *, flag: str = "--init") -> None:
    """Refuse weights that have learned from what is held out now, whatever its name was then.

    Args:
        folder: The run to start from; its own split says what it learned from.
        split: The roles of the run that starts.
        flag: The option that named the folder, for messages.

    Raises:
        ArtifactError: If the folder holds no finished run.
        PolicyError: If an image that it learned from is a test or validation case of *split*.
    """
    if not (folder / WEIGHTS).is_file():
        raise ArtifactError(
            f"{flag} {folder}: there is no {WEIGHTS}. Name the folder of a finished run, or finish "
            "that one with --resume."
        )
    before = Split.load(folder / SPLIT)
    learned = before.labeled
    if METHODS.load(RunConfig.load(folder / CONFIG).method).uses_unlabeled:
        learned += before.unlabeled
    seen = {before.images[case] for case in learned}
    held_out = [case for case in (*split.test, *split.validation) if split.images.get(case) in seen]
    if held_out:
        raise PolicyError(
            f"{flag} {folder} has learned from {len(held_out)} test or validation cases of this "
            f"split ({', '.join(held_out[:3])}). Start from a run with the same split."
        )
