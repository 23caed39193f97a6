"""What a NIfTI header says of its geometry, before nibabel repairs it in silence.

Three fields place the voxels: `pixdim` (sizes), `qform` (a rotation, with the sizes of `pixdim`)
and `sform` (a matrix). Programs disagree about which one counts: nibabel and MRtrix take the sform,
ITK, hence nnU-Net, takes the sizes of `pixdim`. Only where all that are set agree do they matter
not, so the others are told. A qform and an sform with different codes (scanner and a template, say)
name different spaces, and may differ in rotation and place, but not in size or handedness.
"""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from llmseg_cli.data.formats.doubts import Doubt
from llmseg_cli.errors import DataError

MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 1e-3}  # codes of meter, mm, micron; others are taken as mm
UNIT_NAMES = {1: "meters", 3: "microns"}
SPATIAL_BITS, TEMPORAL_BITS = 7, 56  # of xyzt_units
SIZES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
SIZE_TOLERANCE = 0.01  # relative; less changes no distance by a visible amount
ANGLE_TOLERANCE = 0.02  # radians, about a degree
REPAIR = "Find out which is right (look at the scan's own protocol), and write both fields again."


def header_as_stored(path: Path) -> Any:
    """The header's fields, unrepaired; None if the file does not begin as NIfTI does.

    Raises:
        OSError, EOFError, zlib.error: If it cannot be read.
    """
    is_packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if is_packed else path.open("rb") as stream:
        block = stream.read(max(SIZES))
    for order in ("little", "big"):
        kind = SIZES.get(int.from_bytes(block[:4], order))
        if kind is not None:
            size = kind.template_dtype.itemsize
            if len(block) < size:
                return None
            return kind(block[:size], endianness=order, check=False)
    return None


def millimeters(header: Any) -> float:
    """What a length of 1 in the header is in mm."""
    return MM_PER_UNIT.get(int(header["xyzt_units"]) & SPATIAL_BITS, 1.0)


def doubts_of(header: Any, path: Path) -> tuple[Doubt, ...]:
    """What contradicts itself in a header as stored, or had to be assumed.

    Args:
        header: From `header_as_stored`.
        path: The file, for errors.

    Raises:
        DataError: If no field says how large the voxels are.
    """
    axes = _axes(header)
    sizes = np.array(header["pixdim"][1:4], dtype=np.float64)
    by_sform, by_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    odd = ~(np.isfinite(sizes) & (sizes > 0)) & axes
    found = []
    if odd.any():
        found.append(_odd_sizes(sizes, odd, path, is_used=not by_sform))
    if by_sform:
        found += _sform_doubts(header, axes & ~odd, by_qform=by_qform)
    elif not by_qform:
        found.append(_no_form(sizes))
    return (*found, *_unit_doubts(header), *_time(header))


def _axes(header: Any) -> NDArray[np.bool_]:
    """Which of three axes have more than one voxel, so that their sizes count."""
    dims = [int(size) for size in header["dim"]]
    return np.array([axis <= dims[0] and dims[axis] > 1 for axis in (1, 2, 3)])


def _odd_sizes(
    sizes: NDArray[np.float64], odd: NDArray[np.bool_], path: Path, *, is_used: bool
) -> Doubt:
    shown = _vector(sizes)
    if is_used and not (np.isfinite(sizes[odd]) & (sizes[odd] != 0)).all():
        raise DataError(
            f"{path}: pixdim is {shown}, and there is no sform, so the size of a voxel is not "
            "known; expected mm above 0. Write the right sizes into its header."
        )
    used = "its absolute values are taken" if is_used else "the sform is taken"
    return Doubt(
        "pixdim",
        f"pixdim is {shown}; {used}",
        "sizes above 0",
        "Write the right sizes into the header's pixdim.",
        is_warning=not is_used,
    )


