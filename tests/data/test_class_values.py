"""Values of classes in a user's files: lowest of several, there and back, and what is said."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmseg_cli.data.checking.label_values import map_values
from llmseg_cli.data.class_values import (
    as_stored,
    changes_from_stored,
    merged_in_words,
    values_of_classes,
)


@pytest.mark.parametrize(
    ("classes", "label_map", "stored", "ignore", "expected"),
    [
        (2, {255: 1}, {0, 255}, None, (0, 255)),
        (2, {2: 1, 3: 0}, {0, 1, 2, 3}, None, ()),  # the lowest are the numbers
        (2, {2: 1, 3: 1}, {0, 2, 3}, None, (0, 2)),
        (3, {1: 2, 2: 1}, {0, 1, 2}, None, (0, 2, 1)),
        (3, {70: 1, 90: 2}, {0, 50, 70, 90}, 50, (0, 70, 90)),
        (2, {0: 1, 255: 0}, {0, 255}, None, (255, 0)),
        (2, {254: 1, 255: 1}, {0, 255}, 254, (0, 255)),
        (2, {-1: 1}, {-1, 0}, None, ()),  # no file of ours holds -1
        (3, {-1: 1, 1: 2}, {-1, 0, 1}, None, ()),  # 1 would stand for both
        (2, {60000: 1}, {0, 60000}, None, (0, 60000)),
        (2, {9: 1}, {0, 1}, None, ()),  # 9 is in no file
    ],
)
def test_the_lowest_value_stands_for_a_class(classes, label_map, stored, ignore, expected):
    assert values_of_classes(classes, label_map, stored, ignore) == expected


@given(
    label_map=st.dictionaries(st.integers(-3, 70000), st.integers(0, 4), max_size=6),
    stored=st.sets(st.integers(-3, 300), max_size=8),
    seed=st.integers(0, 99),
)
def test_there_and_back_are_the_same_classes(label_map, stored, seed):
    stored |= {0, *label_map}
    classes = 1 + max((label_map.get(value, value) for value in stored if value < 5), default=0)
    classes = max(2, classes)
    values = values_of_classes(classes, label_map, stored)
    labels = np.random.default_rng(seed).integers(0, classes, (3, 4, 5)).astype(np.uint8)
    written = as_stored(labels.copy(), values)
    assert np.array_equal(map_values(written, changes_from_stored(values)), labels)
    if values:  # and each is a value that the run reads as that class, if it has any
        for number, value in enumerate(values):
            assert label_map.get(value, value) == number or value == number


@pytest.mark.parametrize(
    ("values", "dtype"), [((0, 70, 90), np.uint8), ((0, 300, 7), np.uint16), ((), np.uint8)]
)
def test_each_voxel_has_the_value_of_its_class(values, dtype):
    labels = np.array([[[0, 1], [2, 1]], [[2, 2], [0, 0]]], np.uint8)
    expected = [[values[n] if values else n for n in row] for row in labels.reshape(-1, 2)]
    found = as_stored(labels.copy(), values)
    assert found.dtype == dtype
    assert found.reshape(-1, 2).tolist() == expected


@dataclass
class Config:
    label_map: tuple[str, ...]
    label_values: tuple[int, ...]
    classes: tuple[str, ...] = ("background", "lung", "heart")


@pytest.mark.parametrize(
    ("label_map", "values", "said"),
    [
        (("255:1",), (0, 255, 2), []),
        (("3:1", "4:1", "5:0"), (0, 3, 2), ["3 also stands for 4 of"]),
        (("255:1",), (), ["1 also stands for 255 of"]),  # an older run
        ((), (), []),
    ],
)
def test_values_that_masks_lack_are_told(label_map, values, said):
    found = merged_in_words(Config(label_map, values))
    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True))
