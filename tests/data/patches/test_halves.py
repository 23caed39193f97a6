"""Half precision where it loses no more than noise, and a refusal where it would."""

import numpy as np
import pytest

from llmseg_cli.data.patches.halves import OF_DEVIATION, OF_DISTANCE, as_half
from llmseg_cli.errors import DataError

NOISE = np.random.default_rng(0).standard_normal((1, 12, 11, 10)).astype(np.float32)


@pytest.mark.parametrize("image", [NOISE, NOISE * 400 - 300, NOISE.clip(0, 1), 0 * NOISE + 7])
def test_no_voxel_moves_farther_than_is_promised(image):
    half = as_half(image)
    assert half.dtype == np.float16
    moved = np.abs(half.astype(np.float64) - image)
    allowed = np.maximum(OF_DEVIATION * image.std(), OF_DISTANCE * np.abs(image - image.mean()))
    assert (moved <= allowed).all()


def test_an_outlier_of_a_normalized_scan_is_kept():
    image = NOISE.copy()
    image[0, 3, 4, 5] = 9001.3
    assert as_half(image)[0, 3, 4, 5] == np.float16(9001.3)


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (NOISE * 10 + 30_000, "turn 30"),
        (NOISE * 1e5, "into (-inf|inf)"),
        (NOISE * 1e-9, r"cache-format float16 would turn .*e-09 into (-?0|-?5.96e-08)"),
    ],
    ids=["far from 0", "too large", "too small"],
)
def test_what_would_be_lost_is_refused_with_the_value(image, named):
    with pytest.raises(DataError, match=named) as caught:
        as_half(image)
    assert "--cache-format blocks" in str(caught.value)


def test_a_channel_is_judged_by_itself():
    with pytest.raises(DataError):
        as_half(np.concatenate([NOISE * 1000, NOISE + 4000]))
