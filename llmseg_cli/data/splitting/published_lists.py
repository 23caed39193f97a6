"""Roles by a published list of cases, such as the Left Atrium protocol of UA-MT."""

from collections.abc import Mapping, Sequence

from llmseg_cli.artifacts.presets import Preset
from llmseg_cli.data.case import nearest
from llmseg_cli.data.splitting.amounts import Amount
from llmseg_cli.data.splitting.draws import classes_of
from llmseg_cli.data.splitting.roles import CaseFacts, Roles, describe_classes, units_of
from llmseg_cli.data.splitting.split import draw_validation, needed_classes
from llmseg_cli.errors import DataError


def split_by_preset(
    facts: Sequence[CaseFacts],
    preset: Preset,
    *,
    test: Amount | None = None,
    validation: Amount | None = None,
    seed: int = 0,
    classes: Mapping[int, str] | None = None,
) -> Roles:
    """The first cases of the list are labeled, the rest of it is unlabeled, all others are test.

    That is the published protocol: on the Left Atrium, 80 scans are listed and 20 others are test.
    Where those 20 are not at hand, *test* makes the last cases of the list test as well.

    Args:
        facts: The cases.
        preset: The list.
        test: Number or share of the list's last cases that become test.
        validation: Share of the list, or a count; drawn from the labeled.
        seed: Seed of that draw.
        classes: Declared label values and their names.

    Raises:
        DataError: If cases of the list are missing, a role has too few or no label maps, or a class
            is absent from the labeled.
    """
    by_id = {case.id: case for case in facts}
    _refuse_missing(preset, by_id)
    last = _last(preset, test)
    listed = set(preset.cases)
    outside = sorted(name for name in by_id if name not in listed)
    held_out = (*last, *outside)
    labeled = preset.cases[: preset.labeled]
    _refuse_without_label(preset, by_id, labeled=labeled, test=held_out)
    names = classes or {}
    needed = needed_classes(units_of(list(facts)), names)
    units = units_of([by_id[name] for name in labeled])
    if absent := needed - classes_of(units):
        raise DataError(
            f"Preset {preset.name}: {describe_classes(absent, names)} absent from its "
            f"{len(labeled)} labeled cases. Use --labeled without a preset."
        )
    drawn = draw_validation(units, validation, needed, seed, of=len(preset.cases))
    if drawn is None:
        raise DataError(
            f"--validation {validation.text if validation else 0} cannot be spared from the "
            f"{len(labeled)} labeled cases of {preset.name}. Ask for fewer."
        )
    checked = {name for unit in drawn for name in unit.cases}
    return Roles(
        labeled=tuple(name for name in labeled if name not in checked),
        unlabeled=tuple(preset.cases[preset.labeled : len(preset.cases) - len(last)]),
        validation=tuple(name for name in labeled if name in checked),
        test=held_out,
    )


def _refuse_missing(preset: Preset, known: Mapping[str, CaseFacts]) -> None:
    missing = [name for name in preset.cases if name not in known]
    if missing:
        near = ", ".join(nearest(missing[0], sorted(known)))
        raise DataError(
            f"Preset {preset.name} lists {len(preset.cases)} cases, and {len(missing)} are not in "
            f"the data, such as {missing[0]} (nearest: {near}). Use the data set that the list "
            "belongs to, or --labeled without a preset."
        )


def _last(preset: Preset, test: Amount | None) -> tuple[str, ...]:
    if test is None:
        return ()
    count = test.of(len(preset.cases))
    if count > len(preset.cases) - preset.labeled:
        raise DataError(
            f"--test {test.text}: {count} cases wanted, but beyond its {preset.labeled} labeled "
            f"ones preset {preset.name} lists {len(preset.cases) - preset.labeled}. Ask for fewer."
        )
    return preset.cases[len(preset.cases) - count :]


def _refuse_without_label(
    preset: Preset,
    known: Mapping[str, CaseFacts],
    *,
    labeled: Sequence[str],
    test: Sequence[str],
) -> None:
    for role, names in (("labeled", labeled), ("test", test)):
        bare = [name for name in names if known[name].foreground is None]
        if bare:
            raise DataError(
                f"Preset {preset.name}: {len(bare)} {role} case(s) have no label map, such as "
                f"{bare[0]}. Add the label maps, or take those cases out of the data."
            )
