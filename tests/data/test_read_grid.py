"""A header alone says what the whole file says."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from llmseg_cli.data.volumes import load_image, read_grid
from llmseg_cli.errors import DataError


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6), (5, 6, 7, 2)])
def test_equals_the_grid_of_the_whole_image(tmp_path: Path, shape):
    path = tmp_path / "a.nii.gz"
    affine = np.array([[0, 2, 0, 1], [-1, 0, 0, 2], [0, 0, 3, 4], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), affine), path)
    whole, header = load_image([path]), read_grid([path])
    assert header.ras_shape == whole.grid.ras_shape == whole.array.shape[1:]
    assert header.spacing_mm == whole.grid.spacing_mm
    np.testing.assert_array_equal(header.affine, whole.grid.affine)


def test_what_is_no_nifti_is_told(tmp_path: Path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a whole NIfTI"):
        read_grid([path])
