"""Several runs that answer together: the mean of their probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.errors import UsageError
from llmseg_cli.workflows.runs.flips import flips_of
from llmseg_cli.workflows.runs.run_folder import OpenRun

ALIKE = {  # what runs must have in common, and what it is called
    "in_channels": "number of image channels",
    "classes": "classes",
    "label_map": "changes of label values (--label-map)",
    "ignore_label": "ignore label",
    "label_values": "label values",
}


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
    def temperatures(self) -> dict[str, float]:
        """Those of all networks, by the same names; empty where they answer without."""
        groups = (group.temperatures or {} for group in self.groups)
        return {name: one for group in groups for name, one in group.items()}

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
    temperatures: dict[str, float] = {}
    for run_name, run in runs.items():
        for name, network in run.networks.items():
            key = f"{run_name}: {name}"
            networks[key], shares[key] = network, 1 / (len(runs) * len(run.networks))
            if run.temperatures is not None:
                temperatures[key] = run.temperatures[name]
    return OpenRun(first.config, networks, first.device, first.dtype, shares, temperatures or None)


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
