"""Where the voxels of a file lie, and arrays turned to RAS+ and back."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from llmseg_cli.errors import DataError

Format = Literal["nifti", "nrrd", "mha", "dicom", "picture", "hdf5"]
SHEAR_TOLERANCE = 0.01  # cosine between two axes; 0.6 degrees off a right angle
AXES = ("left-right", "posterior-anterior", "inferior-superior")


@dataclass(frozen=True)
class Grid:
    """Where the voxels of one file lie.

    Args:
        shape: Voxels per axis, in the file's order; a picture is `(columns, rows, 1)`.
        affine: File voxel to RAS+ world in mm, `(4, 4)` float64; the identity for pictures.
        unit: What a distance of 1 means.
        format: Family of the file's format.
        header: What the format's writer needs to repeat the file's geometry exactly.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    unit: Literal["mm", "px", "voxel"]
    format: Format
    header: Any

    @property
    def codes(self) -> str:
        """Direction in which each file axis grows, such as `RAS` or `LPS`."""
        return "".join(nib.orientations.ornt2axcodes(self.orientation()))

    @property
    def ras_shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z after turning to RAS+."""
        shape = [0, 0, 0]
        for axis, target in enumerate(self.orientation()[:, 0].astype(int)):
            shape[target] = self.shape[axis]
        return (shape[0], shape[1], shape[2])

    @property
    def ras_affine(self) -> NDArray[np.float64]:
        """Voxel of the RAS+ array to world, `(4, 4)`."""
        return self.affine @ nib.orientations.inv_ornt_aff(self.orientation(), self.shape)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxels along X, Y, Z of the RAS+ array."""
        x, y, z = np.linalg.norm(self.ras_affine[:3, :3], axis=0)
        return (float(x), float(y), float(z))

    def orientation(self) -> NDArray[np.float64]:
        """Per file axis, the RAS+ axis it becomes and its direction (nibabel's form), `(3, 2)`."""
        return _orientation(np.asarray(self.affine, np.float64).tobytes())

    def to_ras(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn `(..., I, J, K)` in file order to `(..., X, Y, Z)`."""
        return self._turn(array, self.orientation())

    def from_ras(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn `(..., X, Y, Z)` to the file's order."""
        ras = nib.orientations.axcodes2ornt("RAS")
        return self._turn(array, nib.orientations.ornt_transform(ras, self.orientation()))

    @staticmethod
    def _turn(array: NDArray[Any], orientation: NDArray[np.float64]) -> NDArray[Any]:
        last = (-3, -2, -1)
        front = np.moveaxis(array, last, (0, 1, 2))
        turned = nib.apply_orientation(front, orientation)
        return np.ascontiguousarray(np.moveaxis(turned, (0, 1, 2), last))


@lru_cache(maxsize=1024)
def _orientation(affine: bytes) -> NDArray[np.float64]:
    """Of an affine's bytes, for it takes longer than to read a small picture."""
    found: NDArray[np.float64] = nib.io_orientation(np.frombuffer(affine).reshape(4, 4))
    found.flags.writeable = False
    return found


def refuse_shear(affine: NDArray[np.float64], name: str) -> None:
    """Refuse voxel axes that are not at right angles, or have no length.

    Raises:
        DataError: Naming the two axes and the angle between them.
    """
    columns = affine[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(affine).all() or (lengths < 1e-9).any():
        raise DataError(f"{name}: the affine {columns.tolist()} is singular. Repair its header.")
    cosines = (columns / lengths).T @ (columns / lengths)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        cosine = float(cosines[first, second])
        if abs(cosine) > SHEAR_TOLERANCE:
            angle = float(np.degrees(np.arccos(cosine)))
            raise DataError(
                f"{name}: voxel axes {first + 1} and {second + 1} are sheared, {angle:.1f} degrees "
                "apart; expected 90 (a tilted gantry?). Resample the scan to a right-angled grid."
            )
