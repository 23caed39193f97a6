"""Sizes from headers alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_data import random_image, write_nifti

from llmseg_cli.data.case import Case
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.sizes import read_sizes
from llmseg_cli.errors import DataError


def test_voxels_and_spacing_along_the_axes_of_the_body(tmp_path):
    turned = np.array([[0, 0, 2.5, 0], [0.5, 0, 0, 0], [0, -0.75, 0, 0], [0, 0, 0, 1]], float)
    write_nifti(tmp_path / "images" / "a.nii.gz", np.zeros((4, 5, 6), np.float32))
    write_nifti(tmp_path / "images" / "b.nii.gz", np.zeros((4, 5, 6), np.float32), turned)
    shapes, spacings, unit = read_sizes(find_cases(tmp_path).cases)
    assert shapes == [(4, 5, 6), (6, 4, 5)]
    assert spacings == [(1.0, 1.0, 1.0), pytest.approx((2.5, 0.5, 0.75))]
    assert unit == "mm"


def test_the_unit_is_that_of_most(tmp_path):
    write_nifti(tmp_path / "images" / "a.nii.gz", np.zeros((4, 5, 6), np.float32))
    for name in "bc":
        Image.fromarray(np.zeros((7, 9), np.uint8)).save(tmp_path / "images" / f"{name}.png")
    shapes, _, unit = read_sizes(find_cases(tmp_path).cases)
    assert shapes[1:] == [(9, 7, 1)] * 2
    assert unit == "px"


def test_no_voxel_is_read(tmp_path):
    path = write_nifti(tmp_path / "images" / "a.nii.gz", random_image(0, (40, 50, 60)))
    path.write_bytes(path.read_bytes()[:9000])  # the rest is lost
    case = Case("a", (path,), None)
    assert read_sizes([case])[0] == [(40, 50, 60)]


def test_what_has_no_size(tmp_path):
    with pytest.raises(DataError, match="no scans"):
        read_sizes([])
    (tmp_path / "a.nii").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.nii"):
        read_sizes([Case("a", (Path(tmp_path / "a.nii"),), None)])
