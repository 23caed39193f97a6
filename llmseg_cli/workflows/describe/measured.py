"""Texts about each image without any model: sentences from numbers that were measured."""

from collections.abc import Sequence
from pathlib import Path

from llmseg_cli.artifacts.case_descriptions import CaseDescriptions, DescribedCase
from llmseg_cli.artifacts.descriptions import Description, Writer, check_class_names
from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.sights.numbers import image_numbers, part_numbers
from llmseg_cli.knowledge.sights.sentences import about_image, about_part
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.describe.seen import Seen, sights_of

MEASURED = "measured"


def measure(
    target: str,
    *,
    modality: str | None = None,
    classes: tuple[str, ...] = (),
    data: Path | None = None,
    images: Sequence[Path] = (),
    pred: Path | None = None,
    progress: Progress = silent,
) -> CaseDescriptions:
    """One text for each case and class: about its image and, of a prediction, about the class.

    It looks at the image and at the predicted mask, and at nothing else: no label map of the data
    set is opened. The same files give the same texts.

    Args:
        target: What is segmented.
        modality: How it was imaged; the texts say so if it is given.
        classes: Names of the classes, see `sights_of`.
        data: A data set.
        images: Or images, and folders of them.
        pred: Masks of `llmseg predict`; None describes the image alone, alike for all classes.
        progress: Hears about every case.

    Raises:
        UsageError, DataError, PolicyError: As `sights_of` and `Sights.each`.
    """
    if not target.strip():
        raise UsageError("--target is empty; name what is segmented, such as 'left atrium'.")
    check_class_names(classes)
    sights = sights_of(data, images, pred, target=target.strip(), classes=classes)
    cases = {
        seen.case.id: _described(seen, sights.class_names, modality)
        for seen in sights.each(progress)
    }
    return CaseDescriptions(
        target=target.strip(),
        modality=modality or "",
        reviewed=True,
        class_names=sights.class_names,
        cases=cases,
        written_by=Writer(provider=MEASURED, model=MEASURED),
        warnings=sights.warnings,
    )


def _described(seen: Seen, names: Sequence[str], modality: str | None) -> DescribedCase:
    volume = seen.volume
    image = image_numbers(volume.array, volume.spacing_mm, volume.grid.unit)
    whole = about_image(image, modality)
    texts: dict[str, tuple[Description, ...]] = {}
    for value, name in enumerate(names, start=1):
        text = whole
        if seen.labels is not None:
            part = part_numbers(volume.array, seen.labels, value, volume.spacing_mm)
            text = f"{about_part(name, part, image)} {whole}"
        texts[name] = (Description(text=text, source=MEASURED),)
    return DescribedCase(image=seen.digest, classes=texts, mask=seen.mask)
