"""Shares of voxels that windows have: laws, and the blend that they are of."""

import numpy as np
import pytest
import torch

from llmseg_cli.inference.shares import Shares
from llmseg_cli.inference.sliding_window import side_weights, sliding_window
from llmseg_cli.inference.windows import Windows

SHAPES = {
    "several along each side": (Windows((23, 19, 17), (8, 6, 10)), 3),
    "one that hangs over": (Windows((5, 9, 4), (8, 8, 8)), 3),
    "slices": (Windows((13, 9, 4), (8, 6), 0.25), 2),
    "constant": (Windows((13, 9, 7), (8, 6, 4), blend="constant"), 3),
}


def summed(windows: Windows, begin: int = 0) -> np.ndarray:
    """What the shares of all windows sum to, `(X, Y, Z)`."""
    total, shares = np.zeros(windows.shape), Shares(windows, begin=begin)
    extent, before = windows.extent, [pair[0] for pair in windows.padding]
    for corner in windows.corners:
        own = shares.at([corner])[0].reshape(windows.sides).numpy()
        inside = tuple(slice(b, b + size) for b, size in zip(before, extent, strict=True))
        place = tuple(slice(c, c + size) for c, size in zip(corner, extent, strict=True))
        total[place] += own[inside]
        assert own.sum() == pytest.approx(own[inside].sum())  # none beyond the volume
    return total


@pytest.mark.parametrize("kind", SHAPES)
def test_they_sum_to_one_in_every_voxel(kind):
    windows, _ = SHAPES[kind]
    np.testing.assert_allclose(summed(windows), 1, rtol=1e-5)


def test_parts_of_a_volume_count_each_row_once():
    whole = Windows((16, 20, 9), (8, 8, 8))
    first = Windows((16, 20, 9), (8, 8, 8), band=(0, 12))
    second = Windows((16, 20, 9), (8, 8, 8), band=(10, 20))  # both draw on rows 10 and 11
    np.testing.assert_allclose(summed(first) + summed(second, begin=12), 1, rtol=1e-5)
    np.testing.assert_allclose(summed(whole), 1, rtol=1e-5)


@pytest.mark.parametrize("blend", ["constant", "gaussian"])
def test_they_are_those_of_the_blend(blend):
    """A network that answers 1 in one window alone: what the stitched volume has of it."""
    windows = Windows((20, 18, 9), (8, 8, 8), blend=blend)
    chosen = windows.corners[4]

    def at(corners):
        return lambda batch: torch.full_like(batch, float(corners[0] == chosen))

    def never(batch):
        raise AssertionError

    image = torch.zeros(1, *windows.shape)
    parts = [slab.clone() for _, slab in sliding_window(image, never, windows, batch=1, at=at)]
    place = tuple(slice(start, start + 8) for start in chosen)
    stitched, expected = torch.cat(parts, dim=1)[0][place], Shares(windows).at([chosen])[0]
    x, y, z = side_weights(windows)
    near = x[:, None, None] * y[:, None] * z > 0.2  # far from it, small weights are raised
    assert near.sum() > 20
    torch.testing.assert_close(stitched[near], expected[near], atol=1e-6, rtol=0.05)
