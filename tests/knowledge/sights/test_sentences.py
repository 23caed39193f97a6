"""Sentences say what was measured, and turn with the image."""

import re

import numpy as np
import pytest

from llmseg_cli.knowledge.sights.numbers import image_numbers, part_numbers
from llmseg_cli.knowledge.sights.sentences import about_image, about_part

ONE = (1.0, 1.0, 1.0)


def told(array, labels, unit="mm", spacing=ONE, name="spleen"):
    image = image_numbers(array, spacing, unit)
    part = part_numbers(array, labels, 1, spacing)
    return about_part(name, part, image), about_image(image)


def scene(shape=(30, 30, 30), corner=(2, 12, 24), value=5.0):
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(c, c + 4) for c in corner)] = 1
    return (labels * value + np.arange(shape[0])[:, None, None] / 99)[None].astype(
        np.float32
    ), labels


def test_the_place_of_a_patient_is_by_the_header():
    part, _ = told(*scene())
    assert "left third (12 %" in part
    assert "middle third (47 %" in part
    assert "upper third (88 %" in part
    assert "brighter than its surroundings" in part
    assert "one piece" in part
    assert "0.064 ml" in part


def test_a_mirrored_volume_swaps_left_and_right_alone():
    array, labels = scene()
    before, _ = told(array, labels)
    after, _ = told(array[:, ::-1].copy(), labels[::-1].copy())
    assert "left third (12 %" in before
    assert "right third (88 %" in after
    assert before.replace("left third (12 %", "") == after.replace("right third (88 %", "")


def test_a_picture_counts_rows_from_above():
    labels = np.zeros((20, 30, 1), np.uint8)
    labels[15:18, 1:4] = 1
    array = (5 - labels)[None].astype(np.float32)
    part, image = told(array, labels, unit="px")
    assert "right third" in part
    assert "upper third" in part
    assert "9 pixels" in part
    assert "darker than its surroundings" in part
    assert "20 x 30 pixels" in image


def test_nobody_knows_the_directions_of_bare_voxels():
    part, image = told(*scene(), unit="voxel")
    assert "first third of axis 1" in part
    assert not re.search(r"\b(left|right|upper|lower|front|back|ml|mm)\b", part + image)


@pytest.mark.parametrize(
    ("share", "word"), [(0.005, "very small"), (0.04, "small"), (0.5, "large")]
)
def test_the_size_is_of_the_table(share, word):
    labels = np.zeros((1000, 1, 1), np.uint8)
    labels[: int(1000 * share)] = 1
    part, _ = told(np.zeros((1, 1000, 1, 1), np.float32), labels)
    assert f"is {word} (" in part
    assert "surroundings" not in part  # there is no contrast
    assert "touches the border of the image" in part


def test_what_is_not_there_is_said_to_be_not_there():
    array, labels = scene()
    part, _ = told(array, 0 * labels)
    assert part == "No spleen was predicted in it."
    flat, _ = told(0 * array, labels)
    assert "It has no contrast" in told(0 * array, labels)[1]
    assert flat.startswith("The predicted spleen is very small")


@pytest.mark.parametrize(
    ("bright", "word"), [(0.2, "mostly dark"), (0.5, "balanced"), (0.8, "mostly bright")]
)
def test_dark_and_bright_are_shares(bright, word):
    array = np.zeros((1, 10, 10, 10), np.float32)
    array[0, : int(10 * bright)] = 1
    assert f"It is {word}: {100 * (1 - bright):.0f} %" in told(array, array[0].astype(int))[1]
