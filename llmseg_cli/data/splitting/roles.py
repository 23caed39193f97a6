"""What a split knows of the cases, and the roles it gives them."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from llmseg_cli.data.splitting.draws import Unit


@dataclass(frozen=True)
class CaseFacts:
    """What a split needs to know of a case.

    Args:
        id: Identifier.
        group: What must stay together, or None.
        foreground: Class to its volume in the label map; None if there is no label map.
        is_test: Whether it is of the data set's own test set.
    """

    id: str
    group: str | None
    foreground: Mapping[int, float] | None
    is_test: bool = False


@dataclass(frozen=True)
class Roles:
    """Identifiers by role."""

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def units_of(facts: Sequence[CaseFacts]) -> list[Unit]:
    """The groups, and the cases without a group, in an order that does not depend on *facts*'."""
    groups: dict[tuple[str, str], list[CaseFacts]] = defaultdict(list)
    for case in facts:
        key = ("case", case.id) if case.group is None else ("group", case.group)
        groups[key].append(case)
    return [_unit(" ".join(key), groups[key]) for key in sorted(groups)]


def _unit(name: str, facts: Sequence[CaseFacts]) -> Unit:
    known = [case.foreground for case in facts if case.foreground is not None]
    return Unit(
        name=name,
        cases=tuple(sorted(case.id for case in facts if case.foreground is not None)),
        bare=tuple(sorted(case.id for case in facts if case.foreground is None)),
        classes=frozenset(chain.from_iterable(known)),
        volume=sum(sorted(chain.from_iterable(foreground.values() for foreground in known))),
    )


def cases_of(units: Collection[Unit]) -> tuple[str, ...]:
    """Sorted identifiers of the cases with a label map."""
    return tuple(sorted(chain.from_iterable(unit.cases for unit in units)))


def describe_classes(values: Collection[int], names: Mapping[int, str]) -> str:
    """`class 2 'liver' is` or `classes 1, 2 are`, to begin or continue a sentence."""
    shown = [
        f"{value} '{names[value]}'" if value in names else str(value) for value in sorted(values)
    ]
    return f"class {shown[0]} is" if len(shown) == 1 else f"classes {', '.join(shown)} are"
