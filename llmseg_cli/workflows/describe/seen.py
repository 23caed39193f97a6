"""Which images texts are written about, and the predicted masks that may be looked at with them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.text import counted
from llmseg_cli.data.cases import Case, find_cases, image_digest
from llmseg_cli.data.class_values import changes_from_stored
from llmseg_cli.data.digests import label_digest
from llmseg_cli.data.volumes import Volume, load_image, load_label_map
from llmseg_cli.errors import DataError, PolicyError, UsageError
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.predict.choice import choose_cases
from llmseg_cli.workflows.score.predictions import Predictions, find_predictions

SHOWN = 3
NAMELESS = ("class 1",)  # of a run whose data set names no class: the target says more


@dataclass(frozen=True)
class Seen:
    """An image that is loaded, with its predicted mask.

    Args:
        case: Whose it is.
        digest: That of the image.
        volume: The image.
        labels: The mask, `(X, Y, Z)` in numbers of classes, or None.
        mask: Its digest, or None.
    """

    case: Case
    digest: str
    volume: Volume
    labels: NDArray[np.integer] | None = None
    mask: str | None = None


@dataclass(frozen=True)
class Sights:
    """The images, and what was predicted for them.

    Args:
        cases: Whose images.
        class_names: Classes, in the order of their numbers from 1.
        predictions: Their masks, or None.
        warnings: What a reader should know.
    """

    cases: tuple[Case, ...]
    class_names: tuple[str, ...]
    predictions: Predictions | None = None
    warnings: tuple[str, ...] = ()

    def each(self, progress: Progress) -> Iterator[Seen]:
        """One image after another, loaded; *progress* hears of each that is done with.

        Raises:
            DataError: If an image or a mask cannot be read, a mask lies on other voxels, or has a
                value of no class.
        """
        progress("describe", 0, len(self.cases))
        for number, case in enumerate(self.cases, start=1):
            yield self._seen(case)
            progress("describe", number, len(self.cases), case=case.id)

    def _seen(self, case: Case) -> Seen:
        volume = load_image(case.images)
        if self.predictions is None:
            return Seen(case, image_digest(case), volume)
        path = self.predictions.files[case.id]
        changes = changes_from_stored(self.predictions.label_values)
        labels = load_label_map(path, label_map=changes).array
        shape = volume.array.shape[1:]
        if labels.shape != shape:
            sizes = [" x ".join(map(str, one)) for one in (labels.shape, shape)]
            raise DataError(
                f"{path} has {sizes[0]} voxels, and the image of {case.id} {sizes[1]}. Predict it "
                "anew with 'llmseg predict'."
            )
        if odd := sorted(set(np.unique(labels).tolist()) - {*range(len(self.class_names) + 1)}):
            raise DataError(
                f"{path} has the value {odd[0]}, and the classes are "
                f"{', '.join(self.class_names)}. Name all of them with --class."
            )
        return Seen(case, image_digest(case), volume, labels, label_digest(path))


def sights_of(
    data: Path | None,
    images: Sequence[Path],
    pred: Path | None,
    *,
    target: str,
    classes: tuple[str, ...],
) -> Sights:
    """The cases of a data set, or images alone, with the masks of a folder of predictions.

    No label map of the data set is opened.

    Args:
        data: A data set.
        images: Or images, and folders of them.
        pred: Masks of `llmseg predict`, one for each case, or None.
        target: What is segmented.
        classes: Names of the classes; none takes those of the masks' run, of the data set, or one
            named as the target.

    Raises:
        UsageError: If neither or both of *data* and *images* are given, or a case has no mask.
        DataError: If there is no case.
        PolicyError: If a mask is a label map of the data set.
    """
    cases = choose_cases(data, images, None, None)
    found = None if pred is None else find_predictions(pred)
    names = classes or _declared(data, found) or (target,)
    if found is None:
        return Sights(cases, names)
    _refuse_references(found, cases, data)
    if missing := [case.id for case in cases if case.id not in found.files]:
        raise UsageError(
            f"--pred {pred} has no mask of {counted(len(missing), 'case')} "
            f"({', '.join(missing[:SHOWN])}). Predict all images first, or name some with --images."
        )
    return Sights(cases, names, found, _doubts(found, cases))


def _declared(data: Path | None, found: Predictions | None) -> tuple[str, ...]:
    if found is not None and found.classes:
        names = found.classes[1:]
        return () if names == NAMELESS else names
    if data is None:
        return ()
    known = find_cases(data).classes
    return tuple(known[value] for value in sorted(known) if value)


def _refuse_references(found: Predictions, cases: Sequence[Case], data: Path | None) -> None:
    """Refuse label maps of the data set: a text about one would tell the answer."""
    root = None if data is None else data.resolve()
    references = {case.label.resolve() for case in cases if case.label is not None}
    for name, path in found.files.items():
        place = path.resolve()
        is_inside = root is not None and root.is_dir() and not found.details
        if place in references or (is_inside and root in place.parents):
            raise PolicyError(
                f"--pred {found.folder}: {name} is a label map of the data set, and its text would "
                "tell the answer. Pass masks that 'llmseg predict' wrote."
            )


def _doubts(found: Predictions, cases: Sequence[Case]) -> tuple[str, ...]:
    told = list(found.warnings)
    if not found.details and not found.parts:
        told.append(
            f"Nothing in {found.folder} says that a network made these masks. A text about a label "
            "map that a person drew tells the answer: give such texts to no training."
        )
    trained = {case for one in (found, *found.parts) for case in one.known.training_cases}
    if learned := sorted({case.id for case in cases} & trained):
        told.append(
            f"{len(learned)} of the masks are of cases that their run learned from "
            f"({', '.join(learned[:SHOWN])}): their texts are truer than those of other cases will "
            "be. Masks of 'predict --cross-validation' are not."
        )
    return tuple(told)
