"""Several training runs, one after another, that differ in fold or seed alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest
from llmseg_cli.artifacts.own_folder import refuse_replacing
from llmseg_cli.artifacts.run_files import CONFIG
from llmseg_cli.artifacts.run_set import Member, RunOfSet
from llmseg_cli.errors import StoppedError, UsageError
from llmseg_cli.training.stop import stop_on_signals
from llmseg_cli.workflows.runs.learned import learned_with, showing
from llmseg_cli.workflows.train.request import Request

TrainOne = Callable[[Member, Request], Mapping[str, Any]]


def run_set(
    output: Path,
    requests: Mapping[Member, Request],
    train: TrainOne,
    *,
    resume: bool,
    force: bool,
) -> tuple[RunOfSet, ...]:
    """Train one after another, and write the set's `run.json` when all are done.

    Args:
        output: The folder of the set; each request's output is its member's folder in it.
        requests: What each run is to do.
        train: Trains one and returns what `--json` says of it.
        resume: Whether finished runs are kept.
        force: Whether runs that are there are replaced.

    Raises:
        UsageError: If the folder is in use, or is one run.
        PolicyError, ArtifactError: If what a run starts from does not serve, before any starts.
        StoppedError: If a signal came; what was done is kept.
    """
    with only_job(output), stop_on_signals() as stop:
        _refuse_folder(output, resume=resume, force=force)
        for request in requests.values():
            learned_with(
                request.split,
                request.method,
                init=request.init,
                masks=request.pseudo.folder,
                show=showing(request.data),
            )
        first = next(iter(requests.values()))
        manifest = Manifest(
            first.command, seed=first.seed, deterministic=first.settings.deterministic
        )
        (output / MANIFEST).unlink(missing_ok=True)
        found: list[RunOfSet] = []
        for member, request in requests.items():
            if stop:
                raise StoppedError(
                    f"{stop.signal}: stopped between two runs; {len(found)} of {len(requests)} are "
                    "done. Run the same command with --resume to continue."
                )
            found.append(_of_set(member, request, train(member, request)))
    _write_manifest(manifest, output, list(requests.values()), found)
    return tuple(found)


def spread(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Mean, standard deviation (n - 1; None for one value) and number of the values that exist."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    std = stdev(known) if len(known) > 1 else None
    return {"mean": fmean(known), "std": std, "n": len(known)}


def validation_spread(runs: Sequence[RunOfSet]) -> dict[str, Any]:
    """Validation Dice over the runs, of the last and of the best step."""
    return {
        "final": spread([run.validation_dice_final for run in runs]),
        "best": spread([run.validation_dice_best for run in runs]),
    }


def _refuse_folder(output: Path, *, resume: bool, force: bool) -> None:
    if (output / CONFIG).is_file():
        raise UsageError(
            f"{output} is one run, and several runs need a folder of their own. Choose another -o."
        )
    if not resume:
        refuse_replacing(output, force=force, names=(MANIFEST,))


def _of_set(member: Member, request: Request, said: Mapping[str, Any]) -> RunOfSet:
    return RunOfSet(
        folder=member.folder,
        fold=member.fold,
        seed=request.seed,
        steps=said["steps"],
        validation_dice_final=said["validation_dice_final"],
        validation_dice_best=said["validation_dice_best"],
        best_step=said["best_step"],
    )


def _write_manifest(
    manifest: Manifest, output: Path, requests: Sequence[Request], runs: Sequence[RunOfSet]
) -> None:
    splits = {request.split.fold: request.split for request in requests}
    for fold, split in splits.items():
        name = "split" if fold is None else f"fold-{fold}"
        manifest.inputs[name] = f"sha256:{split.digest}"
    manifest.inputs["images"] = f"sha256:{sha256_json(requests[0].split.images)}"
    manifest.counts = {"runs": len(runs)}
    manifest.details = {
        "runs": [asdict(run) for run in runs],
        "validation_dice": validation_spread(runs),
    }
    manifest.write(output, outputs=tuple(f"{run.folder}/{MANIFEST}" for run in runs))
