"""Runs that learn from pseudo-labels, small enough for a test and without Segment Anything."""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tiny_data import write_nifti
from tiny_runs import run_config
from torch import nn
from toy_cohort import SPACING_MM, toy_case

from llmseg_cli.artifacts.split import Split
from llmseg_cli.config import TrainSettings
from llmseg_cli.data.cases import Case, find_cases
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.data.volumes import Volume, load_image
from llmseg_cli.knowledge.mining.mine import Finding, Mined
from llmseg_cli.progress import silent
from llmseg_cli.training.pace import Pace
from llmseg_cli.training.ranks import ALONE
from llmseg_cli.training.stop import StopRequest
from llmseg_cli.workflows.mine.case import Miner
from llmseg_cli.workflows.predict.image import Manner
from llmseg_cli.workflows.runs.run_folder import OpenRun
from llmseg_cli.workflows.train.data import TrainingData, prepare
from llmseg_cli.workflows.train.pseudo_rounds import PseudoBatches, PseudoPlan

AFFINE = np.diag([*SPACING_MM, 1.0])
UNLABELED = ("toy03", "toy04")  # of the toy split
Label = Callable[[Case, Volume, OpenRun], NDArray[np.uint8] | None]


def bright(case: Case, volume: Volume, run: OpenRun) -> NDArray[np.uint8]:
    """Classes of the toy cohort by their brightness."""
    return np.digitize(volume.array[0], (2.0, 6.0)).astype(np.uint8)


class StandIn(Miner):
    """Makes pseudo-labels as a function says; None drops the case."""

    def __init__(self, label: Label = bright, **made_by: Any) -> None:
        super().__init__(Manner())
        self.label, self._made_by = label, made_by

    def mine(self, case: Case, digest: str, run: OpenRun) -> tuple[Volume, Mined]:
        volume = load_image(case.images)
        found = self.label(case, volume, run)
        return volume, Mined(found, (Finding(1, 1, reason="" if found is not None else "bad"),))

    @property
    def made_by(self) -> dict[str, Any]:
        return {"miner": "stand-in", **self._made_by}


def write_masks(folder: Path, cases: Iterable[str] = UNLABELED, *, shift: int = 0) -> Path:
    """True label maps as a folder of masks, moved along X by *shift* voxels."""
    for case in cases:
        labels = toy_case(int(case[-2:]))[1]
        write_nifti(folder / f"{case}.nii.gz", np.roll(labels, shift, axis=0), AFFINE)
    return folder


def toy_training_data(data: Path, split: Path, cache: Path) -> TrainingData:
    """The toy cohort, prepared as for a run."""
    return prepare(
        data,
        Split.load(split),
        preprocessing=Preprocessing(normalize="none"),
        label_map={},
        cache=cache,
        with_unlabeled=True,
    )


class HalfLoop:
    """What `PseudoBatches` needs of a loop; the test counts the steps."""

    def __init__(self, folder: Path, network: nn.Module | None = None) -> None:
        self.folder, self.step, self.last_step = folder, 0, 0
        self.network = network or nn.Conv3d(1, 3, 1)
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.saved: list[int] = []
        self.lines: list[dict[str, float]] = []
        self.log, self.pace, self.ranks = SimpleNamespace(write=self._write), Pace(), ALONE

    def _write(self, step: int, **values: float) -> None:
        self.lines.append({"step": step, **values})

    def save(self) -> None:
        self.saved.append(self.step)

    def final_networks(self) -> dict[str, nn.Module]:
        return {"network": self.network}


def pseudo_batches(
    data: Path,
    prepared: TrainingData,
    loop: HalfLoop,
    *,
    steps: int,
    masks: dict[str, Path] | None = None,
    minings: tuple[int, ...] = (),
    label: Label = bright,
    all_unlabeled: bool = False,
) -> PseudoBatches:
    """Batches of both unlabeled toy cases, patches of 8 voxels a side."""
    loop.last_step = steps
    config = run_config(
        patch=(8, 8, 8), classes=prepared.classes, networks=("network",), answer="network"
    )
    images = {case.id: case for case in find_cases(data).cases if case.id in UNLABELED}
    miner = StandIn(label) if minings else None
    return PseudoBatches(
        PseudoPlan(images, masks or {}, minings, miner, {}),
        prepared,
        config,
        TrainSettings(patch=(8, 8, 8), steps=steps, workers=0, augment="none"),
        loop,  # type: ignore[arg-type]
        all_unlabeled=all_unlabeled,
        stop=StopRequest(),
        progress=silent,
    )
