"""What `llmseg split` does."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.presets import Preset, load_preset
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import Dataset, find_cases
from llmseg_cli.data.checking.label_values import (
    find_value_fault,
    map_classes,
    unheld_in_words,
)
from llmseg_cli.data.digests import former_digest
from llmseg_cli.data.ignore_label import ignored_value
from llmseg_cli.data.layouts.declared_classes import named_classes
from llmseg_cli.data.splitting import named_test
from llmseg_cli.data.splitting.amounts import ALL, Amount, parse_amount, shares_in_words
from llmseg_cli.data.splitting.official_test import OfficialTest, set_apart
from llmseg_cli.data.splitting.published_lists import split_by_preset
from llmseg_cli.data.splitting.reading import read_facts
from llmseg_cli.data.splitting.roles import CaseFacts
from llmseg_cli.data.splitting.split import make_split
from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.options import label_pairs
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.case_folder import paths_of, refuse_over_files
from llmseg_cli.workflows.named_cases import named_tests, refuse_two_tests

logger = logging.getLogger(__name__)

WITH_LABELS, OUTSIDE = "cases with a label map", f" outside of {named_test.FLAG}"
SHOWN_NOTES = 5
SHOWN_UNUSED = 5


@dataclass(frozen=True)
class Plan:
    """A split, and what its summary tells.

    Args:
        split: The roles.
        facts: Case identifier to what the draw knew of it.
        classes: Foreground value to name; the value itself where the data set names none.
        official_test: The data set's own test set, if it is locked.
        shares: What the fractions that were asked for are of, in words; empty if there are none.
    """

    split: Split
    facts: dict[str, CaseFacts]
    classes: dict[int, str]
    official_test: OfficialTest
    shares: str = ""

    def sentences(self) -> list[str]:
        """What a user should know: fractions, the data set's own test set, labels left unused."""
        shares = [self.shares] if self.shares else []
        return [*shares, *self.official_test.sentences(), *self._unused()]

    def _unused(self) -> list[str]:
        split = self.split
        unused = [name for name in split.unlabeled if self.facts[name].foreground is not None]
        if not unused or split.preset is not None:
            return []
        known = sum(case.foreground is not None for case in self.facts.values())
        names = ", ".join(unused[:SHOWN_UNUSED]) + ", ..." * (len(unused) > SHOWN_UNUSED)
        return [
            f"{len(unused)} of the {known} label maps are not used ({names}): these cases count as "
            "unlabeled. --labeled all uses them."
        ]


