"""Cases, split and classes of a training run, checked and prepared."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import Case, Dataset, find_cases, image_digest
from llmseg_cli.data.checking.label_values import (
    ignore_hint,
    map_classes,
    unheld_in_words,
)
from llmseg_cli.data.class_values import values_of_classes
from llmseg_cli.data.digests import as_recorded
from llmseg_cli.data.ignore_label import ignored_value
from llmseg_cli.data.patches.cache import (
    PreparedCase,
    name_of,
    prepare_image,
    prepare_labels,
)
from llmseg_cli.data.patches.foreground import is_unknown, values_in
from llmseg_cli.data.patches.mapped import open_stored
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.errors import DataError, PolicyError, ResourceError
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.case_folder import refuse_over_cases
from llmseg_cli.workflows.train.erased_classes import LabelReading, refuse_erased

logger = logging.getLogger(__name__)

BYTES_PER_VOXEL = 4
DISK_RESERVE = 1.2  # free disk over projected size
NOTHING_KNOWN = (
    "case %s is labeled, but all its voxels have the ignore label %d; it teaches nothing."
)


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from; an unlabeled case has no label map here.

    Args:
        labeled: Prepared labeled cases.
        unlabeled: Prepared unlabeled cases, images only.
        validation: Prepared validation cases.
        classes: Names of the K classes, background first.
        in_channels: Image channels.
        bytes_cached: Size of the prepared cases on disk.
        labels: Digest of the label maps of labeled and validation cases.
        ignore_label: Value of voxels of which nothing is known, or None.
        label_values: Values of the classes in the files; empty where they are their numbers.
    """

    labeled: tuple[PreparedCase, ...]
    unlabeled: tuple[PreparedCase, ...]
    validation: tuple[PreparedCase, ...]
    classes: tuple[str, ...]
    in_channels: int
    bytes_cached: int
    labels: str
    ignore_label: int | None = None
    label_values: tuple[int, ...] = ()

    @property
    def voxels(self) -> dict[str, str]:
        """Case to the digest of what its image shows."""
        cases = (*self.labeled, *self.unlabeled, *self.validation)
        return {case.id: case.voxels for case in cases}


def digests_of(dataset: Dataset, wanted: Sequence[str]) -> dict[str, str]:
    """Digest of the image of each wanted case that the data set has."""
    names = set(wanted)
    cases = [case for case in dataset.cases if case.id in names]
    with ThreadPoolExecutor(4) as pool:
        return dict(zip([c.id for c in cases], pool.map(image_digest, cases), strict=True))


def prepare(
    data: Path,
    split: Split,
    *,
    preprocessing: Preprocessing,
    label_map: Mapping[int, int],
    cache: Path,
    with_unlabeled: bool,
    output: Path | None = None,
    ignore_label: int | None = None,
    form: str = "float32",
    progress: Progress = silent,
) -> TrainingData:
    """Check the split against the data, and bring its cases into the cache.

    No label map is opened but those of labeled and validation cases.

    Args:
        data: The data set.
        split: Roles of its cases.
        preprocessing: Spacing and intensities.
        label_map: Label values to change.
        cache: The cache folder.
        with_unlabeled: Whether the method learns from unlabeled cases.
        output: The run folder, which may not be one of the data's.
        ignore_label: Value of unknown voxels; None takes the one that the data set names, if any.
        form: How the cache keeps the cases, a name of `CACHE_FORMATS`.
        progress: Hears about every case.

    Raises:
        DataError: If a case cannot be used, or a class is missing among the labeled, or is lost
            there by resampling.
        UsageError: If the data set names another ignore label.
        PolicyError: If the data differ from those of the split, or hold nothing to learn from.
    """
    dataset = find_cases(data)
    if output is not None:
        refuse_over_cases(output, dataset.cases, data)
    ignore = ignored_value(dataset.ignore, ignore_label, label_map)
    digests = digests_of(dataset, [*split.images])
    split.refuse_other_data(as_recorded(dataset.cases, digests, split.images))
    refuse_leaks(split)
    if not split.labeled:
        raise PolicyError("The split has no labeled cases. Make one with 'llmseg split'.")
    if with_unlabeled and not split.unlabeled:
        raise PolicyError(
            "The split has no unlabeled cases, and this method learns from them. Use "
            "'llmseg train-sup', add images without label maps, or call fewer labeled: --labeled "
            "0.2."
        )
    roles = {"labeled": split.labeled, "validation": split.validation}
    if with_unlabeled:
        roles["unlabeled"] = split.unlabeled
    refuse_full_disk(cache, dataset, [case for names in roles.values() for case in names])
    total = sum(len(names) for names in roles.values())
    prepared: dict[str, list[PreparedCase]] = {}
    done = 0
    progress("prepare", done, total)
    for role, names in roles.items():
        prepared[role] = []
        for name in names:
            case = dataset.case(name)
            found = prepare_image(case, digests[name], preprocessing, cache, form=form)
            if role != "unlabeled":
                found = prepare_labels(
                    case, found, preprocessing, label_map, ignore=ignore, form=form
                )
            prepared[role].append(found)
            done += 1
            progress("prepare", done, total)
    stored = {
        v for role in ("labeled", "validation") for case in prepared[role] for v in case.stored
    }
    _tell_unheld(stored, split, label_map, ignore_label)
    everything = [case for cases in prepared.values() for case in cases]
    classes = map_classes(dataset.classes, label_map) or split.class_names
    learned, checked = (
        [(dataset.case(case.id), case) for case in prepared[role]]
        for role in ("labeled", "validation")
    )
    refuse_erased(learned, checked, LabelReading(preprocessing, label_map, ignore), classes)
    names = class_names(classes, prepared["labeled"], ignore=ignore)
    return TrainingData(
        labeled=tuple(prepared["labeled"]),
        unlabeled=tuple(prepared.get("unlabeled", ())),
        validation=tuple(prepared["validation"]),
        classes=names,
        in_channels=channels_of(everything),
        bytes_cached=sum(case.image.stat().st_size for case in everything),
        labels=sha256_json({case.id: name_of(case.labels) for case in everything if case.labels}),
        ignore_label=ignore,
        label_values=values_of_classes(len(names), label_map, stored, ignore) if label_map else (),
    )


