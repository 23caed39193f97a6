"""Draw a role for every case: labeled, unlabeled, validation or test.

The order of the draws is test, labeled, validation, each from its own seed, so that the test cases
do not change with `--labeled`. A group has one role; only where some of its cases have no label map
may labeled and unlabeled stand side by side in a group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from llmseg_cli.data.splitting.amounts import Amount
from llmseg_cli.data.splitting.draws import (
    Unit,
    classes_of,
    draw,
    sizes,
    smallest_cover,
    total,
    without,
)
from llmseg_cli.data.splitting.roles import CaseFacts, Roles, cases_of, describe_classes, units_of
from llmseg_cli.errors import DataError


@dataclass(frozen=True)
class Wanted:
    """The labeled cases, and how many of them validate.

    Args:
        labeled: Share, count or all.
        validation: Share or count; None for none.
        of: Number of cases that shares are of.
    """

    labeled: Amount
    validation: Amount | None
    of: int


def make_split(
    facts: Sequence[CaseFacts],
    *,
    labeled: Amount,
    test: Amount | None = None,
    validation: Amount | None = None,
    seed: int = 0,
    classes: Mapping[int, str] | None = None,
) -> Roles:
    """Draw the roles, stratified by foreground, the same for every order of *facts*.

    Args:
        facts: The cases.
        labeled: Share of the cases with a label map, a count, or all of them that are not test.
        test: Share of the cases with a label map, or a count.
        validation: Share of the cases with a label map, or a count; taken from the labeled.
        seed: Seed of the draws.
        classes: Declared label values and their names; each must be among the labeled.

    Raises:
        DataError: If there are too few cases, or a class would be absent from the labeled.
    """
    names = classes or {}
    units = units_of(facts)
    needed = needed_classes(units, names)
    held_out = _draw_test(units, test, needed, seed)
    pool = without(units, held_out)
    wanted = Wanted(labeled, validation, of=total(units))
    learned, checked = _draw_training(pool, wanted, needed, names, seed)
    chosen = cases_of(learned)
    rest = [n for unit in without(pool, checked) for n in (*unit.cases, *unit.bare)]
    return Roles(
        labeled=chosen,
        unlabeled=tuple(sorted(set(rest) - set(chosen))),
        validation=cases_of(checked),
        test=cases_of(held_out),
    )


def needed_classes(units: Sequence[Unit], names: Mapping[int, str]) -> frozenset[int]:
    """The classes that must be among the labeled cases: all that are declared or occur.

    Raises:
        DataError: If there are none, or a declared class occurs nowhere.
    """
    if not total(units):
        raise DataError("No case has a label map; at least one must. Add label maps.")
    observed = classes_of(units)
    if not observed:
        raise DataError(
            f"No foreground in any of the {total(units)} label maps, so there is nothing to learn. "
            "Look at them with 'llmseg check'."
        )
    absent = set(names) - observed - {0}
    if absent:
        raise DataError(
            f"Declared {describe_classes(absent, names)} in no label map, so no split can have it "
            "among the labeled cases. Remove it from the declared classes, or rename label values "
            "with --label-map."
        )
    return observed


def _draw_test(
    units: Sequence[Unit], amount: Amount | None, needed: frozenset[int], seed: int
) -> list[Unit]:
    if amount is None:
        return []
    available = total(units)
    wanted = amount.of(available)
    if wanted >= available:
        raise DataError(
            f"--test {amount.text}: {wanted} of the {available} cases with a label map leave none "
            f"to learn from. Ask for at most {available - 1}."
        )
    drawn = _draw_sparing(units, amount, wanted, needed, Random(f"{seed}/test"))
    if drawn is None:
        _refuse_torn_groups("--test", amount, _whole(units))
        raise DataError(
            f"--test {amount.text}: {wanted} of the {available} cases with a label map cannot be "
            "spared: every class must stay among the others, groups together, and a group in which "
            "a case has no label map cannot be test. Ask for fewer."
        )
    return drawn


def draw_validation(
    training: Sequence[Unit],
    amount: Amount | None,
    needed: frozenset[int],
    seed: int,
    *,
    of: int,
) -> list[Unit] | None:
    """Draw validation cases from the labeled, of which at least one and every class stays.

    Args:
        training: The labeled.
        amount: How many; None for none.
        needed: The classes that must stay.
        seed: Seed of the draw.
        of: Number of cases that a share is of.

    Returns:
        Nothing without an *amount*; None if so many cannot be spared.
    """
    if amount is None:
        return []
    wanted = amount.of(of)
    if wanted >= total(training):
        return None
    return _draw_sparing(training, amount, wanted, needed, Random(f"{seed}/validation"))


def _whole(units: Sequence[Unit]) -> list[Unit]:
    return [unit for unit in units if unit.cases and not unit.bare]


def _draw_sparing(
    units: Sequence[Unit], amount: Amount, wanted: int, needed: frozenset[int], rng: Random
) -> list[Unit] | None:
    """Draw whole groups with label maps so that every class stays with the others."""
    whole = _whole(units)
    drawn = draw(whole, _size(amount, wanted, whole), rng)
    if drawn and needed <= classes_of(without(units, drawn)):
        return drawn
    keep = smallest_cover(units, needed) or []
    spare = without(whole, keep)
    return draw(spare, _size(amount, wanted, spare), rng) or None


def _draw_training(
    pool: Sequence[Unit],
    wanted: Wanted,
    needed: frozenset[int],
    names: Mapping[int, str],
    seed: int,
) -> tuple[list[Unit], list[Unit]]:
    """The groups that train, and those that validate."""
    units = [unit for unit in pool if unit.cases]
    amount, left = wanted.labeled, total(units)
    number = left if amount.is_all else amount.of(wanted.of)
    if number > left:
        taken = wanted.of - left
        others = f" and {taken} of them are test" if taken else ""
        raise DataError(
            f"--labeled {amount.text}: {number} cases wanted, but {wanted.of} have a label map"
            f"{others}. Ask for at most {left}, or --labeled all."
        )
    _refuse_torn_groups("--labeled", amount, units)
    size = _size(amount, number, units)
    found = _try_training(units, size, wanted, needed, seed)
    if found is not None:
        return found
    works = (n for n in sizes(units) if _try_training(units, n, wanted, needed, seed))
    smallest = next(works, None)
    raise DataError(
        f"--labeled {amount.text}: {_reason(units, size, wanted, needed, names, seed)} "
        + (
            "No number works."
            if smallest is None
            else f"The smallest number that works is {smallest}."
        )
    )


def _try_training(
    units: Sequence[Unit], size: int, wanted: Wanted, needed: frozenset[int], seed: int
) -> tuple[list[Unit], list[Unit]] | None:
    """A plain draw; where it lacks a class, the fewest cases that have all classes and a draw."""
    for cover in ([], smallest_cover(units, needed) or []):
        spare = without(units, cover)
        left = size - total(cover)
        more = draw(spare, left, Random(f"{seed}/labeled")) if left >= 0 else None
        drawn = cover + (more or [])
        if more is None or not needed <= classes_of(drawn):
            continue
        checked = draw_validation(drawn, wanted.validation, needed, seed, of=wanted.of)
        if checked is not None:
            return without(drawn, checked), checked
    return None


def _reason(
    units: Sequence[Unit],
    size: int,
    wanted: Wanted,
    needed: frozenset[int],
    names: Mapping[int, str],
    seed: int,
) -> str:
    alone = replace(wanted, validation=None)
    if wanted.validation is not None and _try_training(units, size, alone, needed, seed):
        text, number = wanted.validation.text, wanted.validation.of(wanted.of)
        asked = text if wanted.validation.count else f"{text} ({number} of {wanted.of})"
        return (
            f"--validation {asked} cannot be spared from {size} labeled case(s): one "
            "must stay, and so must every class, groups together."
        )
    drawn = draw(units, size, Random(f"{seed}/labeled")) or []
    absent = describe_classes(needed - classes_of(drawn) or needed, names)
    return f"{absent} absent from the {size} labeled case(s)."


def _size(amount: Amount, wanted: int, units: Sequence[Unit]) -> int:
    """The wanted number; for a fraction, the nearest that whole groups can make."""
    possible = sizes(units)
    if amount.count is not None or not possible:
        return wanted
    return min(possible, key=lambda size: (abs(size - wanted), size))


def _refuse_torn_groups(flag: str, amount: Amount, units: Sequence[Unit]) -> None:
    count, possible = amount.count, sizes(units)
    if count is None or count in possible or count > total(units):
        return
    near = sorted(sorted(possible, key=lambda size: abs(size - count))[:2])
    raise DataError(
        f"{flag} {count}: groups stay together, and whole groups make no {count} cases. "
        f"Ask for {' or '.join(map(str, near))}."
    )
