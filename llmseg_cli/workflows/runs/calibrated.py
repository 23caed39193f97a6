"""Runs whose networks answer at the temperatures that `llmseg calibrate` has found."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llmseg_cli.artifacts.calibration import Calibration
from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.artifacts.run_files import CALIBRATION, CALIBRATION_BEST
from llmseg_cli.choices import CHECKPOINT_NAMES
from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.workflows.runs.run_folder import OpenRun, checkpoint_file

FILES = dict(zip(CHECKPOINT_NAMES, (CALIBRATION, CALIBRATION_BEST), strict=True))


def calibration_file(folder: Path, checkpoint: str) -> Path:
    """Where the temperatures of a run's weights are, whether or not they were looked for."""
    return folder / FILES[checkpoint]


def are_calibrated(folders: Sequence[Path], checkpoint: str) -> bool:
    """Whether temperatures were looked for of all runs, of which there is at least one."""
    return bool(folders) and all(calibration_file(one, checkpoint).is_file() for one in folders)


def at_temperatures(folder: Path, checkpoint: str, run: OpenRun) -> OpenRun:
    """The run, which also says its probabilities at the temperatures of its folder.

    Args:
        folder: The run folder.
        checkpoint: `final` or `best`.
        run: Its networks that answer.

    Raises:
        UsageError: If no temperatures were looked for.
        ArtifactError: If they are those of other weights, or a network has none.
    """
    path = calibration_file(folder, checkpoint)
    how = f"llmseg calibrate {folder} --data DIR"
    how += f" --checkpoint {checkpoint}" if checkpoint == "best" else ""
    if not path.is_file():
        raise UsageError(f"--calibrated: there is no {path}. Write it with '{how}'.")
    found = Calibration.load(path)
    is_own = found.weights == sha256_file(checkpoint_file(folder, checkpoint))
    if not is_own or not {*run.networks} <= {*found.networks}:
        raise ArtifactError(
            f"{path} has the temperatures of other weights than those of {folder}. Write it again "
            f"with '{how} --force'."
        )
    return replace(run, temperatures={n: found.networks[n].temperature for n in run.networks})
