"""Draw groups of cases so that every draw looks like the whole, to an exact number of cases."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Unit:
    """Cases that stay together: a group such as a patient, or a single case.

    Args:
        name: Name of the group or case.
        cases: Identifiers of the cases with a label map, sorted.
        bare: Identifiers of those without one.
        classes: Foreground values that occur in the label maps.
        volume: Foreground of all label maps together.
    """

    name: str
    cases: tuple[str, ...]
    bare: tuple[str, ...]
    classes: frozenset[int]
    volume: float

    @property
    def size(self) -> int:
        """Number of cases with a label map."""
        return len(self.cases)


def total(units: Collection[Unit]) -> int:
    """Cases with a label map in all units."""
    return sum(unit.size for unit in units)


def classes_of(units: Collection[Unit]) -> frozenset[int]:
    """Foreground values that occur in some unit."""
    return frozenset().union(*(unit.classes for unit in units))


def without(units: Collection[Unit], taken: Collection[Unit]) -> list[Unit]:
    """The units that are not taken, in their order."""
    names = {unit.name for unit in taken}
    return [unit for unit in units if unit.name not in names]


def draw(units: Collection[Unit], size: int, rng: Random) -> list[Unit] | None:
    """Draw whole units with exactly *size* cases, stratified by foreground.

    The units are sorted by the classes in them and their foreground, and cut into as many blocks
    as units are wanted; one of each block comes first. The order of *units* does not matter.

    Returns:
        None if no choice of whole units has that many cases.
    """
    if size == 0:
        return []
    if not units:
        return None
    return _fill(_stratified(units, size, rng), size)


def _stratified(units: Collection[Unit], size: int, rng: Random) -> list[Unit]:
    ordered = sorted(units, key=lambda unit: (sorted(unit.classes), unit.volume, unit.name))
    wanted = round(size * len(ordered) / max(1, total(ordered)))
    blocks = min(len(ordered), max(1, wanted))
    cuts = [len(ordered) * block // blocks for block in range(blocks + 1)]
    first = [rng.choice(ordered[low:high]) for low, high in itertools.pairwise(cuts)]
    chosen = {unit.name for unit in first}
    rest = [unit for unit in ordered if unit.name not in chosen]
    rng.shuffle(first)
    rng.shuffle(rest)
    return first + rest


def _fill(order: Sequence[Unit], size: int) -> list[Unit] | None:
    """The first units of *order* that, completed by later ones, have exactly *size* cases."""
    if all(unit.size == 1 for unit in order):  # without groups: what follows, in less memory
        return None if size > len(order) else list(order[:size])
    reachable = [1]  # bit n of reachable[-1 - i]: the last i units can make n cases
    for unit in reversed(order):
        reachable.append(reachable[-1] | reachable[-1] << unit.size)
    if not reachable[-1] >> size & 1:
        return None
    chosen = []
    left = size
    for index, unit in enumerate(order):
        after = reachable[len(order) - 1 - index]
        if unit.size <= left and after >> (left - unit.size) & 1:
            chosen.append(unit)
            left -= unit.size
    return chosen


def sizes(units: Collection[Unit]) -> list[int]:
    """All numbers of cases that whole units can make, from 1."""
    bits = 1
    for unit in units:
        bits |= bits << unit.size
    return [size for size, bit in enumerate(f"{bits:b}"[::-1]) if bit == "1" and size]


def smallest_cover(units: Collection[Unit], classes: Collection[int]) -> list[Unit] | None:
    """The units with the fewest cases in which every class occurs.

    Returns:
        None if a class occurs in no unit.
    """
    if not set(classes) <= classes_of(units):
        return None
    ordered = sorted(units, key=lambda unit: (unit.size, unit.name))
    return _cover(ordered, frozenset(classes), total(units) + 1)


def _cover(units: Sequence[Unit], missing: frozenset[int], limit: int) -> list[Unit] | None:
    """Branch on the rarest missing class; give up at *limit* cases."""
    if not missing:
        return []
    carriers = {value: [unit for unit in units if value in unit.classes] for value in missing}
    rarest = min(sorted(missing), key=lambda value: len(carriers[value]))
    best: list[Unit] | None = None
    tried: list[frozenset[int]] = []
    for unit in carriers[rarest]:  # from small to large, so a unit that adds no more is no better
        gain = unit.classes & missing
        if unit.size >= limit or any(gain <= other for other in tried):
            continue
        tried.append(gain)
        rest = _cover(units, missing - gain, limit - unit.size)
        if rest is not None:
            best = [unit, *rest]
            limit = total(best)
    return best