def _tell_unheld(
    stored: set[int], split: Split, label_map: Mapping[int, int], ignore: int | None
) -> None:
    """Warn of options whose value is in no label map; `split` has done so for its own."""
    typed = {} if split.label_map else label_map
    for sentence in unheld_in_words(
        stored, typed, None if split.ignore_label == ignore else ignore
    ):
        logger.warning(sentence)


def refuse_leaks(split: Split) -> None:
    """Refuse cases whose content the split does not know, and test images under other names."""
    if strangers := [case for case in split.cases("all") if case not in split.images]:
        raise PolicyError(
            f"The split has no digest of {', '.join(strangers[:3])}: it was changed by hand. "
            "Make a new one with 'llmseg split'."
        )
    tests = {split.images[case]: case for case in split.test}
    for case in (*split.labeled, *split.unlabeled, *split.validation):
        if twin := tests.get(split.images[case]):
            raise PolicyError(
                f"case {case} has the same image as the locked test case {twin}. Remove one of the "
                "two files and make a new split; 'llmseg check' lists duplicates."
            )


def class_names(
    classes: Mapping[int, str], labeled: Sequence[PreparedCase], *, ignore: int | None = None
) -> tuple[str, ...]:
    """Names of the classes, background first, as declared or from the labels found.

    Args:
        classes: Label value to name, as the data set declares them; may be empty.
        labeled: Prepared labeled cases.
        ignore: The ignore label; if there is one, `UNKNOWN` is no class.

    Raises:
        DataError: If values leave gaps, are not declared, or a declared class has no voxel in any
            labeled case.
    """
    found: set[int] = {0}
    for case in labeled:
        assert case.foreground is not None
        table = np.load(case.foreground)
        if ignore is not None and is_unknown(table):
            logger.warning(NOTHING_KNOWN, case.id, ignore)
        found |= values_in(table) - ({UNKNOWN} if ignore is not None else set())
    declared = dict(classes) or {value: f"class {value}" for value in found if value}
    declared = {0: "background", **declared}
    if found == {0}:
        raise DataError(
            "No labeled case has any foreground. Label more cases, or check --label-map."
        )
    values = sorted(declared)
    if values != list(range(len(values))):
        raise DataError(
            f"The labeled cases have label values {values}, expected 0, 1, 2, ... without gaps. "
            "Make a split whose labeled cases have all classes, or, if there are no others, change "
            f"the values, as with --label-map {values[-1]}:{len(values) - 1}."
            f"{ignore_hint(values)}"
        )
    if extra := sorted(found - set(declared)):
        raise DataError(
            f"Label values {extra} are not among the declared classes {values}. "
            f"Change them with --label-map FROM:TO.{ignore_hint([*values, *extra])}"
        )
    if absent := [declared[value] for value in values if value not in found]:
        raise DataError(
            f"No labeled case has a voxel of {', '.join(absent)}. Make a split with more labeled "
            "cases; 'llmseg split' says how many it takes."
        )
    return tuple(declared[value] for value in values)


def channels_of(cases: Sequence[PreparedCase]) -> int:
    """Image channels of the cases.

    Raises:
        DataError: If they differ.
    """
    counts = {case.id: open_stored(case.image).shape[0] for case in cases}
    if len(set(counts.values())) > 1:
        first = next(iter(counts))
        odd = next(name for name, count in counts.items() if count != counts[first])
        raise DataError(
            f"case {odd} has {counts[odd]} image channels, case {first} has {counts[first]}. "
            "Give all cases the same channels."
        )
    return next(iter(counts.values()))


def refuse_full_disk(cache: Path, dataset: Dataset, names: Sequence[str]) -> None:
    import shutil

    cache.mkdir(parents=True, exist_ok=True)
    cases: list[Case] = [dataset.case(name) for name in names]
    smallest = sum(path.stat().st_size for c in cases for path in c.images if path.is_file())
    free = shutil.disk_usage(cache).free
    if free < smallest * DISK_RESERVE:
        raise ResourceError(
            f"The cache {cache} has {free / 1e9:.1f} GB free; the prepared cases need more than "
            f"{smallest / 1e9:.1f} GB. Choose another folder with --cache."
        )
