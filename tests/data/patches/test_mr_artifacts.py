"""Artifacts of magnetic resonance, beside TorchIO, scipy and numpy's Fourier transform."""

import numpy as np
import pytest
import scipy.ndimage
import torch
import torchio
from binomial import is_near
from scipy.spatial.transform import Rotation

from llmseg_cli.data.patches import mr_artifacts
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS, augment
from llmseg_cli.data.patches.intensities import change_intensities
from llmseg_cli.data.patches.mr_artifacts import MR, bias_field, move

SHAPE = (18, 16, 21)
ONE_MM = (1.0, 1.0, 1.0)
HOW_OFTEN = {
    "draw_bias_field": 0.3,
    "draw_motion": 0.1,
    "draw_ghosts": 0.1,
    "draw_spike": 0.05,
    "draw_thick_slices": 0.1,
}
of_one_channel = pytest.mark.parametrize(
    "draw", [change.draw for change in MR[1:]], ids=[change.draw.__name__ for change in MR[1:]]
)


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def smooth(channels: int = 1, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    image = random(9).standard_normal((channels, *shape))
    return scipy.ndimage.gaussian_filter(image, (0, 1, 1, 1)).astype(np.float32)


@pytest.mark.parametrize("shape", [SHAPE, (7, 12, 5), (9, 8, 1)])
def test_bias_fields_are_torchios(shape):
    coefficients = random(1).uniform(-0.5, 0.5, 20)
    expected = torchio.BiasField.generate_bias_field(torch.zeros(1, *shape), 3, coefficients)
    np.testing.assert_allclose(bias_field(shape, coefficients), expected, rtol=1e-5)


def test_a_bias_field_multiplies_what_is_above_the_least():
    image, fields = smooth(2), []
    for seed in range(5):
        found = mr_artifacts.draw_bias_field(image, random(seed), ONE_MM)
        low = image.min((1, 2, 3), keepdims=True)
        bright = image - low > 0.1
        ratios = np.where(bright, (found - low) / np.where(bright, image - low, 1), np.nan)
        np.testing.assert_allclose(ratios[0][bright.all(0)], ratios[1][bright.all(0)], rtol=1e-4)
        np.testing.assert_allclose(found[image == low.max()], image[image == low.max()], atol=1e-6)
        fields.append(float(np.nanmean(ratios)))
    assert np.std(fields) > 0.05


@pytest.mark.parametrize("phase", range(3))
@pytest.mark.parametrize("spacing_mm", [ONE_MM, (0.8, 1.5, 2.0)])
def test_motion_fills_k_space_with_scans_of_other_places(phase, spacing_mm):
    """As scipy moves the scan about its center, and numpy transforms it."""
    channel = np.zeros(SHAPE, np.float32)  # empty about the border, which scans end at differently
    channel[5:-5, 5:-5, 5:-5] = np.abs(smooth()[0])[5:-5, 5:-5, 5:-5]
    degrees = np.array([[3.0, -4.0, 2.0], [-5.0, 1.0, 4.0]])
    shifts_mm = np.array([[1.0, 2.0, -1.5], [-2.0, 0.5, 1.0]])
    times = np.array([0.3, 0.7])
    order = [axis for axis in range(3) if axis != phase] + [phase]
    turned = channel.transpose(order)
    spacing = np.array(spacing_mm)[order]
    middle = (np.array(turned.shape) - 1) / 2
    scans = [turned.astype(float)]
    to_lps = np.diag([-1.0, -1.0, 1.0])  # ITK's axes; it turns about Y, X, then Z
    for angles, shift in zip(degrees[:, order], shifts_mm[:, order], strict=True):
        turn = Rotation.from_euler("yxz", angles[[1, 0, 2]], degrees=True).as_matrix()
        turn = to_lps @ turn @ to_lps
        matrix = np.diag(1 / spacing) @ turn @ np.diag(spacing)
        offset = middle - matrix @ middle + to_lps @ shift / spacing
        scans.append(
            scipy.ndimage.affine_transform(
                turned.astype(float), matrix, offset, order=1, cval=turned.min()
            )
        )
    spectra = [np.fft.fftshift(np.fft.fftn(scan)) for scan in scans]
    spectra = [spectra[1], spectra[0], spectra[2]]  # the middle of k-space is of the first place
    bounds = [0, *(int(turned.shape[2] * time) for time in times), turned.shape[2]]
    parts = [one[..., a:b] for one, a, b in zip(spectra, bounds[:-1], bounds[1:], strict=True)]
    whole = np.fft.ifftn(np.fft.ifftshift(np.concatenate(parts, 2))).real
    found = move(channel, degrees, shifts_mm, times, phase, spacing_mm)
    np.testing.assert_allclose(found.transpose(order), whole, atol=1e-4)
    assert np.abs(found - channel).max() > 0.05


def test_no_motion_is_no_change():
    nothing = np.zeros((2, 3))
    found = move(smooth()[0], nothing, nothing, np.array([0.3, 0.6]), 1, ONE_MM)
    np.testing.assert_allclose(found, smooth()[0], atol=1e-5)


def test_ghosts_are_planes_of_k_space_that_are_missing_in_part():
    image = smooth()
    for seed in range(6):
        generator = random(seed)
        axis, count = int(generator.integers(3)), int(generator.integers(4, 11))
        strength = generator.uniform(0.2, 0.8)
        kept = np.ones(SHAPE[axis])
        kept[::count] = 1 - strength
        kept[SHAPE[axis] // 2] = 1
        kept = np.expand_dims(kept, [other for other in range(3) if other != axis])
        spectrum = np.fft.fftshift(np.fft.fftn(image[0])) * kept
        expected = np.fft.ifftn(np.fft.ifftshift(spectrum)).real
        found = mr_artifacts.draw_ghosts(image, random(seed), ONE_MM)
        np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_a_spike_is_a_wave_over_the_whole_scan():
    image = smooth()
    for seed in range(6):
        added = mr_artifacts.draw_spike(image, random(seed), ONE_MM)[0] - image[0]
        generator = random(seed)
        place = np.floor(generator.random(3) * SHAPE) - np.array(SHAPE) // 2  # frequency
        strength = generator.uniform(0.1, 0.5)
        height = strength * np.abs(np.fft.fftn(image[0])).max() / image[0].size
        turns = np.tensordot(place / SHAPE, np.indices(SHAPE), 1)
        np.testing.assert_allclose(added, height * np.cos(2 * np.pi * turns), atol=1e-5)


def test_slices_are_thick_along_one_axis():
    axes = set()
    for seed in range(30):
        changed = []
        for axis in range(3):  # what differs along this axis alone
            ramp = np.moveaxis(np.broadcast_to(np.arange(24.0) % 2, (24, 24, 24)), -1, axis)
            image = ramp[None].astype(np.float32)
            found = mr_artifacts.draw_thick_slices(image, random(seed), ONE_MM)
            changed.append(not np.allclose(found, image, atol=1e-5))
        assert sum(changed) == 1
        axes.add(changed.index(True))
    assert axes == {0, 1, 2}


@of_one_channel
def test_an_artifact_is_of_one_channel(draw):
    image, channels = smooth(3), set()
    for seed in range(20):
        found = draw(image, random(seed), ONE_MM)
        changed = np.flatnonzero((found != image).any((1, 2, 3)))
        assert len(changed) == 1
        channels.add(int(changed[0]))
    assert channels == {0, 1, 2}
    np.testing.assert_array_equal(image, smooth(3))  # which was not written to


@of_one_channel
@pytest.mark.parametrize("shape", [(20, 24, 1), (20, 24, 6)])
def test_slices_stay_apart_in_flat_patches_and_thin_stacks(draw, shape):
    """What is empty but for one slice stays it; a spike alone is of all of k-space."""
    image = np.zeros((1, *shape), np.float32)
    image[0, 5:-5, 5:-5, 0] = np.abs(smooth(shape=(*shape[:2], 1))[0, 5:-5, 5:-5, 0])
    for seed in range(10):
        found = draw(image, random(seed), (1, 1, 5))[0]
        assert not np.array_equal(found[..., 0], image[0, ..., 0])
        if draw is not mr_artifacts.draw_spike:
            np.testing.assert_allclose(found[..., 1:], 0, atol=1e-5)


def test_artifacts_are_as_frequent_as_they_are_said_to_be():
    assert {change.draw.__name__: change.probability for change in MR} == HOW_OFTEN
    image, draws = smooth(shape=(16, 16, 16)), 500
    for change in MR:
        generator = random(11)
        changed = sum(
            not np.array_equal(change_intensities(image, (change,), generator, ONE_MM), image)
            for _ in range(draws)
        )
        assert is_near(changed, draws, HOW_OFTEN[change.draw.__name__])


def test_no_other_generator_is_asked():
    """TorchIO's transforms, when they are called, draw from the network's."""
    before, of_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for seed in range(40):
        augment(smooth(), None, AUGMENTATIONS["strong-mr"], random(seed))
    for change in MR:
        change.draw(smooth(), random(0), ONE_MM)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], of_numpy)  # noqa: NPY002
