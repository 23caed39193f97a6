"""Find the cases of a data set, however it is arranged."""

import re
from dataclasses import replace
from pathlib import Path

from llmseg_cli.artifacts.at_hand import refuse_absent_data
from llmseg_cli.data.case import Case, Dataset, Fault, LayoutError, Survey
from llmseg_cli.data.case_names import name_faults
from llmseg_cli.data.digests import image_digest
from llmseg_cli.data.formats import hdf5
from llmseg_cli.data.layouts import case_list, dataset_json, folders, hdf5_tree
from llmseg_cli.data.layouts.listing import unread_beside_slices
from llmseg_cli.data.naming import HDF5, is_dicom_folder, stem, suffix
from llmseg_cli.data.regular_files import refuse_irregular
from llmseg_cli.errors import DataError, UsageError

__all__ = ["Case", "Dataset", "find_cases", "image_digest", "survey"]

SHOWN_FAULTS = 10
LIST_NAMES = ("cases.csv", "cases.json")


def find_cases(root: Path, *, group_by: str | None = None) -> Dataset:
    """Find the cases of a folder, a case list or a single image.

    Args:
        root: Folder in one of the known layouts, a CSV or JSON case list, or one image.
        group_by: Regular expression; its first group in the identifier is the case's group.

    Raises:
        DataError: If there is nothing, or the files do not pair up; all faults are named.
        UsageError: If *group_by* is no regular expression.
    """
    found = survey(root, group_by=group_by)
    faults = [fault for fault in found.faults if not fault.is_warning]
    if faults:
        lines = [str(fault) for fault in faults[:SHOWN_FAULTS]]
        more = len(faults) - len(lines)
        if more:
            lines.append(f"... and {more} more; 'llmseg check --data {root}' lists all.")
        raise DataError("\n".join(lines))
    return replace(found.dataset, notes=tuple(map(str, found.faults)))


def survey(root: Path, *, group_by: str | None = None) -> Survey:
    """Like `find_cases`, but return faults of pairing instead of raising them.

    Raises:
        DataError: If there is nothing to look at, or the cases cannot be grouped.
        UsageError: If *group_by* is no regular expression.
    """
    refuse_absent_data(root)
    try:
        found = _survey(root)
    except LayoutError as error:
        found = Survey(Dataset(root, "not readable", (), {}), (error.fault,))
    except OSError as error:
        what, remedy = f"cannot be read: {error.strerror}", "Change its permissions, or remove it."
        fault = Fault("unreadable", "", str(error.filename or root), what, "", remedy)
        found = Survey(Dataset(root, "not readable", (), {}), (fault,))
    if not found.dataset.cases and all(fault.is_warning for fault in found.faults):
        raise DataError(
            f"No cases in {root}. Expected images/ and labels/, a dataset.json, HDF5 files, a "
            "cases.csv, or images (.nii.gz, .nrrd, .mha, .png, .jpg, .tif, DICOM folders)."
            + "".join(f"\n{fault}" for fault in found.faults[:SHOWN_FAULTS])
        )
    cases, repeated = _unique(found.dataset.cases)
    dataset = replace(found.dataset, cases=_grouped(cases, group_by))
    return Survey(dataset, (*found.faults, *repeated, *name_faults(cases)))


def _survey(root: Path) -> Survey:
    if not root.is_dir():
        refuse_irregular(root)
        return _survey_file(root)
    for name in LIST_NAMES:
        if (root / name).is_file():
            return case_list.survey(root / name)
    if (root / "dataset.json").is_file():
        return dataset_json.survey(root)
    if found := folders.survey(root):
        return found
    if is_dicom_folder(root):
        has_name = root.name not in ("", "..")  # unlike the folder one stands in, '.'
        series = _one_image(root, root.name if has_name else root.resolve().name)
        return replace(series, faults=tuple(unread_beside_slices([(root.name, root)], root)))
    return hdf5_tree.survey(root) or folders.survey_plain(root)


def _survey_file(path: Path) -> Survey:
    if path.name == "dataset.json":
        return dataset_json.survey(path.parent)
    if path.suffix.lower() in (".csv", ".json"):
        return case_list.survey(path)
    if not suffix(path):
        raise DataError(f"{path} is neither a case list (.csv, .json) nor an image.")
    return _one_image(path, stem(path))


def _one_image(path: Path, name: str) -> Survey:
    label = path if suffix(path) in HDF5 and hdf5.has_label(path) else None
    return Survey(Dataset(path, "one image", (Case(name, (path,), label),), {}))


def _unique(cases: tuple[Case, ...]) -> tuple[tuple[Case, ...], list[Fault]]:
    found: dict[str, Case] = {}
    faults = []
    for case in cases:
        if case.id in found:
            names = [str(c.images[0].name) for c in (found[case.id], case)]
            faults.append(
                Fault(
                    "pairing",
                    case.id,
                    "",
                    f"two images have this identifier ({' and '.join(names)})",
                    "one image a case",
                    "Rename or remove one of them.",
                )
            )
        else:
            found[case.id] = case
    return tuple(found[name] for name in sorted(found)), faults


def _grouped(cases: tuple[Case, ...], group_by: str | None) -> tuple[Case, ...]:
    if group_by is None:
        return cases
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise UsageError(f"--group-by '{group_by}' is no regular expression: {error}.") from error
    matches = {case.id: pattern.search(case.id) for case in cases}
    missing = [name for name, match in matches.items() if match is None]
    if missing:
        raise DataError(
            f"--group-by '{group_by}' does not match {len(missing)} of {len(cases)} cases "
            f"({', '.join(missing[:3])}{', ...' * (len(missing) > 3)}). Change the expression."
        )
    groups = {name: match[pattern.groups and 1] for name, match in matches.items() if match}
    return tuple(replace(case, group=groups[case.id]) for case in cases)
