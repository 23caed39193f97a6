"""Masks of the same cases in several folders, made into one a case by a rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.data.checking.geometry import require_same_grid
from llmseg_cli.data.consensus import RULES
from llmseg_cli.data.grids import Grid
from llmseg_cli.data.volumes import load_label_map, prediction_suffix, save_label_map
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.ensemble.mean import most_probable
from llmseg_cli.workflows.score.predictions import Predictions

MEAN = "mean"  # of probabilities, not of masks


@dataclass(frozen=True)
class Masks:
    """What is combined.

    Args:
        folders: Of masks, at least two.
        found: What lies in each.
        details: What their `run.json` say together, for that of the result.
    """

    folders: Sequence[Path]
    found: Sequence[Predictions]
    details: Mapping[str, Any]

    def combined(self, case: str, rule: str) -> tuple[NDArray[np.integer], Grid]:
        """The label map of a case by a rule, and its grid, the first folder's.

        Raises:
            DataError: If masks lie on other grids, or probabilities are missing.
        """
        masks = [load_label_map(one.files[case]) for one in self.found]
        grid = masks[0].grid
        for mask in masks[1:]:
            require_same_grid(grid, mask.grid, case=case)
        if rule == MEAN:
            values = self.details.get("label_values", ())
            return most_probable(self.folders, case, grid, values), grid
        return RULES[rule]([mask.array for mask in masks]), grid


def write_masks(
    folder: Path, masks: Masks, cases: Sequence[str], rule: str, *, progress: Progress
) -> dict[str, str]:
    """Write a mask a case, and say in which file.

    Args:
        folder: Where.
        masks: What is combined.
        cases: Of which.
        rule: How.
        progress: Hears about cases.
    """
    files = {}
    for done, case in enumerate(cases):
        progress("ensemble", done, len(cases), case=case)
        array, grid = masks.combined(case, rule)
        files[case] = f"{case}{prediction_suffix(grid)}"
        save_label_map(folder / files[case], array, grid)
    return files
