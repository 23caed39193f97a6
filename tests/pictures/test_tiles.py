"""Slices: errors are where both label maps differ, and the picture is one that a page can show."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from llmseg_cli.pictures.tiles import (
    FALSE,
    LARGEST,
    MISSED,
    SIDE,
    Plane,
    errors,
    inline_webp,
    outline,
    tile,
)

ALL = (slice(None), slice(None))


def plane(mask, reference, known=None, step=(1.0, 1.0)):
    return Plane(np.zeros(reference.shape, np.float32), mask, reference, known, step)


def test_errors_are_apart_and_together_all_that_differs():
    random = np.random.default_rng(0)
    mask, reference = random.integers(0, 4, (2, 30, 31))
    missed, false, other = errors(mask, reference, None)
    assert not (missed & false).any()
    assert ((missed ^ false ^ other) == (mask != reference)).all()
    assert (missed <= (mask == 0)).all()
    assert (false <= (reference == 0)).all()


def test_what_is_unknown_is_no_error():
    mask, reference = np.ones((4, 4), int), np.zeros((4, 4), int)
    known = np.zeros((4, 4), bool)
    known[0] = True
    assert errors(mask, reference, known)[1].sum() == 4


def test_colors_lie_where_the_errors_are():
    mask, reference = np.zeros((2, 8, 8), int)
    reference[1:7, 1:4] = 1  # missed at the left, false at the right
    mask[1:7, 5:8] = 1
    pixels = np.asarray(tile(plane(mask, reference), ALL)).astype(float)
    scale = SIDE // 8
    left, right = pixels[4 * scale, 2 * scale + scale // 2], pixels[4 * scale, 6 * scale + 24]
    assert np.allclose(left, 0.45 * np.array(MISSED), atol=2)
    assert np.allclose(right, 0.45 * np.array(FALSE), atol=2)


@pytest.mark.parametrize(
    ("shape", "step", "size"),
    [((10, 20), (1.0, 1.0), (384, 192)), ((10, 20), (4.0, 1.0), (192, 384))],
)
def test_a_tile_has_the_sides_of_the_slice_in_space(shape, step, size):
    empty = np.zeros(shape, int)
    assert tile(plane(empty, empty, step=step), ALL).size == size


def test_an_outline_is_the_border_of_a_class():
    labels = np.zeros((9, 9), int)
    labels[2:7, 2:7] = 1
    found = outline(labels)
    assert found.sum() == 16  # of 5 by 5
    assert not found[4, 4]


def test_a_picture_is_webp_that_stands_in_a_page():
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    found = inline_webp(noise)
    head, _, text = found.address.partition(",")
    assert head == "data:image/webp;base64"
    read = Image.open(io.BytesIO(base64.b64decode(text)))
    assert (read.format, read.size) == ("WEBP", (found.width, found.height))
    assert len(text) < 2 * LARGEST  # white noise, at the lowest quality
