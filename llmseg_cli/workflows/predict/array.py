"""An array in memory, asked about as its file would be."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.data.case import Case
from llmseg_cli.data.volumes import Volume
from llmseg_cli.numerics.resampling import resample
from llmseg_cli.workflows.predict.image import Manner, Prepared, prepare_volume
from llmseg_cli.workflows.predict.labels import network_probabilities, predict_labels
from llmseg_cli.workflows.runs.run_folder import OpenRun

NAME = "array"  # in messages, where a file would stand


def labels_of(run: OpenRun, volume: Volume, manner: Manner) -> NDArray[np.uint8 | np.uint16]:
    """The most probable class of each voxel, `(X, Y, Z)`, as `llmseg predict` finds it."""
    return predict_labels(_prepared(run, volume, manner), run, manner, asked=lambda count: None)


def probabilities_of(run: OpenRun, volume: Volume, manner: Manner) -> NDArray[np.float32]:
    """Probabilities of the classes on the image's own voxels, `(K, X, Y, Z)`."""
    found = network_probabilities(_prepared(run, volume, manner), run, manner)
    return resample(found, volume.grid.ras_shape)


def _prepared(run: OpenRun, volume: Volume, manner: Manner) -> Prepared:
    return prepare_volume(Case(NAME, (Path(NAME),), None), volume, run, manner)
