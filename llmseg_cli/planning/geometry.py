"""2D or 3D, spacing and patch, from the sizes of the scans.

The questions, and most answers, are those of nnU-Net (Isensee et al., Nature Methods 2021): the
median scan at the median spacing, a patch of its proportions, and a coarser grid where the patch
would see too little of it. What differs is said at each rule.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from llmseg_cli.planning.fingerprint import Choice, Sizes

STRIDE = 16  # voxels of the image per voxel of the bottleneck of the networks with four halvings
ENCODER_STRIDE = 32  # of those with an encoder of pictures, which halves five times
EVEN = 0.05  # of two spacings that count as the same
FINER = 2 ** (1 / 4)  # an axis that is finer than this times the coarsest is coarsened first
FEWEST_ACROSS = 8.0  # voxels across the smallest class that a coarser grid leaves


@dataclass(frozen=True)
class Geometry:
    """Settings of training that say what a network sees, with their reasons.

    Args:
        patch: X, Y, Z in voxels; two numbers in 2D.
        spacing: One or three numbers; 0 keeps each scan's own.
        shape: Median scan at that spacing.
    """

    patch: Choice
    spacing: Choice
    shape: tuple[int, int, int]

    @property
    def sides(self) -> tuple[int, ...]:
        """The patch as two or three numbers."""
        assert isinstance(self.patch.value, tuple)
        return self.patch.value

    @property
    def millimeters(self) -> tuple[float, ...]:
        """The spacing as one or three numbers."""
        assert isinstance(self.spacing.value, tuple)
        return self.spacing.value


def median_sizes(
    shapes: Sequence[Sequence[int]], spacings: Sequence[Sequence[float]], unit: str
) -> Sizes:
    """Medians over scans.

    Args:
        shapes: Voxels along X, Y, Z of each scan, at least one scan.
        spacings: Distance of voxels along X, Y, Z of each.
        unit: Of the spacings.
    """
    x, y, z = (round(median(axis)) for axis in zip(*shapes, strict=True))
    across, down, through = (float(median(axis)) for axis in zip(*spacings, strict=True))
    middle = (across, down, through)
    is_even = all(
        abs(have - want) <= EVEN * want
        for spacing in spacings
        for have, want in zip(spacing, middle, strict=True)
    )
    return Sizes(len(shapes), (x, y, z), middle, is_even, unit)


def choose_geometry(
    sizes: Sizes,
    voxels: dict[int, int],
    extents: Iterable[Sequence[float]] = (),
    *,
    covered: Mapping[int, float],
    given: tuple[float, ...] = (),
    flat_stride: int = STRIDE,
) -> Geometry:
    """Choose patch and spacing.

    Args:
        sizes: Of the scans.
        voxels: The most voxels of a patch, in 2 and in 3 dimensions.
        extents: Sides of each class's box, in units of the spacing; a coarser grid leaves eight
            voxels across the smallest, as far as there are so many.
        covered: Share of the median scan that a patch should see, in 2 and in 3 dimensions.
        given: The spacing, if it is given: one or three numbers, of which 0 is the scans' own.
        flat_stride: What the sides are multiples of in 2D.
    """
    dimensions, why = _dimensions(sizes)
    stride = flat_stride if dimensions == 2 else STRIDE
    if given:
        x, y, z = (
            float(want or have)
            for want, have in zip(
                given if len(given) == 3 else given * 3, sizes.spacing, strict=True
            )
        )
        spacing, coarsened = (x, y, z), True
    else:
        spacing, coarsened = _spacing(
            sizes, dimensions, voxels[dimensions], list(extents), covered[dimensions]
        )
    shape = _shape(sizes, spacing)
    sides = _patch(shape[:dimensions], voxels[dimensions], stride)
    share = min(1.0, math.prod(sides) / math.prod(shape[:dimensions]))
    grid = "at that spacing " * coarsened
    looked = f"{_cross(shape[:dimensions])} {grid}(median of {sizes.cases})"
    kind = "picture" if sizes.shape[2] == 1 else "slice" if dimensions == 2 else "scan"
    patch = Choice(
        sides,
        f"{why}; the {kind} has {looked}, of which this sees {share:.0%}; sides are multiples of "
        f"{stride}",
    )
    if given:
        return Geometry(patch, Choice(tuple(given), "as it was given"), shape)
    return Geometry(patch, _told(sizes, spacing, coarsened, dimensions, covered[dimensions]), shape)


def _dimensions(sizes: Sizes) -> tuple[int, str]:
    """2 for pictures and stacks too thin for a 3D network; nnU-Net would halve thin axes less."""
    slices = sizes.shape[2]
    if slices == 1:
        return 2, "pictures, in 2D"
    if slices < STRIDE:
        return 2, f"slice by slice, in 2D: {slices} slices are fewer than the {STRIDE} of 3D"
    return 3, "in 3D"


def _spacing(
    sizes: Sizes,
    dimensions: int,
    voxels: int,
    extents: Sequence[Sequence[float]],
    covered: float,
) -> tuple[tuple[float, float, float], bool]:
    """The median spacing, coarsened until a patch sees its share; whether it was."""
    spacing = list(sizes.spacing)
    axes = range(dimensions)
    smallest = [min((box[axis] for box in extents), default=math.inf) for axis in axes]

    def may_grow(axis: int) -> bool:
        return smallest[axis] / (spacing[axis] * FINER) >= FEWEST_ACROSS

    def seen() -> float:
        return voxels / math.prod(_shape(sizes, spacing)[:dimensions])

    while seen() < covered:
        growing = [axis for axis in axes if may_grow(axis)]
        if not growing:
            break
        finest = min(spacing[axis] for axis in growing)
        for axis in growing:
            if spacing[axis] <= finest * FINER:
                spacing[axis] *= FINER ** (1 / 4)
    coarsened = spacing != list(sizes.spacing)
    x, y, z = (float(f"{mm:.3g}") for mm in spacing)
    return (x, y, z), coarsened


def _told(
    sizes: Sizes,
    spacing: tuple[float, float, float],
    coarsened: bool,
    dimensions: int,
    covered: float,
) -> Choice:
    own = " x ".join(f"{mm:.3g}" for mm in sizes.spacing[: 2 if sizes.shape[2] == 1 else 3])
    found = f"{own} {sizes.unit}{'' if sizes.is_even else ', the median'}"
    if not coarsened and (sizes.is_even or sizes.unit != "mm"):
        return Choice((0.0,), f"each scan's own: {found}")
    wanted = (*spacing[:dimensions], 0.0) if dimensions == 2 else spacing
    value: tuple[float, ...] = wanted
    if len(set(wanted)) == 1:
        value = wanted[:1]
    if coarsened:
        return Choice(value, f"{found} is coarsened until a patch sees {covered:.0%} of a scan")
    return Choice(value, f"spacings differ; {found}")


def _shape(sizes: Sizes, spacing: Sequence[float]) -> tuple[int, int, int]:
    x, y, z = (
        max(1, round(size * have / want)) if size > 1 else 1
        for size, have, want in zip(sizes.shape, sizes.spacing, spacing, strict=True)
    )
    return (x, y, z)


def _patch(shape: Sequence[int], voxels: int, stride: int) -> tuple[int, ...]:
    """Sides near those of the scan, the relatively longest shortened until there are few enough."""
    sides = [max(stride, stride * round(size / stride)) for size in shape]
    while math.prod(sides) > voxels:
        longest = max(
            (axis for axis in range(len(sides)) if sides[axis] > stride),
            key=lambda axis: (sides[axis] / shape[axis], sides[axis]),
            default=None,
        )
        if longest is None:
            break
        sides[longest] -= stride
    return tuple(sides)


def _cross(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides))
