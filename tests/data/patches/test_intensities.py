"""Changes of intensities: each beside its formula in float64, and as often as nnU-Net's."""

import numpy as np
import pytest
import scipy.stats
from binomial import is_near

from llmseg_cli.data.patches import intensities
from llmseg_cli.data.patches.intensities import (
    NNUNET,
    Change,
    blur,
    change_contrast,
    change_gamma,
    change_intensities,
    draw_factor,
    lower_resolution,
)

SHAPE = (11, 8, 9)
ONE_MM = (1.0, 1.0, 1.0)
OF_NNUNET = {  # probability of a patch times that of a channel
    "draw_noise": 0.1,
    "draw_blur": 0.2 * 0.5,
    "draw_brightness": 0.15,
    "draw_contrast": 0.15,
    "draw_low_resolution": 0.25 * 0.5,
    "draw_inverted_gamma": 0.1,
    "draw_gamma": 0.3,
}


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(channels: int = 1, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return random(99).standard_normal((channels, *shape)).astype(np.float32)


def along(axis: int, matrix: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Multiply a matrix along an axis."""
    return np.moveaxis(np.tensordot(matrix, array, (1, axis)), 0, axis)


def blurring(side: int, deviation: float) -> np.ndarray:
    """A Gaussian cut at four deviations, mirrored at the border, as a matrix."""
    matrix, radius = np.zeros((side, side)), int(4 * deviation + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / deviation) ** 2)
    for row in range(side):
        for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
            place = (row + offset) % (2 * side)
            matrix[row, min(place, 2 * side - 1 - place)] += weight
    return matrix


def coarsening(side: int, few: int) -> np.ndarray:
    """Keep the nearest of *few* places and interpolate linearly between them, as a matrix."""
    kept = [int((place + 0.5) * side / few) for place in range(few)]
    centers = (np.arange(few) + 0.5) * side / few - 0.5
    matrix = np.zeros((side, side))
    for number, place in enumerate(kept):
        matrix[:, place] += np.interp(np.arange(side), centers, np.eye(few)[number])
    return matrix


@pytest.mark.parametrize("deviations", [(0.5, 0.5, 0.5), (1.0, 0.6, 0.8)])
def test_blur_is_a_sum_of_neighbors(deviations):
    channel = noise()[0]
    expected = channel.astype(float)
    for axis, deviation in enumerate(deviations):
        expected = along(axis, blurring(SHAPE[axis], deviation), expected)
    np.testing.assert_allclose(blur(channel, deviations), expected, atol=1e-5)


def test_a_slice_is_blurred_in_itself():
    channel = noise(shape=(9, 7, 1))[0]
    expected = along(0, blurring(9, 0.7), along(1, blurring(7, 0.9), channel.astype(float)))
    np.testing.assert_allclose(blur(channel, (0.7, 0.9, 0.8)), expected, atol=1e-5)


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (0.7, 0.9, 0.6), (0.3, 1, 1)])
def test_low_resolution_is_the_nearest_of_few_and_linear_between(shares):
    channel = noise()[0]
    expected = channel.astype(float)
    for axis, share in enumerate(shares):
        expected = along(axis, coarsening(SHAPE[axis], round(SHAPE[axis] * share)), expected)
    found = lower_resolution(channel, shares)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("factor", [0.75, 1.25])
def test_contrast_spreads_about_the_mean_within_the_range(factor):
    channel = noise()[0]
    values = channel.astype(float)
    expected = [
        min(max(values.mean() + factor * (value - values.mean()), values.min()), values.max())
        for value in values.ravel()
    ]
    np.testing.assert_allclose(change_contrast(channel, factor).ravel(), expected, atol=1e-6)


@pytest.mark.parametrize("power", [0.7, 1.5])
def test_gamma_is_a_power_with_the_old_mean_and_deviation(power):
    channel = 30 * noise()[0] + 7
    values = channel.astype(float)
    raised = ((values - values.min()) / (values.max() - values.min())) ** power
    expected = (raised - raised.mean()) / raised.std() * values.std() + values.mean()
    found = change_gamma(channel, power)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    assert (np.diff(found.ravel()[np.argsort(channel.ravel())]) >= 0).all()


def test_inverted_gamma_is_gamma_of_the_negative():
    """It spreads the bright where gamma spreads the dark."""
    image = noise()
    for seed in range(4):
        found = intensities.draw_inverted_gamma(image, random(seed), ONE_MM)
        power = draw_factor(random(seed), 0.7, 1.5)
        turned = image.max() - image[0].astype(float)  # counted from the brightest
        raised = (turned / turned.max()) ** power
        expected = image.mean() - (raised - raised.mean()) / raised.std() * image.std()
        np.testing.assert_allclose(found[0], expected, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 3.5])
@pytest.mark.parametrize("change", NNUNET, ids=[one.draw.__name__ for one in NNUNET])
def test_one_intensity_stays_finite_and_one(change, value):
    """Of a patch without anything in it, which has no deviation and no range."""
    for seed in range(6):
        found = change.draw(np.full((2, *SHAPE), value, np.float32), random(seed), ONE_MM)
        assert np.isfinite(found).all()
        assert (np.ptp(found, axis=(1, 2, 3)) <= 1e-5).all()


def test_no_strength_is_no_change():
    channel = noise()[0]
    np.testing.assert_array_equal(blur(channel, (0, 0, 0)), channel)
    np.testing.assert_array_equal(lower_resolution(channel, (1, 1, 1)), channel)
    np.testing.assert_allclose(change_contrast(channel, 1), channel, atol=1e-6)
    np.testing.assert_allclose(change_gamma(channel, 1), channel, atol=1e-5)


def test_brightness_is_a_factor_of_each_channel():
    image, factors = noise(3), []
    for seed in range(60):
        found = intensities.draw_brightness(image, random(seed), ONE_MM)
        ratios = found / image
        factors.append(ratios[:, 0, 0, 0])
        np.testing.assert_allclose(ratios, factors[-1][:, None, None, None] + 0 * image, rtol=1e-5)
    assert np.min(factors) == pytest.approx(0.75, abs=0.02)
    assert np.max(factors) == pytest.approx(1.25, abs=0.02)
    assert (np.std(factors, axis=1) > 0).all()


def test_noise_is_gaussian_of_up_to_a_tenth_of_the_deviation():
    image, shares = 40 * noise(2, (16, 16, 16)), []
    for seed in range(200):
        added = intensities.draw_noise(image, random(seed), ONE_MM) - image
        shares.append(float(added.std() / image.std()))
        assert abs(scipy.stats.kurtosis(added, None)) < 0.35  # of 8192 values: 6 deviations
        assert abs(added.mean()) < 6 * added.std() / np.sqrt(added.size)
    assert scipy.stats.kstest(shares, "uniform", (0, 0.1)).pvalue > 1e-4


def test_factors_are_below_one_as_often_as_above():
    generator = random(0)
    factors = [draw_factor(generator, 0.7, 1.5) for _ in range(3000)]
    assert is_near(sum(factor < 1 for factor in factors), 3000, 0.5)
    below = [factor for factor in factors if factor < 1]
    above = [factor for factor in factors if factor >= 1]
    assert scipy.stats.kstest(below, "uniform", (0.7, 0.3)).pvalue > 1e-4
    assert scipy.stats.kstest(above, "uniform", (1, 0.5)).pvalue > 1e-4


def test_changes_are_nnunets_and_as_frequent():
    assert [change.draw.__name__ for change in NNUNET] == list(OF_NNUNET)
    image, draws = noise(shape=(6, 5, 4)), 2000
    for change in NNUNET:
        generator = random(7)
        changed = sum(
            not np.array_equal(change_intensities(image, (change,), generator, ONE_MM), image)
            for _ in range(draws)
        )
        name = change.draw.__name__
        # coarse by less than a tenth of six voxels is not coarse
        exact = name != "draw_low_resolution"
        assert is_near(changed, draws, OF_NNUNET[name]) if exact else changed > 0, name


def test_some_channels_are_made_coarse():
    image, draws = noise(3, (40, 5, 20)), 600  # a share of 0.99 leaves out a voxel of 40
    change = next(one for one in NNUNET if one.draw.__name__ == "draw_low_resolution")
    generator, counts = random(3), np.zeros(3, int)
    for _ in range(draws):
        found = change_intensities(image, (change,), generator, ONE_MM)
        counts += (found != image).any((1, 2, 3))
    # share of at least 0.9875 is none: 39.5 voxels are rounded to 40
    assert all(is_near(count, draws, 0.25 * 0.5 * 0.975) for count in counts)


def test_a_thin_stack_is_made_coarse_in_its_slices():
    image = np.broadcast_to(np.arange(6, dtype=np.float32), (1, 12, 12, 6)).copy()
    for seed in range(10):
        found = intensities.draw_low_resolution(image, random(seed), ONE_MM)
        np.testing.assert_allclose(found, image, atol=1e-5)


def test_intensities_of_zero_to_one_stay_there():
    image = random(5).random((3, *SHAPE), dtype=np.float32)
    always = [Change(1, change.draw) for change in NNUNET]
    for seed in range(20):
        found = change_intensities(image, always, random(seed), ONE_MM)
        assert found.min() >= 0
        assert found.max() <= 1
    assert change_intensities(noise(), always, random(0), ONE_MM).min() < 0
