"""What is labeled together: a group's cases, such as the scans of a patient, or a case alone."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from llmseg_cli.workflows.suggest.choice import Chosen, Features

Units = Mapping[str, Sequence[str]]
"""Name of a unit to its cases: a group's name, or the case's own."""


def units_of(cases: Sequence[str], groups: Mapping[str, str]) -> dict[str, list[str]]:
    """The units of cases; names of groups have a mark that no case has.

    Args:
        cases: Identifiers.
        groups: Case to group, of the cases that have one.
    """
    found: dict[str, list[str]] = {}
    for case in sorted(cases):
        found.setdefault(f"{groups[case]}/" if case in groups else case, []).append(case)
    return found


def trust_of(units: Units, trust: Mapping[str, float | None]) -> dict[str, float | None]:
    """The mean trust of a unit's cases; None if nothing is marked in one of them."""
    found: dict[str, float | None] = {}
    for name, cases in units.items():
        values = [trust[case] for case in cases]
        known = [value for value in values if value is not None]
        found[name] = fmean(known) if len(known) == len(values) else None
    return found


def features_of_units(units: Units, features: Features) -> Features:
    """The mean of the numbers of a unit's cases."""
    return {name: np.mean([features[c] for c in cases], axis=0) for name, cases in units.items()}


def with_at_least(chosen: Sequence[Chosen], units: Units, count: int) -> list[Chosen]:
    """The first units that have *count* cases together, or all."""
    found: list[Chosen] = []
    for one in chosen:
        if sum(len(units[taken.case]) for taken in found) >= count:
            break
        found.append(one)
    return found
