"""Draw a role for every case: labeled, unlabeled, validation or test.

The order of the draws is test, labeled, validation, each from its own seed, so that the test cases
do not change with `--labeled`. A group has one role; only where some of its cases have no label map
may labeled and unlabeled stand side by side in a group.
"""

from collections.abc import Mapping, Sequence
from random import Random

from llmseg_cli.data.amounts import Amount
from llmseg_cli.data.drawing import Unit, classes_of, draw, sizes, smallest_cover, total
from llmseg_cli.data.roles import CaseFacts, Roles, cases_of, describe_classes, units_of
from llmseg_cli.errors import DataError


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
        labeled: Share of all cases that are not test, or a count; from those with a label map.
        test: Share of the cases with a label map, or a count.
        validation: Share of the labeled, or a count; taken from them.
        seed: Seed of the draws.
        classes: Declared label values and their names; each must be among the labeled.

    Raises:
        DataError: If there are too few cases, or a class would be absent from the labeled.
    """
    names = classes or {}
    units = units_of(facts)
    needed = needed_classes(units, names)
    held_out = _draw_test(units, test, needed, Random(f"{seed}/test"))
    pool = [unit for unit in units if unit not in held_out]
    training = _draw_labeled(pool, labeled, validation, needed, names, Random(f"{seed}/labeled"))
    checked = draw_validation(training, validation, needed, Random(f"{seed}/validation"))
    learned = cases_of([unit for unit in training if unit not in checked])
    rest = [n for unit in pool if unit not in checked for n in (*unit.cases, *unit.bare)]
    return Roles(
        labeled=learned,
        unlabeled=tuple(sorted(set(rest) - set(learned))),
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
    units: Sequence[Unit], amount: Amount | None, needed: frozenset[int], rng: Random
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
    drawn = _draw_sparing("--test", amount, units, needed, rng)
    if drawn is None:
        raise DataError(
            f"--test {amount.text}: {wanted} of the {available} cases with a label map cannot be "
            "spared: every class must stay among the others, groups together. Ask for fewer."
        )
    return drawn


def draw_validation(
    training: Sequence[Unit], amount: Amount | None, needed: frozenset[int], rng: Random
) -> list[Unit]:
    """Draw validation cases from the labeled, of which at least one and every class stays.

    Raises:
        DataError: If they cannot be spared.
    """
    if amount is None:
        return []
    available = total(training)
    wanted = amount.of(available)
    drawn = None
    if wanted < available:
        drawn = _draw_sparing("--validation", amount, training, needed, rng)
    if drawn is None:
        raise DataError(
            f"--validation {amount.text}: {wanted} of the {available} labeled cases cannot be "
            "spared: one must stay, and so must every class. Ask for fewer, or raise --labeled."
        )
    return drawn


def _draw_sparing(
    flag: str, amount: Amount, units: Sequence[Unit], needed: frozenset[int], rng: Random
) -> list[Unit] | None:
    """Draw whole groups with label maps so that every class stays with the others."""
    whole = [unit for unit in units if unit.cases and not unit.bare]
    wanted = amount.of(total(units))
    drawn = draw(whole, _size(flag, amount, wanted, whole), rng)
    if drawn and needed <= classes_of([unit for unit in units if unit not in drawn]):
        return drawn
    keep = smallest_cover(units, needed) or []
    spare = [unit for unit in whole if unit not in keep]
    return draw(spare, _size(flag, amount, wanted, spare), rng) or None


def _draw_labeled(
    pool: Sequence[Unit],
    amount: Amount,
    validation: Amount | None,
    needed: frozenset[int],
    names: Mapping[int, str],
    rng: Random,
) -> list[Unit]:
    units = [unit for unit in pool if unit.cases]
    everything = sum(len(unit.cases) + len(unit.bare) for unit in pool)
    wanted = amount.of(everything)
    if wanted > total(units):
        raise DataError(
            f"--labeled {amount.text}: {wanted} cases wanted, but only {total(units)} of the "
            f"{everything} cases that are not test have a label map. Ask for fewer."
        )
    size = _size("--labeled", amount, wanted, units)
    taken = validation.of(size) if validation else 0
    drawn = draw(units, size, rng) or []
    inner = smallest_cover(drawn, needed)
    if inner is not None and (not taken or total(inner) + taken <= size):
        return drawn
    cover = smallest_cover(units, needed) or []
    spare = [unit for unit in units if unit not in cover]
    more = draw(spare, size - total(cover), rng) if total(cover) + taken <= size else None
    if more is None:
        absent = describe_classes(needed - classes_of(drawn) or needed, names)
        raise DataError(
            f"--labeled {amount.text}: {absent} absent from the {size - taken} labeled case(s). "
            + _advice(cover, spare, validation)
        )
    return cover + more


def _advice(cover: list[Unit], spare: list[Unit], validation: Amount | None) -> str:
    least = total(cover)
    for size in [least, *(least + more for more in sizes(spare))]:
        if size - (validation.of(size) if validation else 0) >= least:
            return f"The smallest number that works is --labeled {size}."
    return "No split of these cases can have every class among them; label more cases."


def _size(flag: str, amount: Amount, wanted: int, units: Sequence[Unit]) -> int:
    """The wanted number; for a fraction, the nearest that whole groups can make."""
    possible = sizes(units)
    if wanted in possible or not possible:
        return wanted
    near = sorted(possible, key=lambda size: (abs(size - wanted), size))[:2]
    if amount.count is None:
        return near[0]
    if wanted > possible[-1]:
        return wanted
    raise DataError(
        f"{flag} {amount.text}: groups stay together, and whole groups make no {wanted} cases. "
        f"Ask for {' or '.join(map(str, sorted(near)))}."
    )
