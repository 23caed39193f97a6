"""Several runs that answer together: the mean of their probabilities."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llmseg_cli.artifacts.inside import is_plain_name
from llmseg_cli.artifacts.manifest import MANIFEST
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import CONFIG, COURSE, WEIGHTS
from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.reading import read_text
from llmseg_cli.typed import parsed
from llmseg_cli.workflows.runs.flips import flips_of
from llmseg_cli.workflows.runs.run_folder import OpenRun

ALIKE = {  # what runs must have in common, and what it is called
    "in_channels": "number of image channels",
    "classes": "classes",
    "label_map": "changes of label values (--label-map)",
    "ignore_label": "ignore label",
    "label_values": "label values",
}
DEPTH = 3  # of folders below one that is named, as in OUT/fold-0/seed-1


@dataclass(frozen=True)
class Ensemble:
    """Runs that answer as one.

    Args:
        groups: Runs whose images are prepared alike, whose windows are of one size and whose
            trainings had the same flips are one group, as a run of all their networks: one
            network after another is asked about a window, and there is one sum.
        weights: How many of the runs each group has, as shares that sum to 1.
    """

    groups: tuple[OpenRun, ...]
    weights: tuple[float, ...] = (1.0,)

    @property
    def config(self) -> RunConfig:
        """Of the first run; what `ALIKE` names is that of all."""
        return self.groups[0].config

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.groups[0].device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the convolutions."""
        return self.groups[0].dtype

    @property
    def networks(self) -> dict[str, nn.Module]:
        """All networks, by the names of their runs and their own."""
        return {name: one for group in self.groups for name, one in group.networks.items()}

    @property
    def patches(self) -> tuple[tuple[int, ...], ...]:
        """The different sizes of windows."""
        return tuple(dict.fromkeys(group.config.patch for group in self.groups))


def joined(runs: Mapping[str, OpenRun]) -> Ensemble:
    """Let runs answer together, each with the same weight, however many networks it has.

    Args:
        runs: Name to run.

    Raises:
        UsageError: If their probabilities cannot be averaged; it names the setting that differs.
    """
    refuse_unlike({name: run.config for name, run in runs.items()})
    if len(runs) == 1:
        return Ensemble(tuple(runs.values()))
    groups: dict[Any, dict[str, OpenRun]] = {}
    for name, run in runs.items():
        alike = run.preprocessing, run.config.patch, run.config.slices, flips_of(run.config)
        groups.setdefault(alike, {})[name] = run
    return Ensemble(
        tuple(map(_as_one, groups.values())),
        tuple(len(members) / len(runs) for members in groups.values()),
    )


def _as_one(runs: Mapping[str, OpenRun]) -> OpenRun:
    first = next(iter(runs.values()))
    networks, shares = {}, {}
    for run_name, run in runs.items():
        for name, network in run.networks.items():
            key = f"{run_name}: {name}"
            networks[key], shares[key] = network, 1 / (len(runs) * len(run.networks))
    return OpenRun(first.config, networks, first.device, first.dtype, shares)


def refuse_unlike(configs: Mapping[str, RunConfig]) -> None:
    """Refuse runs whose probabilities cannot be averaged.

    Args:
        configs: Name of a run to its settings.

    Raises:
        UsageError: Naming the setting that differs, and both values.
    """
    (first, config), *others = configs.items()
    for name, other in others:
        for key, said in ALIKE.items():
            mine, theirs = _value(config, key), _value(other, key)
            if mine != theirs:
                raise UsageError(
                    f"The runs {first} and {name} cannot answer together: their {said} differ "
                    f"({_shown(mine)} and {_shown(theirs)}). Leave one of them out of --run."
                )


def _value(config: RunConfig, key: str) -> Any:
    value = getattr(config, key)
    return tuple(sorted(value)) if key == "label_map" else value


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def run_folders(named: Sequence[Path]) -> tuple[Path, ...]:
    """The run folders that are meant: those named, and in a folder that is no run all below it.

    Of a folder of `llmseg auto` they are those of the training that it chose.

    Raises:
        ArtifactError: If there is none, or one below a folder is not finished.
        UsageError: If a run is named twice, which would count twice.
    """
    meant = [chosen_in(folder) for folder in named]
    found = [run for folder in meant for run in (_below(folder) if _holds(folder) else [folder])]
    times = Counter(run.resolve() for run in found)
    if twice := [run for run in found if times[run.resolve()] > 1]:
        raise UsageError(f"--run {twice[0]} is named twice, and would count twice. Name it once.")
    return tuple(found)


def chosen_in(folder: Path) -> Path:
    """Of a folder of `llmseg auto`, that of the training that it chose; any other as it is.

    Raises:
        ArtifactError: If its `run.json` cannot be read, or it is not finished.
    """
    if not (folder / COURSE).is_file():
        return folder
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(
            f"{folder} is a course of 'llmseg auto' that is not finished. Finish it with --resume, "
            "or name the runs in it, each with --run."
        )
    record = parsed(read_text(folder / MANIFEST), name=str(folder / MANIFEST), error=ArtifactError)
    name = record.get("details", {}).get("chosen") if isinstance(record, dict) else None
    if not isinstance(name, str) or not is_plain_name(name):
        raise ArtifactError(f"{folder / MANIFEST} does not say which training was chosen.")
    return folder / name


def _holds(folder: Path) -> bool:
    """Whether a folder is no run itself, but may hold some."""
    return folder.is_dir() and not (folder / CONFIG).exists() and any(_runs_in(folder))


def _below(folder: Path) -> list[Path]:
    found = list(_runs_in(folder))
    for run in found:
        if not (run / WEIGHTS).is_file():
            raise ArtifactError(
                f"{run} is not finished (it has no {WEIGHTS}). Finish it with --resume, or name "
                "the finished runs, each with --run."
            )
    return found


def _runs_in(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    for child in sorted(folder.iterdir()) if depth else ():
        if not child.is_dir() or child.name.startswith("."):
            continue
        if (child / CONFIG).is_file():
            yield child
        else:
            yield from _runs_in(child, depth - 1)


def short_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Names of folders as short as tell them apart: their last part, or more of them."""
    whole = [folder.resolve() for folder in folders]
    length = 1
    while True:
        names = tuple("/".join(one.parts[-length:]) for one in whole)
        if len(set(names)) == len(names):
            return names
        length += 1
