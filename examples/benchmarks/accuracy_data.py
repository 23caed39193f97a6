"""One data set, drawn once, laid out for each contestant of `accuracy.py`.

Below a folder of its own:

    split.json    roles, by `llmseg split`; the test cases are locked
    llmseg/       what llmseg trains on: all images but the test ones, the labeled ones' label maps
    test/         the test images as they came
    references/   the test label maps, on the images' own grid: what everybody is scored against
    raw/Dataset001_Contest/   the labeled and the test images as nnU-Net and PyMIC read them

Volumes go to the rivals as NIfTI in RAS+ order, so that the slices of an HDF5 file are the last
axis; pictures as PNG. Label values are those after `--label-map`. Masks come back through
`collect`, onto the grid of the original file.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from PIL import Image

from llmseg_cli.data.cases import Case, Dataset, find_cases
from llmseg_cli.data.naming import HDF5, PICTURES, suffix
from llmseg_cli.data.nnunet import description
from llmseg_cli.data.volumes import (
    load_image,
    load_label_map,
    prediction_suffix,
    read_grid,
    save_label_map,
)

NNUNET_NAME = "Dataset001_Contest"


@dataclass(frozen=True)
class Laid:
    """A data set laid out for the contestants.

    Args:
        folder: Where all of it lies.
        labeled: Identifiers of the cases that train.
        test: Identifiers of the locked cases.
        classes: Number of classes, with background.
        channels: Channels of an image.
        is_2d: Whether the images are pictures.
        shape: Median size of the labeled images, X Y Z.
    """

    folder: Path
    labeled: tuple[str, ...]
    test: tuple[str, ...]
    classes: int
    channels: int
    is_2d: bool
    shape: tuple[int, int, int]

    @property
    def raw(self) -> Path:
        """nnU-Net's folder of the data set."""
        return self.folder / "raw" / NNUNET_NAME

    @property
    def ending(self) -> str:
        """Suffix of the rivals' files."""
        return ".png" if self.is_2d else ".nii.gz"

    @property
    def channel_files(self) -> int:
        """Files of one image: nnU-Net wants one a channel, and all channels of a picture in one."""
        return 1 if self.is_2d else self.channels


def lay(data: Path, folder: Path, *, label_map: Mapping[int, int]) -> Laid:
    """Lay out *data*, whose roles stand in `folder/split.json`.

    Raises:
        LlmsegError: If a file cannot be read.
    """
    split = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    dataset = find_cases(data)
    labeled, test = tuple(sorted(split["labeled"])), tuple(sorted(split["test"]))
    raw = folder / "raw" / NNUNET_NAME
    for name in ("llmseg", "test", "references"):
        (folder / name).mkdir()
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (raw / name).mkdir(parents=True)
    shapes, largest, channels = [], 0, 1
    for name in labeled:
        case = dataset.case(name)
        shape, channels = write_for_rivals(case, raw / "imagesTr")
        shapes.append(shape)
        largest = max(largest, write_label(case, raw / "labelsTr", label_map))
    for name in test:
        case = dataset.case(name)
        write_for_rivals(case, raw / "imagesTs")
        largest = max(largest, write_label(case, folder / "references", label_map, own=True))
        give_image(case, folder / "test", with_label=False)
    lay_for_llmseg(dataset, folder / "llmseg", labeled, set(test), label_map)
    is_2d = suffix(dataset.case(labeled[0]).images[0]) in PICTURES
    middle = np.median(np.array(shapes), axis=0).astype(int).tolist()
    laid = Laid(folder, labeled, test, largest + 1, channels, is_2d, tuple(middle))
    described = description(
        channels=[f"channel{c}" for c in range(laid.channels)],
        classes=["background", *(f"class{k}" for k in range(1, laid.classes))],
        training=len(laid.labeled),
        ending=laid.ending,
    )
    (raw / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    return laid


def write_for_rivals(case: Case, folder: Path) -> tuple[tuple[int, int, int], int]:
    """Write an image as `CASE_0000.nii.gz`, one file a channel, or as one PNG.

    Returns:
        Its size, X Y Z, and its channels.
    """
    volume = load_image(case.images)
    channels, x, y, z = volume.array.shape
    if suffix(case.images[0]) in PICTURES:
        picture = Image.open(case.images[0])
        picture = picture if channels == 1 else picture.convert("RGB")
        picture.save(folder / f"{case.id}_0000.png")
        return (x, y, z), channels
    for index, values in enumerate(volume.array):
        _write_nifti(folder / f"{case.id}_{index:04d}.nii.gz", values, volume.spacing_mm)
    return (x, y, z), channels


def write_label(
    case: Case, folder: Path, label_map: Mapping[int, int], *, own: bool = False
) -> int:
    """Write a label map beside the rivals' images, or with *own* on the grid of the case's own.

    Returns:
        Its largest value.
    """
    if case.label is None:
        raise ValueError(f"case {case.id} has no label map")
    label = load_label_map(case.label, label_map=label_map)
    grid = read_grid(case.images)
    if own or grid.format == "picture":
        save_label_map(folder / f"{case.id}{prediction_suffix(grid)}", label.array, grid)
    else:
        values = label.array.astype(np.uint8)
        _write_nifti(folder / f"{case.id}.nii.gz", values, grid.spacing_mm)
    return int(label.array.max())


def collect(found: Path, masks: Path, dataset: Dataset, names: tuple[str, ...]) -> None:
    """Bring a rival's masks, named `CASE.nii.gz` or `CASE.png`, onto the original grids."""
    masks.mkdir()
    for name in names:
        grid = read_grid(dataset.case(name).images)
        ending = ".png" if grid.format == "picture" else ".nii.gz"
        mask = load_label_map(found / f"{name}{ending}")
        save_label_map(masks / f"{name}{prediction_suffix(grid)}", mask.array, grid)


def lay_for_llmseg(
    dataset: Dataset,
    folder: Path,
    labeled: tuple[str, ...],
    test: set[str],
    label_map: Mapping[int, int],
) -> None:
    """A data set as a user has it: many images, few label maps, the names of the classes."""
    is_hdf5 = suffix(dataset.cases[0].images[0]) in HDF5
    images = folder if is_hdf5 else folder / "images"
    images.mkdir(exist_ok=True)
    if not is_hdf5:
        (folder / "labels").mkdir()
        if dataset.classes:
            names = {str(value): name for value, name in dataset.classes.items()}
            (folder / "dataset.json").write_text(json.dumps({"labels": names}), encoding="utf-8")
    for case in dataset.cases:
        if case.id in test:
            continue
        give_image(case, images, with_label=case.id in labeled)
        if case.id in labeled and not is_hdf5:
            write_label(case, folder / "labels", label_map, own=True)


def give_image(case: Case, folder: Path, *, with_label: bool) -> None:
    """Link an image; of an HDF5 file, copy the image, and the label map if it may be seen."""
    for path in case.images:
        if suffix(path) not in HDF5:
            (folder / path.name).symlink_to(path.resolve())
            continue
        with h5py.File(path) as given, h5py.File(folder / path.name, "w") as copy:
            for name in ("image", "label") if with_label else ("image",):
                given.copy(name, copy)


def _write_nifti(path: Path, values: np.ndarray, spacing: tuple[float, float, float]) -> None:
    image = nib.Nifti1Image(values, np.diag([*spacing, 1.0]))
    image.header.set_xyzt_units("mm")
    nib.save(image, os.fspath(path))
