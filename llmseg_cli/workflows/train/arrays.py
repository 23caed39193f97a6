"""Train on arrays in memory: written as a data set, and then trained on as any other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.artifacts.split import SPLIT
from llmseg_cli.config import SemiSettings, TrainSettings
from llmseg_cli.data.arrays import image_volume, label_array, write_image, write_label_array
from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.embeddings.file import Embeddings, save_embeddings
from llmseg_cli.options import label_pairs
from llmseg_cli.progress import Progress
from llmseg_cli.typed import fitted
from llmseg_cli.workflows.split import plan
from llmseg_cli.workflows.train.request import Request
from llmseg_cli.workflows.train.run import run
from llmseg_cli.workflows.train.text_guidance import text_for

SUPERVISED = "supervised"


@dataclass(frozen=True, kw_only=True)
class ArrayCohort:
    """Cases in memory.

    Args:
        images: As of `image_volume`, the labeled ones first.
        labels: Of the first of them, in the same order.
        spacings: Sides of a voxel in mm, one entry for each image.
        classes: Names of classes 1, 2, ...; none if they have no names.
        label_map: Label values to change.
        ignore_label: Value of voxels of which nothing is known, or None.
        validation: How many of the labeled ones validate, drawn by the seed.
    """

    images: Sequence[ArrayLike]
    labels: Sequence[ArrayLike]
    spacings: Sequence[Sequence[float]]
    classes: Sequence[str] = ()
    label_map: Mapping[int, int] = field(default_factory=dict)
    ignore_label: int | None = None
    validation: int = 0

    def write(self, data: Path) -> None:
        """Write `images/` and `labels/`: `case000.nii.gz` and so on."""
        for name in ("images", "labels"):
            (data / name).mkdir(parents=True)
        for index, (image, spacing) in enumerate(zip(self.images, self.spacings, strict=True)):
            file = f"case{index:0{len(str(len(self.images)))}d}.nii.gz"
            volume = image_volume(image, spacing)
            write_image(data / "images" / file, volume)
            if index < len(self.labels):
                labels = label_array(self.labels[index], len(spacing), name=f"labels[{index}]")
                if labels.shape != volume.grid.shape:
                    raise ValueError(
                        f"labels[{index}] of shape {labels.shape}, its image {volume.grid.shape}"
                    )
                write_label_array(data / "labels" / file, labels, volume.grid)


def spacings_of(
    spacing: Sequence[float] | Sequence[Sequence[float]], count: int
) -> list[Sequence[float]]:
    """Sides of a voxel for each of *count* images, from one entry for all or one for each.

    Raises:
        ValueError: If there are others than *count*, or pictures among volumes.
    """
    is_one = all(isinstance(side, int | float) or np.ndim(side) == 0 for side in spacing)
    found: list[Any] = [spacing] * count if is_one else list(spacing)
    if len(found) != count or len({len(sides) for sides in found}) != 1:
        raise ValueError(
            f"spacing has {len(found)} entries for {count} images, expected one for all or one for "
            "each, of two or of three sides"
        )
    return found


def settings_of(options: Mapping[str, Any]) -> TrainSettings:
    """Options of `llmseg train-sup` by name, dashes or underscores, checked as those of a file.

    Raises:
        UsageError: If a name is unknown or a value does not fit.
    """
    values = {name.replace("-", "_"): value for name, value in options.items()}
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    found: TrainSettings = fitted(plain, TrainSettings, name="options", error=UsageError)
    return found


def train_arrays(
    cohort: ArrayCohort,
    folder: Path,
    *,
    method: str,
    method_option: Sequence[str],
    options: Mapping[str, Any],
    text: Embeddings | None,
    seed: int,
    cache: Path | None,
    prepared: Path | None,
    progress: Progress,
) -> Path:
    """Write the cohort and its split into a folder, train there, and return the run folder.

    Args:
        cohort: The cases.
        folder: An empty folder, or one that is not there.
        method: Name of the way of learning.
        method_option: Its options, `KEY=VALUE`.
        options: Options of `train-sup`.
        text: What guides networks of methods that take text, or None.
        seed: Seed of everything random.
        cache: llmseg's cache folder, if it is not the usual one.
        prepared: Folder of prepared cases, if it is not the cache folder.
        progress: Hears about cases and steps.

    Raises:
        ValueError: If shapes do not fit.
        LlmsegError: As `llmseg split` and `train-semi` say.
    """
    settings = settings_of(options)
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty. Name another folder, or remove what it holds.")
    data = folder / "data"
    cohort.write(data)
    split = plan(
        data,
        labeled=None,
        validation=str(cohort.validation) if cohort.validation else None,
        label_map=cohort.label_map,
        ignore_label=cohort.ignore_label,
        class_names=cohort.classes,
        seed=seed,
        progress=progress,
    ).split
    split.save(folder / SPLIT)
    place = cache or default_cache()
    guide = None
    if text is not None:
        file = folder / "embeddings.safetensors"
        save_embeddings(file, text)
        fusion = SemiSettings().fusion
        guide = text_for(file, control="none", fusion=fusion, seed=seed, cache=place)
    request = Request(
        command="train-sup" if method == SUPERVISED else "train-semi",
        data=data,
        split=split,
        output=folder / "run",
        settings=settings,
        method=method,
        method_option=tuple(method_option),
        label_map=label_pairs(split.label_changes()),
        ignore_label=split.ignored(),
        seed=seed,
        text=guide,
        cache=place,
        prepared=prepared,
    )
    run(request, resume=False, force=False, progress=progress)
    return request.output
