"""Which prediction belongs to which reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmseg_cli.artifacts.folds import load_pooled
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.case import Dataset, nearest
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.data.digests import as_recorded
from llmseg_cli.data.naming import HDF5, LABEL_ENDINGS, suffix
from llmseg_cli.errors import DataError
from llmseg_cli.workflows.case_folder import paths_of
from llmseg_cli.workflows.score.case import ScoreTask
from llmseg_cli.workflows.score.predictions import Predictions, label_files

LABELS_ONLY = ("images only", "one image")  # layouts of a folder or file without images beside it
SHOWN = 3


@dataclass(frozen=True)
class References:
    """What to score against.

    Args:
        labels: Case to label map; None where the data set has none.
        classes: Label value to name, background left out; empty if unknown.
        groups: Case to group; empty if there are none.
        split: SHA-256 of the split file, or None.
        subset: The role in the split, or None.
        unscored: Cases of the data set's own test set, none of which has a label map there.
        roles: The split, or None.
        ignore: Value of voxels of which nothing is known, or None.
        files: All images and label maps of the data set.
    """

    labels: Mapping[str, Path | None]
    classes: dict[int, str]
    groups: dict[str, str]
    split: str | None = None
    subset: str | None = None
    unscored: tuple[str, ...] = ()
    roles: Split | None = None
    ignore: int | None = None
    files: tuple[Path, ...] = ()


def find_references(root: Path, *, split: Path | None, subset: str | None) -> References:
    """The label maps of a data set, of a folder that holds nothing else, or of one file.

    Args:
        root: Where they are.
        split: File of `llmseg split`, or folder of folds, whose validation cases are pooled;
            without it, all cases that have a label map.
        subset: Role in the split; `test` if omitted.

    Raises:
        DataError: If there is no case.
        PolicyError: If the split was made from other images.
    """
    if not root.exists():
        raise DataError(f"References {root} do not exist. Check --ref.")
    dataset = find_cases(root)
    if dataset.layout in LABELS_ONLY and suffix(root) not in HDF5:
        files = label_files(root)
        found = References(files, {}, {}, files=tuple(files.values()))
    else:
        labels = {case.id: case.label for case in dataset.cases}
        groups = {case.id: case.group for case in dataset.cases if case.group is not None}
        classes = {value: name for value, name in dataset.classes.items() if value}
        read = tuple(paths_of(dataset.cases))
        found = References(labels, classes, groups, ignore=dataset.ignore, files=read)
    if split is None:
        with_label = {case: path for case, path in found.labels.items() if path is not None}
        if not with_label:
            raise DataError(f"No case of {root} has a label map to score against. Check --ref.")
        return replace(found, labels=with_label)
    return _restrict(found, dataset, split, subset or "test")


def _restrict(found: References, dataset: Dataset, split: Path, subset: str) -> References:
    chosen, digest = load_pooled(split)
    cases = chosen.cases(subset)
    if not cases:
        raise DataError(f"{split} has no '{subset}' cases. Choose another --subset.")
    if dataset.layout not in LABELS_ONLY:
        expected = {case: digest for case, digest in chosen.images.items() if case in cases}
        at_hand = {c.id: image_digest(c) for c in dataset.cases if c.id in expected}
        at_hand = as_recorded(dataset.cases, at_hand, expected)
        replace(chosen, images=expected).refuse_other_data(at_hand)
    groups = chosen.groups or found.groups
    unscored = _bare_test_set(dataset, cases)
    cases = tuple(case for case in cases if case not in unscored)
    if not cases:
        raise DataError(
            f"No {subset} case of {split} has a label map in {dataset.root}: its own test set is "
            "published without. Lock other cases with 'llmseg split --test 0.2'."
        )
    return References(
        labels={case: _label_of(case, found.labels) for case in cases},
        classes=found.classes,
        groups={case: groups[case] for case in cases if case in groups},
        split=digest,
        subset=subset,
        unscored=unscored,
        roles=chosen,
        ignore=found.ignore,
        files=found.files,
    )


def _bare_test_set(dataset: Dataset, cases: Sequence[str]) -> tuple[str, ...]:
    """The data set's own test cases, if all are published without label maps.

    If only some lack theirs, these count as failed, so that removing one improves no score.
    """
    wanted = set(cases)
    own = [case for case in dataset.cases if case.is_test and case.id in wanted]
    return () if any(case.label for case in own) else tuple(case.id for case in own)


def _label_of(case: str, labels: Mapping[str, Path | None]) -> Path | None:
    names = (case, *(case + ending for ending in LABEL_ENDINGS))
    return next((labels[name] for name in names if labels.get(name) is not None), None)


def pair(
    predictions: Predictions, references: References
) -> tuple[list[ScoreTask], dict[str, str], tuple[str, ...]]:
    """Pair predictions with references by case; a single file is paired with a single reference.

    Returns:
        What to score; case to reason for what cannot be; warnings about predictions that belong to
        no reference, if no split says that there may be some.
    """
    files = predictions.files
    if predictions.folder.is_file() and len(references.labels) == 1:
        files = dict.fromkeys(references.labels, predictions.folder)
    tasks, failed, used, in_order = [], {}, set(), sorted(files)
    for case, reference in references.labels.items():
        name = case if case in files else _without_ending(case, files)
        if name is None:
            near = ", ".join(nearest(case, in_order))
            failed[case] = f"no prediction in {predictions.folder.name} (nearest: {near})"
        elif reference is None:
            failed[case] = "no label map to score against"
        else:
            tasks.append(ScoreTask(case, files[name], reference))
        used.add(name)
    extra = sorted(set(files) - used - set(references.unscored))
    warnings = predictions.warnings
    if references.unscored:
        message = (
            f"{len(references.unscored)} test cases of the data set have no label map: not scored."
        )
        warnings = (*warnings, message)
    if extra and references.split is None:
        shown = f"{', '.join(extra[:SHOWN])}{', ...' * (len(extra) > SHOWN)}"
        message = f"{len(extra)} predictions have no reference and are not scored: {shown}."
        warnings = (*warnings, message)
    return tasks, failed, warnings


def _without_ending(case: str, files: dict[str, Path]) -> str | None:
    """`la07` for a reference file named `la07_seg`."""
    names = (case.removesuffix(ending) for ending in LABEL_ENDINGS)
    return next((name for name in names if name in files), None)