def _sform_doubts(header: Any, axes: NDArray[np.bool_], *, by_qform: bool) -> list[Doubt]:
    sform = header.get_sform()
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    if not np.isfinite(sform).all() or (lengths < 1e-9).any():
        return []  # the affine is refused by itself
    sizes = np.abs(np.array(header["pixdim"][1:4], dtype=np.float64))
    found = []
    if (np.abs(lengths - sizes) > SIZE_TOLERANCE * lengths)[axes].any():
        found.append(
            Doubt(
                "spacing disagrees",
                f"the sform says a spacing of {_vector(lengths)}, pixdim says {_vector(sizes)}; "
                "the sform is taken",
                "the same spacing in both",
                REPAIR,
            )
        )
    if by_qform:
        found += _qform_doubts(header, sform, lengths, axes)
    return found


def _qform_doubts(
    header: Any, sform: NDArray[np.float64], lengths: NDArray[np.float64], axes: NDArray[np.bool_]
) -> list[Doubt]:
    try:
        qform = header.get_qform()
    except (ValueError, HeaderDataError) as error:
        return [
            Doubt(
                "qform",
                f"the qform is no rotation ({error}); the sform is taken",
                "a rotation",
                "Write the qform again, or set its code to 0.",
                is_warning=True,
            )
        ]
    width = np.linalg.norm(qform[:3, :3], axis=0)
    if not np.isfinite(qform).all() or (width < 1e-9).any():
        return []  # its sizes are told already
    codes = ["".join(nib.aff2axcodes(affine)) for affine in (sform, qform)]
    if codes[0] != codes[1]:
        return [
            Doubt(
                "orientation disagrees",
                f"the sform says {codes[0]}, the qform says {codes[1]}; the sform is taken",
                "the same orientation in both",
                REPAIR,
            )
        ]
    if int(header["sform_code"]) != int(header["qform_code"]):
        return []  # two spaces, as of the scanner and of a template
    turn = np.linalg.norm(sform[:3, :3] / lengths - qform[:3, :3] / width, axis=0)[axes]
    shift = np.linalg.norm(sform[:3, 3] - qform[:3, 3])
    if not (turn > ANGLE_TOLERANCE).any() and shift <= lengths.min():
        return []
    angle = np.degrees(turn.max()) if turn.size else 0.0
    return [
        Doubt(
            "place disagrees",
            f"sform and qform lie {angle:.1f} degrees and {shift:.4g} mm apart (origins "
            f"{_vector(sform[:3, 3])} and {_vector(qform[:3, 3])}); the sform is taken",
            "the same place in both",
            REPAIR,
            is_warning=True,
        )
    ]


def _no_form(sizes: NDArray[np.float64]) -> Doubt:
    return Doubt(
        "no orientation",
        f"sform_code and qform_code are 0, so no orientation is stored; pixdim {_vector(sizes)} is "
        "taken as the spacing, and the first axis as right to left",
        "one of the codes above 0",
        "Convert it again from the original, or check that left and right are what they should be.",
        is_warning=True,
    )


def _unit_doubts(header: Any) -> list[Doubt]:
    unit = int(header["xyzt_units"]) & SPATIAL_BITS
    if unit in (0, 2):
        return []
    if unit in UNIT_NAMES:
        return [
            Doubt(
                "unit",
                f"its unit is {UNIT_NAMES[unit]}; lengths are multiplied by {MM_PER_UNIT[unit]:g}",
                "mm",
                "Right if the header tells the truth; other programs ignore this field.",
                is_warning=True,
            )
        ]
    return [
        Doubt(
            "unit",
            f"the code {unit} of its unit means nothing; lengths are taken as mm",
            "1 (meters), 2 (mm) or 3 (microns)",
            "Set xyzt_units in its header.",
            is_warning=True,
        )
    ]


def _time(header: Any) -> list[Doubt]:
    dims = [int(size) for size in header["dim"]]
    has_unit = int(header["xyzt_units"]) & TEMPORAL_BITS
    if dims[0] != 4 or dims[4] < 2 or not has_unit:
        return []
    return [
        Doubt(
            "time axis",
            f"its fourth axis is time, by its unit; its {dims[4]} points are read as channels",
            "one point in time, or channels",
            "Right if they are channels (nibabel and others note seconds anyway); otherwise take "
            "one volume out of the series.",
            is_warning=True,
        )
    ]


def _vector(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:g}" for value in values)