def run(
    data: Path,
    *,
    labeled: str | None,
    test: str | None = None,
    test_cases: Sequence[str] = (),
    validation: str | None = None,
    group_by: str | None = None,
    preset: str | None = None,
    label_map: Mapping[int, int] | None = None,
    test_images: str = "locked",
    ignore_label: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Split:
    """Give every case of a data set a role; see `plan`."""
    return plan(
        data,
        labeled=labeled,
        test=test,
        test_cases=test_cases,
        validation=validation,
        group_by=group_by,
        preset=preset,
        label_map=label_map,
        test_images=test_images,
        ignore_label=ignore_label,
        seed=seed,
        progress=progress,
    ).split


def plan(
    data: Path,
    *,
    labeled: str | None,
    test: str | None = None,
    test_cases: Sequence[str] = (),
    validation: str | None = None,
    group_by: str | None = None,
    preset: str | None = None,
    label_map: Mapping[int, int] | None = None,
    test_images: str = "locked",
    ignore_label: int | None = None,
    class_names: Sequence[str] = (),
    seed: int = 0,
    out: Path | None = None,
    progress: Progress = silent,
) -> Plan:
    """Read all images (for digests) and label maps (to stratify), and draw the roles.

    Args:
        data: The data set.
        labeled: Fraction ("0.2", "20%") of the cases with a label map, count ("8"), or all of them
            that are not test ("all", None).
        test: Fraction of the cases with a label map, or count; with a preset, the last of its list.
        test_cases: Names of test cases, or files of them, instead of a draw.
        validation: Fraction of the cases with a label map (with a preset, of its list), or count;
            taken from the labeled.
        group_by: Regular expression whose first group in the identifier is the patient.
        preset: A published list, instead of a draw.
        label_map: Label values to change.
        test_images: What becomes of the data set's own test set: `locked` as test, beside what
            *test* draws from the others, or `mix`, drawn from as the others are.
        ignore_label: Value of unknown voxels; None takes the one that the data set names, if any. A
            case of which nothing is known counts as one without a label map.
        class_names: Of classes 1, 2, ..., for a data set that names none.
        seed: Seed of the draws.
        out: The file that the split will be written to, which may not be one of the data's.
        progress: Told of every case read.

    Raises:
        UsageError: If an option is wrong, *labeled* contradicts the preset, or *out* would replace
            an image.
        DataError: If the data cannot be read or lack cases or classes.
        PolicyError: If a group is in the data set's own test set and outside of it.
    """
    refuse_two_tests(test_cases, {"--test": test, "--preset": preset})
    listed = load_preset(preset) if preset is not None else None
    wanted = _wanted(labeled, listed)
    amounts = {
        "test": parse_amount(test, flag="--test", allow_none=True) if test else None,
        "validation": (
            parse_amount(validation, flag="--validation", allow_none=True) if validation else None
        ),
    }
    dataset = find_cases(data, group_by=group_by)
    refuse_over_files(out, paths_of(dataset.cases))
    classes = map_classes(dataset.classes, label_map or {})
    classes = named_classes(class_names, classes) if class_names else classes
    ignore = ignored_value(dataset.ignore, ignore_label, label_map or {})
    facts, images, stored = read_facts(dataset, label_map or {}, ignore, progress)
    for sentence in unheld_in_words(stored, label_map or {}, ignore_label) if stored else ():
        logger.warning(sentence)
    _refuse_values(dataset, classes, facts)
    _refuse_no_label_maps(dataset)
    drawn_from, official = set_apart(
        facts, test_images=test_images, listed=listed.cases if listed is not None else ()
    )
    named = named_tests(test_cases, dataset)
    rest = named_test.set_named_apart(drawn_from, named)
    if listed is not None:
        roles = split_by_preset(rest, listed, seed=seed, classes=classes, **amounts)
    else:
        roles = make_split(rest, labeled=wanted, seed=seed, classes=classes, **amounts)
    roles = official.added_to(named_test.with_named(roles, named, drawn_from))
    former = {case.id: digest for case in dataset.cases if (digest := former_digest(case))}
    split = Split(
        labeled=roles.labeled,
        unlabeled=roles.unlabeled,
        validation=roles.validation,
        test=roles.test,
        seed=seed,
        images=images,
        former=former,
        groups={case.id: case.group for case in dataset.cases if case.group is not None},
        group_by=group_by,
        preset=preset,
        label_map=label_pairs(label_map or {}),
        ignore_label=ignore,
        classes={str(value): name for value, name in classes.items()},
        named_test=named,
    )
    values = sorted({value for case in facts for value in case.foreground or ()})
    names = {value: classes.get(value, str(value)) for value in values}
    known = sum(case.foreground is not None for case in rest)
    shares = (
        shares_in_words({"labeled": wanted, **amounts}, known, WITH_LABELS + OUTSIDE * bool(named))
        if listed is None
        else shares_in_words(amounts, len(listed.cases), f"cases that {listed.name} lists")
    )
    return Plan(split, {case.id: case for case in facts}, names, official, shares)


def _wanted(labeled: str | None, preset: Preset | None) -> Amount:
    if preset is None:
        amount = parse_amount(labeled or ALL, flag="--labeled")
    else:
        amount = Amount(str(preset.labeled), count=preset.labeled)
        if labeled is not None and parse_amount(labeled, flag="--labeled") != amount:
            raise UsageError(
                f"--labeled {labeled} contradicts --preset {preset.name}, which has "
                f"{preset.labeled}. Leave one of them out."
            )
    assert amount is not None  # only allow_none gives None
    return amount


def _refuse_no_label_maps(dataset: Dataset) -> None:
    if any(case.label is not None for case in dataset.cases):
        return
    notes = "".join(f"\n{note}" for note in dataset.notes[:SHOWN_NOTES])
    raise DataError(
        f"No case of {dataset.root} ({dataset.layout}) has a label map; at least one must. Add "
        f"label maps: labels/ beside images/, or a cases.csv (id,image,label).{notes}"
    )


def _refuse_values(dataset: Dataset, classes: Mapping[int, str], facts: list[CaseFacts]) -> None:
    observed = {value for case in facts for value in case.foreground or ()}
    fault = find_value_fault(observed, classes)
    if fault is None:
        return
    case = next(c for c in facts if set(fault.values) & set(c.foreground or ()))
    values = ", ".join(map(str, fault.values[:6])) + ", ..." * (len(fault.values) > 6)
    raise DataError(
        f"{dataset.case(case.id).label}: label value(s) {values}; expected {fault.expected}. "
        f"{fault.remedy} 'llmseg check' lists all cases."
    )
