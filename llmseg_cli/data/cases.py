"""Find the cases of a data set, however it is arranged."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from llmseg_cli.data.case import Case, Dataset, Fault, Survey
from llmseg_cli.data.formats import hdf5
from llmseg_cli.data.layouts import case_list, dataset_json, folders, hdf5_tree
from llmseg_cli.data.naming import HDF5, is_dicom_folder, stem, suffix
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
    if found.faults:
        lines = [str(fault) for fault in found.faults[:SHOWN_FAULTS]]
        more = len(found.faults) - len(lines)
        if more:
            lines.append(f"... and {more} more; 'llmseg check --data {root}' lists all.")
        raise DataError("\n".join(lines))
    return found.dataset


def survey(root: Path, *, group_by: str | None = None) -> Survey:
    """Like `find_cases`, but return faults of pairing instead of raising them.

    Raises:
        DataError: If there is nothing to look at, or the cases cannot be grouped.
        UsageError: If *group_by* is no regular expression.
    """
    if not root.exists():
        raise DataError(f"Data {root} does not exist. Check --data.")
    if not (root.is_dir() or root.is_file()):
        raise DataError(f"Data {root} is a pipe, socket or device, expected a folder or a file.")
    try:
        found = _survey(root)
    except OSError as error:
        raise DataError(f"Cannot read {error.filename or root}: {error.strerror}.") from error
    if not found.dataset.cases and not found.faults:
        raise DataError(
            f"No cases in {root}. Expected images/ and labels/, a dataset.json, HDF5 files, a "
            f"cases.csv, or images (.nii.gz, .nrrd, .mha, .png, .jpg, .tif, DICOM folders)."
        )
    cases, repeated = _unique(found.dataset.cases)
    dataset = replace(found.dataset, cases=_grouped(cases, group_by))
    return Survey(dataset, (*found.faults, *repeated))


def _survey(root: Path) -> Survey:
    if root.is_file():
        return _survey_file(root)
    for name in LIST_NAMES:
        if (root / name).is_file():
            return case_list.survey(root / name)
    if (root / "dataset.json").is_file():
        return dataset_json.survey(root)
    if is_dicom_folder(root):
        return _one_image(root, root.name)
    return folders.survey(root) or hdf5_tree.survey(root) or folders.survey_plain(root)


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


def image_digest(case: Case) -> str:
    """Hexadecimal SHA-256 over the image files' contents, in the order of the channels.

    For HDF5 it covers the `image` data set only, so deleting `label` does not change it.

    Raises:
        DataError: If a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in case.images:
        if suffix(path) in HDF5:
            digest.update(hdf5.image_bytes(path))
            continue
        files = sorted(f for f in path.iterdir() if f.is_file()) if path.is_dir() else [path]
        for file in files:
            try:
                with file.open("rb") as stream:
                    while block := stream.read(1 << 20):
                        digest.update(block)
            except OSError as error:
                raise DataError(f"Cannot read {file}: {error.strerror}.") from error
    return digest.hexdigest()
