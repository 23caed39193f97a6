"""A folder of pseudo-labels, made by `llmseg mine-sam` or anything else."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from llmseg_cli.artifacts.at_hand import refuse_absent_masks
from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.journal import JOURNAL, Journal
from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import Case
from llmseg_cli.data.class_values import changes_from_stored
from llmseg_cli.data.digests import label_digest
from llmseg_cli.data.naming import stem, suffix
from llmseg_cli.data.patches.cache import PreparedCase, prepare_labels
from llmseg_cli.data.patches.foreground import lost_in, values_in
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.errors import DataError, PolicyError

SHOWN = 3


def find_masks(folder: Path, split: Split) -> dict[str, Path]:
    """Case to its mask.

    Args:
        folder: Masks named like the cases; `run.json` and `cases.jsonl` are heeded if there.
        split: The roles of the run.

    Raises:
        DataError: If there is no mask, two of one case, or one of a case that the split does not
            have.
        PolicyError: If the folder was made for another split or other images, or holds masks of
            cases that are not unlabeled.
    """
    refuse_absent_masks(folder)
    masks: dict[str, Path] = {}
    for path in filter(_is_mask, sorted(folder.iterdir())):
        if other := masks.get(stem(path)):
            raise DataError(f"--pseudo {folder}: {other.name} and {path.name}. Remove one of them.")
        masks[stem(path)] = path
    if not masks:
        raise DataError(f"--pseudo {folder} holds no masks. 'llmseg mine-sam' writes them there.")
    _refuse_other_split(folder, split)
    for role in ("test", "validation", "labeled"):
        if found := sorted(set(masks) & set(split.cases(role))):
            raise PolicyError(
                f"--pseudo {folder} has masks of {len(found)} {role} cases ({_some(found)}). Only "
                "unlabeled cases take pseudo-labels: mine them with the same split."
            )
    if strangers := sorted(set(masks) - set(split.unlabeled)):
        raise DataError(
            f"--pseudo {folder}: {len(strangers)} masks are of no case of the split "
            f"({_some(strangers)}). Name each like its case."
        )
    return masks


def masks_digest(masks: Mapping[str, Path]) -> str:
    """SHA-256 over all masks and their cases, and over the values that classes have in them."""
    digests = {case: label_digest(path) for case, path in masks.items()}
    values = _values_in(next(iter(masks.values())).parent)  # all lie in one folder
    return sha256_json([digests, values] if values else digests)


def _values_in(folder: Path) -> tuple[int, ...]:
    """Values of classes 0, 1, 2, ... in masks of `predict`; empty where they are these."""
    if not (folder / MANIFEST).is_file():
        return ()
    return tuple(load_manifest(folder)["details"].get("label_values", ()))


def mask_reading(folder: Path) -> tuple[dict[int, int], int | None]:
    """How masks of a folder are read: changes to numbers of classes, and the ignore label."""
    stored = _values_in(folder)
    return changes_from_stored(stored), None if UNKNOWN in stored else UNKNOWN


def with_masks(
    cases: Sequence[PreparedCase],
    masks: Mapping[str, Path],
    images: Mapping[str, Case],
    *,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    folder: Path | None = None,
) -> tuple[PreparedCase, ...]:
    """Prepared unlabeled cases, those that have a mask with it as their label map.

    Args:
        cases: The prepared cases.
        masks: Case to mask.
        images: Case to the case of the data set.
        preprocessing: As of the images.
        classes: Names of the K classes.
        folder: Where prepared masks lie; beside the prepared images if None.

    Raises:
        DataError: If a mask cannot be read, lies on other voxels, or has values of no class.
    """
    prepared = []
    readings = {place: mask_reading(place) for place in {path.parent for path in masks.values()}}
    for case in cases:
        if case.id in masks:
            labeled = replace(images[case.id], label=masks[case.id])
            place = folder / case.id if folder else None
            changes, ignore = readings[masks[case.id].parent]
            try:
                case = prepare_labels(
                    labeled, case, preprocessing, changes, ignore=ignore, folder=place
                )
            except DataError as error:
                raise DataError(f"--pseudo {masks[case.id].name}: {error}") from error
            _refuse_classes(case, masks[case.id], classes)
        prepared.append(case)
    return tuple(prepared)


def check_masks(
    cases: Sequence[PreparedCase],
    masks: Mapping[str, Path],
    images: Mapping[str, Case],
    *,
    preprocessing: Preprocessing,
    classes: Sequence[str],
) -> None:
    """Refuse ready masks that cannot be learned from, before a run starts.

    Args:
        cases: The prepared unlabeled cases.
        masks: Case to mask.
        images: Case to the case of the data set.
        preprocessing: As of the images.
        classes: Names of the K classes.

    Raises:
        DataError: As `with_masks`, or if nothing but background and the unknown is in any mask.
    """
    found: set[int] = set()
    for case in with_masks(cases, masks, images, preprocessing=preprocessing, classes=classes):
        found |= _foreground_values(case) if case.labels is not None else set()
    if found == {UNKNOWN}:
        folder = next(iter(masks.values())).parent
        raise DataError(
            f"--pseudo {folder}: the masks have the values 0 and {UNKNOWN} alone, and {UNKNOWN} "
            f"means unknown here. Give {classes[1]} the value 1."
        )


def _is_mask(path: Path) -> bool:
    return path.is_file() and bool(suffix(path)) and not path.name.startswith(".")


def _refuse_other_split(folder: Path, split: Split) -> None:
    if (folder / MANIFEST).is_file():
        made_for = load_manifest(folder)["details"].get("split")
        if made_for is not None and made_for != split.digest:
            raise PolicyError(
                f"--pseudo {folder} was made for another split. Run 'llmseg mine-sam' with this "
                "one."
            )
        if made_for is not None:
            return  # 'mine-sam' has compared the images with those of the split
    if not (folder / JOURNAL).is_file():
        return
    for entry in Journal.read(folder):
        known = split.digests_of(entry.case)
        if known and entry.image not in known:
            raise PolicyError(
                f"--pseudo {folder}: the mask of {entry.case} was made from another image. Run "
                "'llmseg mine-sam' again."
            )


def _refuse_classes(case: PreparedCase, mask: Path, classes: Sequence[str]) -> None:
    if odd := sorted(_foreground_values(case) - {*range(1, len(classes)), UNKNOWN}):
        raise DataError(
            f"{mask}: values {odd}, expected 0 to {len(classes) - 1} ({', '.join(classes)}), and "
            f"{UNKNOWN} where nothing is known."
        )


def _foreground_values(case: PreparedCase) -> set[int]:
    assert case.foreground is not None
    table = np.load(case.foreground, allow_pickle=False)
    return values_in(table) | lost_in(table)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
