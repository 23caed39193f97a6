"""Divide the labeled cases into folds, each of which validates once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from llmseg_cli.artifacts.text import counted
from llmseg_cli.data.splitting.draws import Unit, classes_of, total
from llmseg_cli.data.splitting.roles import CaseFacts, Roles, cases_of, describe_classes, units_of
from llmseg_cli.errors import DataError

TRIES = 200  # divisions that are drawn until every fold has all classes among its labeled cases


@dataclass(frozen=True)
class Folds:
    """The labeled cases, divided.

    Args:
        roles: Of each fold; they differ in the labeled and the validation cases alone.
        partly_unlabeled: Cases that are labeled in all folds, for their group has unlabeled ones.
        alone: Cases that are labeled in all folds, for nothing else has one of their classes.
    """

    roles: tuple[Roles, ...]
    partly_unlabeled: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()


def make_folds(
    roles: Roles,
    facts: Sequence[CaseFacts],
    *,
    folds: int,
    seed: int,
    classes: Mapping[int, str] | None = None,
) -> Folds:
    """Divide the labeled cases of a split, groups whole, into parts that look alike.

    The groups are sorted by the classes in them and their foreground, and cut into blocks of as
    many groups as there are folds; each fold gets one of a block, the largest going to the fold
    with the fewest cases. Every class stays among the labeled cases of every fold.

    Args:
        roles: A split without validation cases.
        facts: What is known of its cases.
        folds: How many parts.
        seed: Seed of the draw.
        classes: Label value to name, for messages.

    Raises:
        DataError: If there are fewer groups than folds, or no division leaves every class with the
            labeled cases of each fold.
    """
    labeled, unlabeled = set(roles.labeled), set(roles.unlabeled)
    units = units_of([case for case in facts if case.id in labeled])
    torn = {case.group for case in facts if case.id in unlabeled} - {None}
    group_of = {case.id: case.group for case in facts}
    units_with = Counter(one for unit in units for one in unit.classes)
    partly, alone, free = [], [], []
    for unit in units:
        if group_of[unit.cases[0]] in torn:
            partly.append(unit)
        elif any(units_with[one] == 1 for one in unit.classes):
            alone.append(unit)
        else:
            free.append(unit)
    found = Folds((), cases_of(partly), cases_of(alone))
    if len(free) < folds:
        raise DataError(_too_few(folds, free, found, is_grouped=any(group_of.values())))
    parts = _divide(free, [*partly, *alone], folds, seed)
    if parts is None:
        rare = _rarest(free, classes_of(units))
        raise DataError(
            f"--folds {folds}: no division leaves every class among the labeled cases of each "
            f"fold; {describe_classes(rare, classes or {})} in the fewest. Ask for more folds, or "
            "label more cases."
        )
    held_out = [cases_of(part) for part in parts]
    return replace(found, roles=tuple(_roles(roles, cases) for cases in held_out))


def _divide(
    units: Sequence[Unit], kept: Sequence[Unit], folds: int, seed: int
) -> list[list[Unit]] | None:
    """Parts without any of which all classes remain; None if none was found.

    Args:
        units: What is divided.
        kept: What is labeled in every fold.
        folds: How many parts.
        seed: Seed of the draws.
    """
    needed = classes_of([*units, *kept])
    ordered = sorted(units, key=lambda unit: (sorted(unit.classes), unit.volume, unit.name))
    for attempt in range(2 * TRIES):
        rng = Random(f"{seed}/folds/{attempt}")
        if attempt >= TRIES:  # strata may stand in the way
            rng.shuffle(ordered)
        parts = _deal(ordered, folds, rng)
        rests = (
            [*kept, *(unit for other in parts if other is not part for unit in other)]
            for part in parts
        )
        if all(needed <= classes_of(rest) for rest in rests):
            return parts
    return None


def _deal(ordered: Sequence[Unit], folds: int, rng: Random) -> list[list[Unit]]:
    parts: list[list[Unit]] = [[] for _ in range(folds)]
    for start in range(0, len(ordered), folds):
        block = list(ordered[start : start + folds])
        rng.shuffle(block)
        block.sort(key=lambda unit: -unit.size)
        turns = list(parts)
        rng.shuffle(turns)
        turns.sort(key=total)
        for unit, part in zip(block, turns, strict=False):  # the last block may be short
            part.append(unit)
    return parts


def _roles(roles: Roles, validation: tuple[str, ...]) -> Roles:
    held_out = set(validation)
    labeled = tuple(name for name in roles.labeled if name not in held_out)
    return replace(roles, labeled=labeled, validation=validation)


def _rarest(units: Sequence[Unit], classes: frozenset[int]) -> set[int]:
    counts = {value: sum(value in unit.classes for unit in units) for value in classes}
    counts = {value: count for value, count in counts.items() if count}
    return {value for value, count in counts.items() if count == min(counts.values())}


def _too_few(folds: int, free: Sequence[Unit], found: Folds, *, is_grouped: bool) -> str:
    noun = "group" if is_grouped else "labeled case"
    kept = len(found.partly_unlabeled) + len(found.alone)
    besides = f" besides {counted(kept, 'case')} that must stay labeled in all folds" * bool(kept)
    are = "is" if len(free) == 1 else "are"
    remedy = f"Ask for at most {len(free)}." if len(free) > 1 else "Label more cases."
    return (
        f"--folds {folds}: there {are} {counted(len(free), noun)} to divide{besides}, and a fold "
        f"needs one. {remedy}"
    )
