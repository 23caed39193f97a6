"""Against torch's own interpolation, and by the laws of linear resampling."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from llmseg_cli.numerics.resampling import axis_weights, resample

SHAPE = (5, 7, 4)  # X, Y, Z


def random_array(seed: int, shape: tuple[int, ...] = (2, *SHAPE)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_growing_equals_trilinear_interpolation():
    array, shape = random_array(0), (11, 7, 9)
    expected = F.interpolate(
        torch.from_numpy(array)[None], size=shape, mode="trilinear", align_corners=False
    )[0]
    np.testing.assert_allclose(resample(array, shape), expected.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(12, 5), (3, 4), (7, 20), (6, 6)])
def test_shrinking_equals_antialiased_interpolation(shape):
    array = random_array(1, (1, 12, 10, 1))
    expected = F.interpolate(
        torch.from_numpy(array[None, ..., 0]),
        size=shape,
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    found = resample(array, (*shape, 1))
    np.testing.assert_allclose(found[..., 0], expected[0].numpy(), rtol=0, atol=1e-6)


def test_halving_weighs_four_voxels():
    inside = axis_weights(8, 4)[1]  # its center lies between voxels 2 and 3
    np.testing.assert_allclose(inside, [0, 0.125, 0.375, 0.375, 0.125, 0, 0, 0], atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_constants_stay(size, new_size):
    np.testing.assert_allclose(axis_weights(size, new_size).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "new_size"), [(5, 5), (5, 8), (5, 10), (7, 23), (12, 6), (12, 4), (20, 5)]
)
def test_a_ramp_keeps_its_position(size, new_size):
    """A value that says where its voxel is, as a share of the extent, says so afterwards, too."""
    place = ((np.arange(size) + 0.5) / size).astype(np.float32)
    expected = (np.arange(new_size) + 0.5) / new_size
    found = axis_weights(size, new_size) @ place
    reach = max(1 / size, 1 / new_size)  # the border sees one side only
    inside = (expected >= reach) & (expected <= 1 - reach)
    assert inside.any()
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)


def test_axes_are_resampled_one_by_one():
    array = random_array(2)
    at_once = resample(array, (9, 3, 6))
    in_turn = resample(resample(resample(array, (9, 7, 4)), (9, 3, 4)), (9, 3, 6))
    np.testing.assert_allclose(at_once, in_turn, atol=1e-6)


def test_mirroring_commutes():
    array = random_array(3)
    np.testing.assert_allclose(
        resample(array[:, ::-1], (8, 4, 4))[:, ::-1], resample(array, (8, 4, 4)), atol=1e-6
    )


def test_the_same_shape_is_the_same_array():
    array = random_array(4)
    assert np.shares_memory(resample(array, SHAPE), array)


def test_result_is_contiguous_float32():
    found = resample(random_array(5).astype(np.float64), (9, 3, 6))
    assert found.dtype == np.float32
    assert found.flags["C_CONTIGUOUS"]


def test_cached_weights_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        axis_weights(4, 8)[0] = 1


@pytest.mark.parametrize("view", [(slice(None, None, -1),) * 3, (0, slice(None), slice(None))])
def test_views_of_other_arrays_are_resampled_as_their_copies(view):
    whole = np.random.default_rng(0).random((1, 6, 1, 1), dtype=np.float32)
    array = whole[view].reshape(1, 6, 1) if isinstance(view[0], int) else whole[0][view]
    array.setflags(write=False)
    expected = resample(array.copy(), (4, 12, 3))
    np.testing.assert_array_equal(resample(array, (4, 12, 3)), expected)
