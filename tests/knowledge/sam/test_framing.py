"""Framing against segment-anything's own transforms, and intensities of all kinds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sam import original_sam, picture

from llmseg_cli.knowledge.sam.framing import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    Framing,
    to_unit,
    unit_range,
)

SHAPES = [(50, 38), (38, 50), (64, 64), (17, 90), (301, 3)]
sides = st.integers(1, 2000)


@given(sides, sides)
def test_the_longer_side_fills_the_square(x, y):
    covered = Framing(1024).size((x, y))
    exact = (x * 1024 / max(x, y), y * 1024 / max(x, y))
    assert max(covered) == 1024
    assert all(side >= 1 for side in covered)
    np.testing.assert_allclose(covered, np.maximum(exact, 1), atol=0.501)


def test_stretching_fills_the_square():
    framing = Framing(256, keeps_aspect=False)
    assert framing.size((100, 50)) == (256, 256)
    assert framing.scale((100, 50)) == (2.56, 5.12)


@pytest.mark.parametrize("shape", SHAPES)
def test_images_are_laid_as_by_segment_anything(shape):
    sam = original_sam()
    from segment_anything.utils.transforms import ResizeLongestSide

    image = picture(shape)
    whole_bytes = (image.T * 255).round().astype(np.uint8)  # (Y, X, 3)
    scaled = torch.from_numpy(ResizeLongestSide(64).apply_image(whole_bytes)).permute(2, 0, 1)
    sam.pixel_mean, sam.pixel_std = rgb(123.675, 116.28, 103.53), rgb(58.395, 57.12, 57.375)
    expected = sam.preprocess(scaled)
    framing = Framing(64, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION)
    level = 1 / 57  # the package rounds to bytes after scaling
    torch.testing.assert_close(framing.square(image), expected, atol=level, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_answers_are_laid_back_as_by_segment_anything(shape):
    low = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    framing = Framing(64)
    x, y = framing.size(shape)
    expected = original_sam().postprocess_masks(low, (y, x), shape[::-1])[0, 0].T
    torch.testing.assert_close(framing.from_grid(low[0, 0], shape), expected)


@settings(deadline=None)
@given(st.integers(80, 200), st.integers(80, 200), st.booleans())
def test_a_mask_prompt_lies_where_its_answer_lies(x, y, keeps_aspect):
    """There and back, log-odds that rise along x and y are as they were, but at the edges."""
    framing = Framing(128, keeps_aspect=keeps_aspect)
    columns, rows = np.meshgrid(np.arange(x) / x, np.arange(y) / y, indexing="ij")
    logits = (4 * columns - 3 * rows).astype(np.float32)
    back = framing.from_grid(framing.to_grid(logits, 32), (x, y)).numpy()
    inner = np.s_[x // 5 : -x // 5, y // 5 : -y // 5]
    np.testing.assert_allclose(back[inner], logits[inner], atol=0.02)


def test_padding_of_a_mask_prompt_is_the_least_likely():
    logits = np.full((50, 25), 3, np.float32)
    logits[25, 12] = 2
    grid = Framing(64).to_grid(logits, 16)  # rows are y: 8 of 16 are of the image
    assert grid.shape == (16, 16)
    torch.testing.assert_close(grid[9:], torch.full((7, 16), 2.0))
    assert (grid[:7] > 2.5).all()


def test_grey_is_repeated():
    unit = to_unit(np.arange(12, dtype=np.float32).reshape(1, 3, 4) * 20)
    assert unit.shape == (3, 3, 4)
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(unit[2], unit[0])


def test_grey_bytes_are_stretched_between_percentiles():
    grey = np.arange(12, dtype=np.float32).reshape(1, 3, 4) * 5  # dark
    low, high = np.percentile(grey, (0.5, 99.5))
    expected = (grey.clip(low, high) - low) / (high - low)
    np.testing.assert_allclose(to_unit(grey)[1], expected[0], rtol=1e-5, atol=1e-6)


def test_of_two_channels_only_the_one_that_is_seen_sets_the_range():
    image = np.stack([picture((9, 8))[0] * 7, np.full((9, 8), 1e6, np.float32)])
    np.testing.assert_array_equal(to_unit(image, unit_range(image)), to_unit(image[:1]))


def test_bytes_of_colors_keep_their_scale_even_in_a_dark_image():
    image = np.full((3, 4, 5), 51, np.float32)
    assert (to_unit(image) == np.float32(0.2)).all()


def test_of_four_channels_the_first_three_count():
    image = np.concatenate([picture((9, 8)) * 7, np.full((1, 9, 8), -1e6, np.float32)])
    unit = to_unit(image)
    np.testing.assert_array_equal(unit, to_unit(image[:3]))
    assert unit.max() == 1
    assert unit.min() == 0


@pytest.mark.parametrize(("low", "high"), [(0, 4095), (0, 65535), (-1024, 3071), (-0.3, 0.7)])
def test_other_ranges_are_clipped_at_percentiles(low, high):
    values = np.linspace(low, high, 1001).astype(np.float32)
    unit = to_unit(np.random.default_rng(0).permutation(values).reshape(1, 7, 143))
    assert unit.min() == 0
    assert unit.max() == 1
    inner = np.interp(values[100], np.percentile(values, (0.5, 99.5)), (0, 1))
    assert np.isclose(np.sort(unit[0].ravel())[100], inner, atol=1e-6)
    assert (unit[0] == 1).sum() == pytest.approx(6, abs=1)


def test_a_constant_image_is_black():
    assert (to_unit(np.full((1, 4, 4), -1000, np.float32)) == 0).all()


def rgb(*values):
    return torch.tensor(values).view(3, 1, 1)
