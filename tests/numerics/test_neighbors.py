"""Against numpy's padding with the edge."""

import numpy as np
import pytest

from llmseg_cli.numerics.neighbors import neighbors


@pytest.mark.parametrize("slices", [1, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_edge_slices_repeat(slices, size):
    padded = np.pad(np.arange(size), slices // 2, mode="edge")
    for place in range(size):
        expected = padded[place : place + slices].tolist()
        assert neighbors(place, slices=slices, size=size) == expected
