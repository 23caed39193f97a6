"""What an image encoder sees, against pixels normalized as it was trained."""

import numpy as np
import pytest

from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.parts.pixels import Pixels, pixels_seen

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
PICTURE = np.random.default_rng(0).random((5, 3))  # of three colors, in [0, 1]


def seen(normalized, **options):
    found = pixels_seen(**options)
    return (normalized - np.array(found.mean)) / np.array(found.deviation)


@pytest.mark.parametrize("normalize", ["minmax", "window:0:255"])
def test_a_range_of_one_is_normalized_as_imagenet(normalize):
    found = seen(PICTURE, normalize=normalize)
    np.testing.assert_allclose(found, (PICTURE - MEAN) / DEVIATION)


@pytest.mark.parametrize("normalize", ["zscore", "zscore-nonzero"])
def test_mean_0_and_deviation_1_are_left_alone(normalize):
    assert pixels_seen(normalize) == Pixels(upright=True)


def test_of_other_pixels_the_mean_and_deviation_of_imagenet_are_assumed():
    zscored = (PICTURE - MEAN) / DEVIATION
    found = seen(zscored, normalize="zscore", mean=(0.5,) * 3, deviation=(0.5,) * 3)
    np.testing.assert_allclose(found, 2 * PICTURE - 1, atol=1e-12)


def test_an_unknown_range_is_refused():
    with pytest.raises(UsageError, match=r"--normalize none.*window:0:255"):
        pixels_seen("none")
