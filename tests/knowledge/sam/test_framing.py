"""Framing against segment-anything's own transforms."""

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


def rgb(*values):
    return torch.tensor(values).view(3, 1, 1)
