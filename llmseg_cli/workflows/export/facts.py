"""What a program must know to ask an exported network as `llmseg predict` does, as JSON."""

from pathlib import Path
from typing import Any

import torch

from llmseg_cli.artifacts.document import llmseg_version
from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import CONFIG
from llmseg_cli.inference.sliding_window import SIGMA
from llmseg_cli.workflows.runs.flips import flips_of
from llmseg_cli.workflows.runs.run_folder import checkpoint_file

SCHEMA = "llmseg/export/1"
RESAMPLING = (
    "linear along each axis, of which the extent stays: voxel i has its center at "
    "(i + 1/2) s - 1/2, s = old size / new size; where s > 1 the triangle is s voxels wide"
)
NORMALIZATIONS = {
    "zscore": "minus the mean, over the standard deviation, of all voxels of a channel",
    "zscore-nonzero": "the same, mean and deviation of voxels that are not 0",
    "minmax": "minus the least, over the range, of all voxels of a channel",
    "none": "as stored",
}
INTENDED_USE = "Research only. Not a medical device; not for diagnosis or treatment."
OVERLAP = 0.5


def facts_of(
    folder: Path, config: RunConfig, networks: tuple[str, ...], checkpoint: str
) -> dict[str, Any]:
    """All of it, but for what was compared.

    Args:
        folder: The run folder.
        config: Its settings.
        networks: Those that answer.
        checkpoint: `final` or `best`.
    """
    spatial = ["X", "Y", "Z"][: len(config.patch)]
    normalize = config.preprocessing["normalize"]
    weights = checkpoint_file(folder, checkpoint)
    return {
        "schema": SCHEMA,
        "llmseg": llmseg_version(),
        "torch": torch.__version__,
        "intended_use": INTENDED_USE,
        "input": {
            "name": "image",
            "axes": ["windows", "channel", *spatial],
            "shape": [None, config.channels, *config.patch],
            "dtype": "float32",
            "image_channels": config.in_channels,
            "slices": config.slices,
        },
        "output": {
            "name": "probabilities",
            "axes": ["windows", "class", *spatial],
            "shape": [None, len(config.classes), *config.patch],
            "dtype": "float32",
        },
        "preprocessing": {
            "orientation": "RAS+",
            "spacing_mm": list(config.preprocessing["spacing"]),
            "resampling": RESAMPLING,
            "normalize": normalize,
            "normalization": NORMALIZATIONS.get(
                normalize, "clipped to LOW and HIGH, minus LOW, over HIGH - LOW"
            ),
        },
        "windows": {
            "sides": list(config.patch),
            "overlap": OVERLAP,
            "blend": "gaussian",
            "sigma": SIGMA,
            "padding": "zeros, half before and half after",
            "flips_known": list(flips_of(config)),
        },
        "postprocessing": {
            "resampling": "probabilities, likewise, to the image's own voxels",
            "label": "the value of the class with the highest probability, the first of equal ones",
            "values": values_of(config),
        },
        "classes": list(config.classes),
        "run": {
            "command": config.command,
            "method": config.method,
            "model": config.model,
            "model_options": config.model_options,
            "networks": list(networks),
            "checkpoint": checkpoint,
            "seed": config.seed,
            "config": f"sha256:{sha256_file(folder / CONFIG)}",
            "weights": f"sha256:{sha256_file(weights)}",
            "split": config.split,
        },
    }


def values_of(config: RunConfig) -> list[int]:
    """Value of each class in the masks."""
    return list(config.label_values or range(len(config.classes)))
