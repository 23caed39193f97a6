"""Patch and spacing: known data sets, and laws that hold for any."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from llmseg_cli.planning import geometry as module
from llmseg_cli.planning.fingerprint import Power, Sizes
from llmseg_cli.planning.geometry import Geometry, median_sizes

CPU = {2: 256 * 256, 3: 64 * 64 * 32}
ONE = (1.0, 1.0, 1.0)
OWN = (0.0,)
QUARTER = Power(2, 10**10, "GPU", 10**9).covered

choose_geometry = partial(module.choose_geometry, covered=QUARTER)


def sizes(shape, spacing=ONE, *, unit: str = "mm", is_even: bool = True) -> Sizes:
    return Sizes(10, shape, spacing, is_even, unit)


def any_sizes(seed: int) -> Iterator[Sizes]:
    random = np.random.default_rng(seed)
    for _ in range(100):
        x, y, z = random.integers(1, 400, 3).tolist()
        x, y = max(x, 8), max(y, 8)
        mm = tuple(round(float(side), 2) for side in random.uniform(0.3, 4, 3))
        yield sizes((x, y, z), mm)


def grid(found: Sizes, geometry: Geometry) -> tuple[float, ...]:
    """Distance of voxels along X, Y, Z that the network sees."""
    wanted = geometry.millimeters if len(geometry.millimeters) == 3 else geometry.millimeters * 3
    return tuple(want or have for want, have in zip(wanted, found.spacing, strict=True))


@pytest.mark.parametrize(
    ("found", "patch"),
    [
        (sizes((36, 50, 35)), (32, 48, 32)),  # hippocampus
        (sizes((256, 256, 1), unit="px"), (256, 256)),  # polyps
        (sizes((232, 256, 9), unit="voxel"), (224, 256)),  # ACDC: nine slices, no spacing
        (sizes((100, 100, 15)), (96, 96)),  # too thin for a network in 3D
        (sizes((48, 48, 16)), (48, 48, 16)),
        (sizes((5, 9, 20)), (16, 16, 16)),  # there is no smaller patch
        (sizes((33, 77, 1), unit="px"), (32, 80)),
    ],
)
def test_what_fits_keeps_its_spacing(found, patch):
    geometry = choose_geometry(found, CPU)
    assert geometry.sides == patch
    assert geometry.millimeters == OWN
    assert geometry.shape == found.shape


def test_left_atrium_on_a_cpu():
    found = sizes((216, 160, 88), (0.625, 0.625, 0.625))
    geometry = choose_geometry(found, CPU)
    (mm,) = geometry.millimeters
    # A quarter of the scan is as large as the patch may be, at the spacing where it fits.
    exact = 0.625 * (216 * 160 * 88 / (4 * CPU[3])) ** (1 / 3)
    assert exact <= mm < 1.06 * exact  # by steps of a sixteenth of an octave
    assert geometry.shape == tuple(round(side * 0.625 / mm) for side in found.shape)
    assert "coarsened until a patch sees 25% of a scan" in geometry.spacing.reason
    assert f"{math.prod(geometry.sides) / math.prod(geometry.shape):.0%}" in geometry.patch.reason


def test_a_cpu_sees_three_quarters_of_a_scan():
    found = sizes((216, 160, 88), (0.625, 0.625, 0.625))
    geometry = choose_geometry(found, CPU, covered=Power(2, 10**10).covered)
    (mm,) = geometry.millimeters
    exact = 0.625 * (216 * 160 * 88 / (CPU[3] / 0.75)) ** (1 / 3)
    assert exact <= mm < 1.06 * exact
    assert "coarsened until a patch sees 75% of a scan" in geometry.spacing.reason


def test_large_pictures_are_coarsened_along_both_axes_and_slices_keep_their_distance():
    geometry = choose_geometry(sizes((2000, 1500, 1), unit="px"), CPU)
    x, y, z = geometry.millimeters
    assert x == y == pytest.approx(math.sqrt(2000 * 1500 / (2 * CPU[2])), rel=0.06)
    assert z == 0
    assert geometry.sides == (288, 224)


def test_the_finer_axes_are_coarsened_first():
    found = sizes((512, 512, 130), (0.7, 0.7, 2.5))
    x, y, z = choose_geometry(found, {2: CPU[2], 3: 16 * CPU[3]}).millimeters
    assert x == y == pytest.approx(0.7 * math.sqrt(512 * 512 * 130 / (64 * CPU[3])), rel=0.05)
    assert z == 2.5


@pytest.mark.parametrize("seed", range(5))
def test_laws_of_a_patch(seed):
    for found in any_sizes(seed):
        geometry = choose_geometry(found, CPU)
        dimensions = len(geometry.sides)
        shape = geometry.shape[:dimensions]
        assert dimensions == (3 if found.shape[2] >= 16 else 2)
        assert all(side % 16 == 0 and side > 0 for side in geometry.sides)
        assert math.prod(geometry.sides) <= CPU[dimensions]
        assert all(
            side <= max(16, size + 8) for side, size in zip(geometry.sides, shape, strict=True)
        )
        # Near the proportions: with 16 voxels more, an axis that is seen in part would be seen as
        # far as any other.
        pairs = list(zip(geometry.sides, shape, strict=True))
        farthest = max((side / size for side, size in pairs if side > 16), default=0.0)
        assert all((side + 16) / size >= farthest - 1e-9 for side, size in pairs if side < size - 8)


@pytest.mark.parametrize("seed", range(5))
def test_a_coarser_grid_sees_its_share_and_no_more(seed):
    for found in any_sizes(seed):
        geometry = choose_geometry(found, CPU)
        dimensions = len(geometry.sides)
        seen = CPU[dimensions] / math.prod(geometry.shape[:dimensions])
        if geometry.millimeters == OWN:
            assert seen >= (0.25 if dimensions == 3 else 0.5)
        else:
            assert seen == pytest.approx(0.25 if dimensions == 3 else 0.5, rel=0.25)


@pytest.mark.parametrize("seed", range(5))
def test_more_memory_never_coarsens_or_sees_less(seed):
    for found in any_sizes(seed):
        kept, coarse = [], []
        for memory in (4, 8, 16, 40, 80):
            power = Power(2, 10**10, "GPU", memory * 10**9)
            voxels = {dimensions: power.patch_voxels(dimensions) for dimensions in (2, 3)}
            kept.append(math.prod(choose_geometry(found, voxels, given=OWN).sides))
            coarse.append(grid(found, choose_geometry(found, voxels)))
        assert kept == sorted(kept)
        for more, less in zip(coarse[1:], coarse, strict=False):
            assert all(fine <= rough for fine, rough in zip(more, less, strict=True))


@pytest.mark.parametrize("side_mm", [6.0, 12.0, 20.0, 60.0])
def test_a_coarser_grid_leaves_eight_voxels_across_the_smallest_class(side_mm):
    found = sizes((300, 300, 200), (0.8, 0.8, 0.8))
    large, small = (100.0, 90.0, 80.0), (side_mm, side_mm + 2, side_mm + 4)
    geometry = choose_geometry(found, CPU, [large, small])
    plain = choose_geometry(found, CPU)
    for mm, side, free in zip(grid(found, geometry), small, grid(found, plain), strict=True):
        assert mm == 0.8 or side / mm >= 8 * 0.99  # spacings have three digits
        assert mm <= free * 1.0001
    if side_mm == 6.0:
        assert geometry.millimeters[0] in (0.0, 0.8)


def test_a_spacing_that_is_given_stays_and_the_patch_follows():
    found = sizes((200, 100, 60), (0.5, 0.5, 1.0))
    geometry = choose_geometry(found, CPU, given=(2.0,))
    assert geometry.millimeters == (2.0,)
    assert geometry.shape == (50, 25, 30)
    assert geometry.sides == (48, 32, 32)
    assert "at that spacing" in geometry.patch.reason
    partly = choose_geometry(found, CPU, given=(1.0, 1.0, 0.0))
    assert partly.shape == (100, 50, 60)
    assert choose_geometry(found, CPU, given=OWN).shape == found.shape


def test_a_given_spacing_leaves_slices_as_they_are():
    assert choose_geometry(sizes((64, 64, 1), unit="px"), CPU, given=(2.0,)).sides == (32, 32)


@pytest.mark.parametrize(
    ("spacings", "unit", "wanted", "is_even"),
    [
        ([(1.0, 1.0, 2.0)] * 3, "mm", OWN, True),
        ([(1.0, 1.0, 2.0), (1.04, 1.0, 2.0), (1.0, 0.97, 2.0)], "mm", OWN, True),
        ([(1.0, 1.0, 2.0), (0.9, 1.0, 2.0), (1.0, 1.0, 3.0)], "mm", (1.0, 1.0, 2.0), False),
        ([(1.0, 1.0, 1.0), (1.2, 1.2, 1.2), (0.8, 0.8, 0.8)], "mm", (1.0,), False),
        ([(1.0, 1.0, 1.0), (1.2, 1.2, 1.2), (0.8, 0.8, 0.8)], "px", OWN, False),
    ],
)
def test_spacings_that_differ_become_their_median(spacings, unit, wanted, is_even):
    found = median_sizes([(40, 40, 40)] * len(spacings), spacings, unit)
    assert found.is_even == is_even
    assert choose_geometry(found, CPU).millimeters == wanted


def test_medians_of_pictures_of_very_different_sizes():
    shapes = [(33, 77, 1), (640, 480, 1), (100, 100, 1), (60, 40, 1), (300, 200, 1)]
    found = median_sizes(shapes, [ONE] * 5, "px")
    assert found == Sizes(5, (100, 100, 1), ONE, True, "px")
    geometry = choose_geometry(found, CPU)
    assert geometry.sides == (96, 96)
    assert geometry.patch.reason.startswith("pictures, in 2D; the picture has 100 x 100")
    assert geometry.spacing.reason == "each scan's own: 1 x 1 px"
