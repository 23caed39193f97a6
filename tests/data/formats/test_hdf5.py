"""HDF5 whose `image` or `label` is not a data set of numbers in this file."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from llmseg_cli.data.formats import hdf5
from llmseg_cli.data.reading import read_header, read_raw
from llmseg_cli.data.volumes import load_image
from llmseg_cli.errors import DataError

SHAPE = (4, 5, 6)


def virtual(file: h5py.File, name: str) -> None:
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[:] = h5py.VirtualSource("other.h5", "image", SHAPE)
    file.create_virtual_dataset(name, layout)


def outside(file: h5py.File, name: str) -> None:
    file.create_dataset(name, SHAPE, "u1", external=[("other.raw", 0, 120)])


STRANGE: dict[str, Callable[[h5py.File, str], object]] = {
    "group": lambda file, name: file.create_group(name),
    "dangling": lambda file, name: file.__setitem__(name, h5py.SoftLink("/nowhere")),
    "circular": lambda file, name: file.__setitem__(name, h5py.SoftLink(f"/{name}")),
    "external": lambda file, name: file.__setitem__(name, h5py.ExternalLink("b.h5", "/image")),
    "type": lambda file, name: file.__setitem__(name, np.dtype("f4")),
    "records": lambda file, name: file.create_dataset(name, SHAPE, [("a", "f4"), ("b", "i4")]),
    "texts": lambda file, name: file.create_dataset(name, SHAPE, h5py.string_dtype()),
    "bytes": lambda file, name: file.create_dataset(name, SHAPE, "S3"),
    "references": lambda file, name: file.create_dataset(name, SHAPE, h5py.ref_dtype),
    "complex": lambda file, name: file.create_dataset(name, SHAPE, "c8"),
    "opaque": lambda file, name: file.create_dataset(name, SHAPE, "V4"),
    "nothing": lambda file, name: file.create_dataset(name, data=h5py.Empty("f4")),
    "one number": lambda file, name: file.create_dataset(name, data=3.0),
    "no voxel": lambda file, name: file.create_dataset(name, (4, 0, 6), "f4"),
    "five axes": lambda file, name: file.create_dataset(name, (2, 2, 2, 2, 2), "f4"),
    "virtual": virtual,
    "elsewhere": outside,
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("name", ["image", "label"])
def test_what_is_no_data_set_of_numbers_is_told(tmp_path: Path, kind: str, name: str):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        STRANGE[kind](file, name)
    with pytest.raises(DataError, match=r"a\.h5"):
        read_raw(path, as_label=name == "label")
    assert hdf5.has_label(path) == (name == "label")  # so that it is read, and told
    if name == "image":
        for reads in (read_header, hdf5.content):
            with pytest.raises(DataError, match=r"a\.h5"):
                reads(path)


def test_numbers_of_the_other_byte_order_and_a_link_within_the_file(tmp_path: Path):
    stored = np.random.default_rng(0).normal(size=SHAPE)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["voxels"] = stored.astype(">f4")
        file["image"] = h5py.SoftLink("/voxels")
    np.testing.assert_array_equal(
        load_image([tmp_path / "a.h5"]).array[0], stored.astype(np.float32)
    )


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bytes_are_read_or_told(tmp_path: Path, seed: int):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        image = np.random.default_rng(0).normal(size=(16, 16, 16))
        file.create_dataset("image", data=image, chunks=(8, 8, 8), compression="gzip")
    random, content = np.random.default_rng(seed), bytearray(path.read_bytes())
    for at in random.integers(0, len(content), 40):
        content[at] = random.integers(256)
    path.write_bytes(content)
    told = None
    try:
        assert read_raw(path).array.ndim == 4
    except DataError as error:
        told = str(error)
    assert told is None or str(path) in told
