"""The cases of a training, with their label maps or, where the method needs none, without."""

from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.digests import as_recorded
from llmseg_cli.data.patches.cache import prepare_image
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.errors import PolicyError, UsageError
from llmseg_cli.methods.base import Method
from llmseg_cli.options import parse_label_map
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.case_folder import refuse_over_cases
from llmseg_cli.workflows.train.data import (
    TrainingData,
    channels_of,
    digests_of,
    prepare,
    refuse_full_disk,
    refuse_leaks,
)
from llmseg_cli.workflows.train.request import Request


def prepare_for(
    method: type[Method],
    options: dict[str, Any],
    request: Request,
    preprocessing: Preprocessing,
    progress: Progress,
) -> TrainingData:
    """Bring the cases that a method learns from into the cache; see `prepare`.

    Args:
        method: The way of learning.
        options: All of its options.
        request: What to do, with a patch and a spacing.
        preprocessing: Spacing and intensities.
        progress: Hears about every case.

    Raises:
        DataError, UsageError, PolicyError: As `prepare`.
    """
    if not method.uses_labels:
        classes = method.classes_of(options)
        return _scans(method, classes, request, preprocessing, progress)
    return prepare(
        request.data,
        request.split,
        preprocessing=preprocessing,
        label_map=parse_label_map(request.label_map),
        ignore_label=request.ignore_label,
        cache=request.prepared or request.cache,
        with_unlabeled=method.uses_unlabeled,
        output=request.output,
        form=request.settings.cache_format,
        progress=progress,
    )


def _scans(
    method: type[Method],
    classes: tuple[str, ...],
    request: Request,
    preprocessing: Preprocessing,
    progress: Progress,
) -> TrainingData:
    """Labeled and unlabeled cases alike, as images; validation and test cases are left alone."""
    split, batch = request.split, request.unlabeled_batch or request.settings.batch
    if batch < method.fewest_unlabeled:
        flag = "--unlabeled-batch" if request.unlabeled_batch else "--batch"
        raise UsageError(
            f"{flag} {batch}: the method '{request.method}' needs {method.fewest_unlabeled} scans "
            "or more in a batch."
        )
    dataset = find_cases(request.data)
    refuse_over_cases(request.output, dataset.cases, request.data)
    digests = digests_of(dataset, [*split.images])
    split.refuse_other_data(as_recorded(dataset.cases, digests, split.images))
    refuse_leaks(split)
    names = (*split.labeled, *split.unlabeled)
    if not names:
        raise PolicyError("The split has no case to learn from. Make one with 'llmseg split'.")
    cache = request.prepared or request.cache
    refuse_full_disk(cache, dataset, names)
    progress("prepare", 0, len(names))
    found = []
    form = request.settings.cache_format
    for name in names:
        case = dataset.case(name)
        found.append(prepare_image(case, digests[name], preprocessing, cache, form=form))
        progress("prepare", len(found), len(names))
    return TrainingData(
        labeled=(),
        unlabeled=tuple(found),
        validation=(),
        classes=classes,
        in_channels=channels_of(found),
        bytes_cached=sum(case.image.stat().st_size for case in found),
        labels="",
    )


def split_without_labels(data: Path, *, group_by: str | None, seed: int) -> Split | None:
    """All cases of a data set without any label map as unlabeled ones, its own test set locked.

    Args:
        data: The data set.
        group_by: Regular expression whose first group in the identifier is the patient.
        seed: Of the run.

    Returns:
        None if there are label maps, by which `llmseg split` draws.
    """
    dataset = find_cases(data, group_by=group_by)
    if any(case.label is not None for case in dataset.cases):
        return None
    return Split(
        labeled=(),
        unlabeled=tuple(sorted(case.id for case in dataset.cases if not case.is_test)),
        validation=(),
        test=tuple(sorted(case.id for case in dataset.cases if case.is_test)),
        seed=seed,
        images=digests_of(dataset, [case.id for case in dataset.cases]),
        groups={case.id: case.group for case in dataset.cases if case.group is not None},
        group_by=group_by,
    )
