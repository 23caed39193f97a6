"""`llmseg split --add`: cases that have a label map by now become labeled, in an existing split."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmseg_cli.artifacts.files import append_line
from llmseg_cli.artifacts.looks import ledger_of
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.case import Case, Dataset
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.data.checking.label_values import count_values, find_value_fault
from llmseg_cli.data.digests import as_recorded
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.errors import DataError, PolicyError, UsageError
from llmseg_cli.workflows.case_folder import paths_of, refuse_over_files
from llmseg_cli.workflows.named_cases import Naming, named_cases

NAMING = Naming("--add", "'llmseg suggest' writes one.")


@dataclass(frozen=True)
class Added:
    """A split with more labeled cases.

    Args:
        split: The roles.
        cases: Those that are labeled now and were not.
    """

    split: Split
    cases: tuple[str, ...]


def add(old: Path, data: Path, named: Sequence[str], *, out: Path | None = None) -> Added:
    """Give unlabeled cases of a split that have a label map now the role labeled.

    Validation and test cases stay what they are, and so does the reading of label maps.

    Args:
        old: The split's file.
        data: The data set that it was made from.
        named: Names of cases, or CSV files with a column `case`, such as `suggested.csv`.
        out: The file that will be written, which may not be one of the data's.

    Raises:
        UsageError: If nothing is named, a case is labeled already, or the split is one of folds.
        DataError: If a case is unknown, has no label map, or one of values that the split does not
            know.
        PolicyError: If a case is a test or validation case, an image is another than that of the
            split, or a group would be torn.
    """
    split = Split.load(old)
    if split.fold is not None:
        raise UsageError(
            f"{old} is one of {split.folds} folds, and the others would not have the cases. Add "
            "them to the split that the folds are made anew from."
        )
    dataset = find_cases(data, group_by=split.group_by)
    refuse_over_files(out, paths_of(dataset.cases))
    cases = [dataset.case(name) for name in named_cases(named, dataset, NAMING)]
    _refuse_roles(split, [case.id for case in cases], old)
    _refuse_other_images(split, cases)
    _refuse_label_maps(cases, split, dataset)
    _refuse_torn_groups(split, cases, dataset)
    added = tuple(case.id for case in cases)
    given = set(added)
    return Added(
        replace(
            split,
            labeled=(*split.labeled, *added),
            unlabeled=tuple(name for name in split.unlabeled if name not in given),
        ),
        added,
    )


def keep_looks(old: Path, new: Path) -> None:
    """Copy the ledger of looks at a test list, which is the same one, beside the new split.

    Lines that it has already are not repeated.

    Args:
        old: The split that was added to.
        new: The split that was written.
    """
    before, ledger = ledger_of(old), ledger_of(new)
    if not before.is_file():
        return
    known = ledger.read_text(encoding="utf-8").splitlines() if ledger.is_file() else []
    for line in before.read_text(encoding="utf-8").splitlines():
        if line not in known:
            append_line(ledger, f"{line}\n")


def _refuse_roles(split: Split, names: Sequence[str], old: Path) -> None:
    locked = {"test": split.test, "validation": split.validation}
    for role, cases in locked.items():
        if held := sorted(set(names) & set(cases)):
            raise PolicyError(
                f"{', '.join(held)}: {role} case(s) of {old}, which stay so and are never labeled "
                "for training. Leave them out of --add."
            )
    if labeled := sorted(set(names) & set(split.labeled)):
        raise UsageError(
            f"{', '.join(labeled)}: labeled in {old} already. Leave them out of --add."
        )
    if strangers := sorted(set(names) - set(split.unlabeled)):
        raise DataError(
            f"{', '.join(strangers)}: no case of {old}, which was made before they came. Make a "
            "new split with 'llmseg split'; its test cases will be others."
        )


def _refuse_other_images(split: Split, cases: Sequence[Case]) -> None:
    if bare := [case.id for case in cases if case.id not in split.images]:
        raise PolicyError(
            f"The split has no digest of {', '.join(bare)}: it was changed by hand. Make a new one "
            "with 'llmseg split'."
        )
    expected = {case.id: split.images[case.id] for case in cases}
    at_hand = {case.id: image_digest(case) for case in cases}
    replace(split, images=expected).refuse_other_data(as_recorded(cases, at_hand, expected))


def _refuse_label_maps(cases: Sequence[Case], split: Split, dataset: Dataset) -> None:
    """Refuse cases without a label map, or with one that the split's classes do not fit.

    Where the split names no classes, the values of all labeled cases together must be 0, 1, 2, ...,
    as where it was made.
    """
    found = {case.id: _values(case, split) for case in cases}
    names = {value for value in split.class_names if value}
    others = () if names else (dataset.case(name) for name in split.labeled)
    known = {value for case in others for value in _values(case, split)}
    fault = find_value_fault(known.union(*found.values()), names)
    if fault is None:
        return
    at_fault = set(fault.values)
    case = next((one for one in cases if found[one.id] & at_fault), cases[0])
    values = ", ".join(map(str, fault.values[:6])) + ", ..." * (len(fault.values) > 6)
    raise DataError(
        f"{case.label}: label value(s) {values}; expected {fault.expected}, as the split says. "
        "Correct the label map."
    )


def _values(case: Case, split: Split) -> set[int]:
    """Values of a label map, read as the split says."""
    if case.label is None:
        raise DataError(
            f"case {case.id} has no label map. Save one where those of the labeled cases are, and "
            "add it then."
        )
    ignore = split.ignored()
    labels = load_label_map(case.label, label_map=split.label_changes(), ignore=ignore)
    counts = count_values(labels.array)
    if ignore is not None:
        counts.pop(UNKNOWN, None)
    if not counts:
        raise DataError(
            f"{case.label}: every voxel has the ignore label {ignore}, so there is nothing to "
            "learn from it. Label some of them."
        )
    return set(counts)


def _refuse_torn_groups(split: Split, cases: Sequence[Case], dataset: Dataset) -> None:
    """Refuse groups that would be labeled in part though all of it has label maps."""
    added = {case.id for case in cases}
    groups = {split.groups[name] for name in added if name in split.groups}
    left = sorted(
        name
        for name in split.unlabeled
        if split.groups.get(name) in groups
        and name not in added
        and dataset.case(name).label is not None
    )
    if left:
        raise PolicyError(
            f"A group stays together, and {', '.join(left[:5])}{', ...' * (len(left) > 5)} of the "
            f"same group(s) have label maps, too. Add them with --add {','.join(left[:5])}."
        )
