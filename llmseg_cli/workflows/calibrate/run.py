"""`llmseg calibrate`: temperatures of a run's networks, found on its validation cases."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmseg_cli.artifacts.calibration import Calibration
from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.artifacts.learned import Learned
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.split import SPLIT, Split
from llmseg_cli.data.cases import Case
from llmseg_cli.errors import ArtifactError, DataError, PolicyError, UsageError
from llmseg_cli.inference.temperature import is_at_limit
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.calibrate.fit import change_of_mean, fitted_networks, joined_draws
from llmseg_cli.workflows.calibrate.voxels import Drawn, drawn_of
from llmseg_cli.workflows.predict.choice import choose_cases
from llmseg_cli.workflows.predict.image import prepare
from llmseg_cli.workflows.runs.calibrated import calibration_file
from llmseg_cli.workflows.runs.folders import run_folders
from llmseg_cli.workflows.runs.learned import learned_by, refuse_answers, some
from llmseg_cli.workflows.runs.run_folder import OpenRun, checkpoint_file, open_run

ROLE = "validation"


@dataclass(frozen=True)
class Calibrated:
    """What was found of one run.

    Args:
        file: The document in its folder.
        calibration: What it says.
        warnings: What a reader should know.
    """

    file: Path
    calibration: Calibration
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "file": str(self.file),
            **asdict(self.calibration),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class _Task:
    """A run and the cases that it is asked about."""

    folder: Path
    split: Split
    cases: tuple[Case, ...]
    target: Path


def run(
    runs: Sequence[Path],
    *,
    data: Path,
    split: Path | None = None,
    voxels: int = 50_000,
    checkpoint: str = "final",
    device: str = "auto",
    cache: Path | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Progress = silent,
) -> tuple[Calibrated, ...]:
    """Find the temperature of each network of each run, and write them into the run folders.

    Args:
        runs: Run folders, or folders that hold some, as those of folds.
        data: The data set of the split.
        split: Split file whose validation cases are asked about; by default each run's own.
        voxels: To draw, of all cases of a run together.
        checkpoint: `final` or `best`.
        device: auto, cpu, cuda or cuda:N.
        cache: llmseg's cache folder, if it is not the usual one.
        seed: Of the draw.
        force: Replace what an earlier call has found.
        progress: Hears about cases.

    Raises:
        UsageError: If there are temperatures already, without *force*.
        DataError: If there are no validation cases, or one cannot be compared.
        PolicyError: If a run has learned from one of them, or one is a locked test case of a run.
        ArtifactError: If a folder is no finished run.
    """
    tasks = [_task(folder, data, split, checkpoint) for folder in run_folders(runs)]
    for task in tasks:
        _refuse_existing(task.target, force=force)
    total, done = sum(len(task.cases) for task in tasks), 0
    found = []
    for task in tasks:
        opened = open_run(
            task.folder, device=device, network="mean", checkpoint=checkpoint, cache=cache
        )
        draws: list[Drawn] = []
        learned = learned_by(task.folder)
        for number, case in enumerate(task.cases):
            progress("calibrate", done, total, case=case.id)
            share = -(-voxels // len(task.cases))
            random = np.random.default_rng((seed, number))
            draws += _asked(task, learned, case, opened, most=share, random=random)
            done += 1
        found.append(_write(task, opened, draws, checkpoint=checkpoint, seed=seed, force=force))
    progress("calibrate", total, total)
    return tuple(found)


def _task(folder: Path, data: Path, split: Path | None, checkpoint: str) -> _Task:
    path = split or folder / SPLIT
    if not path.is_file():
        raise ArtifactError(
            f"{folder} has no {SPLIT}, which says what it was validated with. Put it back, or name "
            "one with --split."
        )
    roles = Split.load(path)
    if not roles.validation:
        raise DataError(
            f"{path} has no validation cases, and a temperature is found on cases that were not "
            "trained on. Train with a split that has some ('llmseg split --validation 2' makes "
            "one), or name one with --split."
        )
    cases = choose_cases(data, (), path, ROLE)
    names = [case.id for case in cases]
    refuse_answers(folder, learned_by(folder), roles, names, checkpoint="final")
    _refuse_locked(folder, roles, names)
    return _Task(folder, roles, cases, calibration_file(folder, checkpoint))


def _refuse_locked(folder: Path, roles: Split, cases: Sequence[str]) -> None:
    """Refuse cases that are locked for the run, whatever another split calls them."""
    if not (folder / SPLIT).is_file():
        return
    own = Split.load(folder / SPLIT)
    locked = {digest for case in own.test for digest in own.digests_of(case)}
    if found := [case for case in cases if roles.digests_of(case) & locked]:
        raise PolicyError(
            f"{len(found)} validation cases of --split ({some(found)}) are locked test cases of "
            f"{folder}, which would be scored on what it was adjusted to. Leave --split out."
        )


def _refuse_existing(path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        raise UsageError(f"{path} exists. Pass --force to replace it.")


def _asked(
    task: _Task,
    learned: Learned,
    case: Case,
    opened: OpenRun,
    *,
    most: int,
    random: np.random.Generator,
) -> list[Drawn]:
    prepared = prepare(case, opened)
    shown = {case.id: prepared.voxels}
    refuse_answers(task.folder, learned, task.split, [case.id], checkpoint="final", voxels=shown)
    drawn = drawn_of(case, prepared, opened, most=most, random=random)
    return [] if drawn is None else [drawn]


def _write(
    task: _Task,
    opened: OpenRun,
    draws: Sequence[Drawn],
    *,
    checkpoint: str,
    seed: int,
    force: bool,
) -> Calibrated:
    if not draws:
        raise DataError(
            f"All voxels of the validation cases of {task.folder} have the ignore label, so "
            "nothing can be compared. Label some of them."
        )
    drawn = joined_draws(draws)
    networks = fitted_networks(drawn)
    is_mean = opened.config.answer == "mean" and len(networks) > 1
    calibration = Calibration(
        checkpoint=checkpoint,
        weights=sha256_file(checkpoint_file(task.folder, checkpoint)),
        split=task.split.digest,
        cases=tuple(case.id for case in task.cases),
        voxels=len(drawn.labels),
        seed=seed,
        networks=networks,
        answer=change_of_mean(drawn, networks) if is_mean else None,
    )
    with only_job(task.folder):
        _refuse_existing(task.target, force=force)
        calibration.save(task.target)
    return Calibrated(task.target, calibration, tuple(_warnings(task.folder, calibration)))


def _warnings(folder: Path, found: Calibration) -> list[str]:
    said = []
    if len(found.cases) == 1:
        said.append(
            f"{folder}: its temperatures are those of one validation case; others may differ."
        )
    at_limit = [name for name, one in found.networks.items() if is_at_limit(one.temperature)]
    if at_limit:
        said.append(
            f"{folder}: the temperature of {', '.join(at_limit)} is the most that is tried, so the "
            "voxels do not say how sure it should be (as where it is right, or wrong, in all of "
            "them). Take more cases, or more --voxels."
        )
    return said
