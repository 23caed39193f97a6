"""`llmseg predict --cross-validation`: each fold's validation cases, by the run of that fold."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.files import refuse_resume_and_force, sha256_file
from llmseg_cli.artifacts.folds import pool
from llmseg_cli.artifacts.inputs import Input, refuse_folder_over_inputs
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest
from llmseg_cli.artifacts.own_folder import refuse_foreign_record, refuse_replacing
from llmseg_cli.artifacts.run_set import load_set
from llmseg_cli.artifacts.split import SPLIT, Split
from llmseg_cli.errors import ArtifactError, PartialError, StoppedError
from llmseg_cli.training.stop import stop_on_signals
from llmseg_cli.workflows.predict.run import Predicted
from llmseg_cli.workflows.runs.folders import chosen_in

PredictOne = Callable[[Path, Path, Path], Predicted]


@dataclass(frozen=True)
class FoldMasks:
    """What one run predicts.

    Args:
        run: Its folder within that of the set.
        masks: The folder of its masks within the output.
        fold: Its fold.
    """

    run: str
    masks: str
    fold: int


def folds_to_predict(run_folder: Path) -> tuple[FoldMasks, ...]:
    """A folder of masks a fold, in a folder a seed if there are several seeds.

    Args:
        run_folder: Of a finished set of runs.

    Raises:
        ArtifactError: If it is none, or its runs are not of folds.
    """
    runs = load_set(run_folder)
    if runs is None or any(run.fold is None for run in runs):
        raise ArtifactError(
            f"--run {run_folder} is no finished set of runs of folds. Train one with 'llmseg "
            "train-sup --split FOLDER', the folder of 'llmseg split --folds', or finish it with "
            "--resume."
        )
    several = len({run.seed for run in runs}) > 1
    return tuple(
        FoldMasks(
            run.folder,
            f"seed-{run.seed}/fold-{run.fold}" if several else f"fold-{run.fold}",
            run.fold,
        )
        for run in runs
        if run.fold is not None
    )


def cross_validate(
    run_folder: Path,
    out: Path,
    predict: PredictOne,
    *,
    resume: bool,
    force: bool,
    dry_run: bool,
) -> tuple[Predicted, ...]:
    """Predict every fold by its own run, one after another.

    Last come `split.json`, with the validation cases of all folds, and, if none failed, `run.json`.

    Args:
        run_folder: A set of runs, one a fold (and seed), or the folder of a course that chose one.
        out: Folder for a folder of masks a fold.
        predict: Predicts the validation cases, given a run, its split and the folder for its masks.
        resume: Whether masks that are there are kept.
        force: Whether they are replaced.
        dry_run: Whether nothing is written.

    Raises:
        UsageError: If the folder exists or is in use.
        PartialError: If cases failed; those of all folds were tried.
        StoppedError: If a signal came; finished cases are kept.
    """
    run_folder = chosen_in(run_folder)
    tasks = folds_to_predict(run_folder)
    if dry_run:
        return tuple(_predict(run_folder, out, task, predict) for task in tasks)
    refuse_resume_and_force(resume=resume, force=force)
    manifest = Manifest("predict")
    with only_job(out), stop_on_signals() as stop:
        refuse_folder_over_inputs(out, [Input("the run folder", run_folder)])
        if not resume:
            refuse_replacing(out, force=force, names=(MANIFEST, SPLIT))
        refuse_foreign_record(out)
        (out / MANIFEST).unlink(missing_ok=True)
        found: list[Predicted] = []
        failures: list[PartialError] = []
        for number, task in enumerate(tasks):
            if stop:
                raise StoppedError(
                    f"{stop.signal}: stopped between two folds; {number} of {len(tasks)} are done. "
                    "Run the same command with --resume to continue."
                )
            try:
                found.append(_predict(run_folder, out, task, predict))
            except PartialError as error:
                failures.append(error)
    splits = {task.fold: Split.load(run_folder / task.run / SPLIT) for task in tasks}
    pool(list(splits.values()), name=str(run_folder)).save(out / SPLIT)
    if failures:  # what was predicted can be scored
        raise failures[0]
    manifest.inputs = {"runs": f"sha256:{sha256_file(run_folder / MANIFEST)}"}
    manifest.counts = {"cases_in": sum(one.counts["cases_in"] for one in found)}
    manifest.details = {"folds": [{"run": task.run, "masks": task.masks} for task in tasks]}
    manifest.write(out, outputs=(SPLIT, *(f"{task.masks}/{MANIFEST}" for task in tasks)))
    return tuple(found)


def _predict(run_folder: Path, out: Path, task: FoldMasks, predict: PredictOne) -> Predicted:
    run = run_folder / task.run
    return predict(run, run / SPLIT, out / task.masks)
