"""What `llmseg calibrate` has written into a run folder."""

from collections.abc import Iterator
from pathlib import Path

from llmseg_cli.artifacts.calibration import Calibration
from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.artifacts.run_files import BEST, CALIBRATION, CALIBRATION_BEST, WEIGHTS
from llmseg_cli.workflows.report.document import CalibrationFacts

FILES = {CALIBRATION: WEIGHTS, CALIBRATION_BEST: BEST}
MEAN = "mean"


def calibrations_of(folder: Path) -> Iterator[CalibrationFacts]:
    """Those of a run's weights; none if it was not calibrated.

    Args:
        folder: The run folder.

    Raises:
        ArtifactError: If a file is damaged.
    """
    for name, weights in FILES.items():
        if not (folder / name).is_file():
            continue
        found, path = Calibration.load(folder / name), folder / weights
        yield CalibrationFacts(
            checkpoint=found.checkpoint,
            is_current=path.is_file() and sha256_file(path) == found.weights,
            cases=found.cases,
            voxels=found.voxels,
            temperatures={network: one.temperature for network, one in found.networks.items()},
            changes={**found.networks, **({MEAN: found.answer} if found.answer else {})},
        )
