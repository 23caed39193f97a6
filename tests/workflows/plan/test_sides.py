"""Left and right are told by where classes lie, not by their names."""

import pytest

from llmseg_cli.workflows.plan.sides import sided_pairs

LUNGS = {1: (90.0, 200.0, 1.0), 2: (100.0, 210.0, 1.0)}


def test_lungs_are_sides_and_the_heart_between_them_is_none():
    scans = [{1: 0.72, 2: 0.3, 3: 0.55}, {1: 0.68, 2: 0.28, 3: 0.53}]
    assert sided_pairs(scans, {**LUNGS, 3: (120.0, 110.0, 1.0)}) == ((1, 2),)


@pytest.mark.parametrize(
    "scans",
    [
        [{1: 0.72, 2: 0.3}, {1: 0.3, 2: 0.7}],  # turned: neither is of a side
        [{1: 0.52, 2: 0.48}],  # one before the other
        [{1: 0.3, 2: 0.1}],  # both on one side
        [{1: 0.7}, {2: 0.3}],  # never together
        [],
    ],
)
def test_what_is_no_pair_of_sides(scans):
    assert sided_pairs(scans, LUNGS) == ()


def test_a_large_and_a_small_one_are_no_pair():
    assert sided_pairs([{1: 0.7, 2: 0.3}], {1: (90.0, 200.0, 1.0), 2: (30.0, 60.0, 1.0)}) == ()
