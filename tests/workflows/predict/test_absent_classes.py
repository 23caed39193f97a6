"""Masks that are all empty, and classes that are in none of them."""

from pathlib import Path

import numpy as np
import pytest

from llmseg_cli.workflows.predict.absent_classes import absence_warnings, classes_in

NAMES = ("background", "anterior", "posterior", "3")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("shape", [(7, 5, 4), (9, 8), (1, 1, 1)])
def test_the_classes_of_a_mask_are_those_that_a_set_finds(dtype, shape):
    draw = np.random.default_rng(0)
    for highest in (0, 1, 2, 9):
        labels = draw.integers(0, highest + 1, shape).astype(dtype)
        assert classes_in(labels) == tuple(sorted(set(labels.ravel().tolist()) - {0}))


def test_the_mask_may_be_a_view():
    labels = np.zeros((4, 6, 5), np.uint8)
    labels[3, 5, 4] = 2
    assert classes_in(labels.transpose(2, 0, 1)) == (2,)
    assert classes_in(labels[:, :5]) == ()


@pytest.mark.parametrize(
    ("masks", "told"),
    [
        ([(), (), ()], ["3 of 3 masks are empty"]),
        ([(), ()], []),  # too few to say
        ([(1, 2, 3), (), ()], []),
        ([(1,), (), (1, 3)], ["Class 2 (posterior) is in none of the 3 masks"]),
        ([(2,), (2,), (2,)], ["Classes 1 (anterior), 3 are in none of the 3 masks"]),
        ([], []),
    ],
)
def test_what_is_told_of_many_masks(masks, told):
    found = absence_warnings(masks, NAMES, Path("runs/a"))
    assert [one[: len(start)] for one, start in zip(found, told, strict=True)] == told
    if "empty" in "".join(told):
        assert "runs/a/log.jsonl" in found[0]
        assert "--steps" in found[0]
