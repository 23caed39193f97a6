"""What `train-sup` and `train-semi` say of several runs: one a fold, one a seed."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseg_cli import console
from llmseg_cli.artifacts.folds import load_folds
from llmseg_cli.artifacts.run_set import Member, RunOfSet
from llmseg_cli.artifacts.split import SPLIT, Split
from llmseg_cli.commands._train import TrainOptions, train_one

if TYPE_CHECKING:
    from llmseg_cli.workflows.train.request import Request

Ask = Callable[[TrainOptions, Split, Path], "Request"]


def train_set(ask: Ask, options: TrainOptions, data: Path, output: Path) -> dict[str, Any]:
    """Train a run a fold and seed, or say what would be trained; returns the `--json` document.

    Args:
        ask: Makes the request of one run from its options (with its seed), split and folder.
        options: Of the whole set.
        data: The data set.
        output: The folder of the set.
    """
    from llmseg_cli.workflows.train.run_set import run_set, validation_spread

    splits = _splits(options, data, output)
    requests: dict[Member, Request] = {}
    for member in options.members():
        own = replace(options, seed=options.seed if member.seed is None else member.seed)
        requests[member] = ask(own, splits[member.fold], output / member.folder)
    if options.dry_run:
        return _dry_run(requests, options)
    order = {member: number for number, member in enumerate(requests, start=1)}

    def train(member: Member, request: "Request") -> dict[str, Any]:
        console.info(f"Run {order[member]} of {len(requests)}: {member.words}")
        return train_one(request, options)

    runs = run_set(output, requests, train, resume=options.resume, force=options.force)
    spread = validation_spread(runs)
    _show(output, runs, spread)
    _next_step(next(iter(splits.values())), runs, data, output)
    return {
        "out": str(output),
        "runs": [asdict(run) for run in runs],
        "validation_dice": spread,
    }


def _next_step(split: Split, runs: tuple[RunOfSet, ...], data: Path, output: Path) -> None:
    if split.fold is not None:
        words = ("predict", "--run", output, "--cross-validation", "--data", data)
        console.next_step(*words, "-o", f"{output}-masks")
        return
    first = output / runs[0].folder
    subset = "test" if split.test else "validation" if split.validation else "unlabeled"
    console.next_step(
        *("predict", "--run", first, "--data", data, "--split", first / SPLIT),
        *("--subset", subset, "-o", f"{output}-masks/{runs[0].folder}"),
    )


def _splits(options: TrainOptions, data: Path, output: Path) -> dict[int | None, Split]:
    """Those of the folds, or, under None, the one that all seeds share."""
    if options.split is not None and options.split.is_dir():
        return {
            split.fold: replace(options, split=path).choose_split(data, output)
            for path, split in load_folds(options.split).items()
        }
    return {None: options.choose_split(data, output / Member(None, options.seed).folder)}


def _dry_run(requests: dict[Member, "Request"], options: TrainOptions) -> dict[str, Any]:
    first = next(iter(requests.values()))
    document = train_one(first, options)
    console.info(
        f"{len(requests)} such runs, one after another: "
        f"{', '.join(member.folder for member in requests)}."
    )
    return {**document, "runs": [member.folder for member in requests]}


def _show(output: Path, runs: tuple[RunOfSet, ...], spread: dict[str, Any]) -> None:
    rows = [
        [
            run.folder,
            str(run.steps),
            _number(run.validation_dice_final),
            _number(run.validation_dice_best),
            "-" if run.best_step is None else str(run.best_step),
        ]
        for run in runs
    ]
    for name, key in (("mean", "mean"), ("standard deviation", "std")):
        values = [(found or {}).get(key) for found in (spread["final"], spread["best"])]
        rows.append([name, "", *map(_number, values), ""])
    columns = ["run", "steps", "validation Dice", "best", "at step"]
    console.table(f"{output}: {len(runs)} runs", columns, rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
