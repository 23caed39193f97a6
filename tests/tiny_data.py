"""Small data sets, written to disk for tests."""

import locale
import struct
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from llmseg_cli.knowledge.embeddings.file import Embeddings

SHAPE = (7, 6, 5)


def random_image(seed: int, shape: Sequence[int] = SHAPE) -> NDArray[np.float32]:
    """Noise that no other seed makes."""
    return np.random.default_rng(seed).normal(100, 10, shape).astype(np.float32)


def label_with(classes: Sequence[int], shape: Sequence[int] = SHAPE) -> NDArray[np.uint8]:
    """A label map with a growing number of voxels of each class."""
    label = np.zeros(shape, np.uint8).ravel()
    start = 0
    for index, value in enumerate(classes):
        label[start : start + 3 + index] = value
        start += 3 + index
    return label.reshape(shape)


def write_nifti(
    path: Path, array: NDArray[np.generic], affine: NDArray[np.float64] | None = None
) -> Path:
    """Write a NIfTI file; the affine is the identity if none is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def write_cases(
    root: Path, classes: Sequence[Sequence[int] | None], names: Sequence[str] | None = None
) -> Path:
    """Write `images/` and `labels/`; per case the classes of its label map, or None for none."""
    for index, values in enumerate(classes):
        name = names[index] if names else f"case{index:02d}"
        write_nifti(root / "images" / f"{name}.nii.gz", random_image(index))
        if values is not None:
            write_nifti(root / "labels" / f"{name}.nii.gz", label_with(values))
    return root


def write_dicom(
    folder: Path,
    array: NDArray[np.int16],
    *,
    gap_after: int | None = None,
    tilt: float = 0.0,
    series: int = 1,
) -> Path:
    """Write `(X, Y, Z)` as a DICOM series, 0.5 x 0.75 x 2 mm, in LPS order.

    Args:
        folder: Where to.
        array: Voxels.
        gap_after: Leave out the slice after this one.
        tilt: Shift of each slice along Y, mm.
        series: Number of the series; several may lie in one folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = locale.setlocale(locale.LC_ALL)  # writing DICOM sets the C locale and leaves it
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index in range(array.shape[2]):
        if gap_after is not None and index == gap_after + 1:
            continue
        picture = sitk.GetImageFromArray(np.ascontiguousarray(array[:, :, index].T))
        picture.SetSpacing((0.5, 0.75))
        tags = {
            "0008|0060": "MR",
            "0020|000e": f"1.2.826.0.1.3680043.2.1125.1.{series}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.2",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.3.{series}.{index + 1}",
            "0020|0013": str(index),
            "0020|0032": f"10\\{20 + tilt * index}\\{30 + 2 * index}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0018|0050": "2",
        }
        for key, value in tags.items():
            picture.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{series - 1 or ''}{index:03d}.dcm"))
        writer.Execute(picture)
    locale.setlocale(locale.LC_ALL, before)
    return folder


def write_dicom_report(path: Path) -> Path:
    """Write a DICOM file without voxels, a structured report, of a series of its own."""

    def element(group: int, number: int, kind: bytes, text: bytes) -> bytes:
        padded = text + b"\0" * (len(text) % 2)
        return struct.pack("<HH2sH", group, number, kind, len(padded)) + padded

    report = b"1.2.840.10008.5.1.4.1.1.88.11"
    rest = element(2, 2, b"UI", report) + element(2, 3, b"UI", b"1.2.3.4")
    rest += element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
    body = element(8, 0x16, b"UI", report) + element(8, 0x18, b"UI", b"1.2.3.4")
    body += element(8, 0x60, b"CS", b"SR") + element(0x20, 0xD, b"UI", b"1.2.3")
    body += element(0x20, 0xE, b"UI", b"1.2.3.9") + element(0x20, 0x13, b"IS", b"1 ")
    start = element(2, 0, b"UL", struct.pack("<I", len(rest)))
    path.write_bytes(b"\0" * 128 + b"DICM" + start + rest + body)
    return path


def toy_text(seed: int, *, length: int = 6) -> Embeddings:
    """Three texts of two classes, as random numbers."""
    random = np.random.default_rng(seed)
    return Embeddings(
        target=f"toy {seed}",
        class_names=("class 1", "class 1", "class 2"),
        texts=("one", "two", "three"),
        token_ids=random.integers(1000, 9000, (3, length)),
        mask=np.ones((3, length), bool),
        tokens=random.standard_normal((3, length, 8), dtype=np.float32),
        pooled=random.standard_normal((3, 8), dtype=np.float32),
        encoder="none",
    )
