"""Regions of nnU-Net divide the values of label maps, and each part has a name that is true."""

from itertools import combinations
from pathlib import Path

import pytest

from llmseg_cli.data.layouts.declared_classes import declared_classes

PATH = Path("dataset.json")
BRATS = {
    "background": 0,
    "whole tumor": [1, 2, 3],
    "tumor core": [2, 3],
    "enhancing tumor": 3,
    "ignore": 4,
}


def test_the_regions_of_brain_tumors_are_read():
    assert declared_classes(BRATS, PATH) == (
        {
            0: "background",
            1: "whole tumor without tumor core",
            2: "tumor core without enhancing tumor",
            3: "enhancing tumor",
        },
        4,
    )


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"organ": [1, 2], "cyst": [2]}, {1: "organ without cyst", 2: "cyst"}),
        ({"organ": [1, 2]}, {1: "organ (label 1)", 2: "organ (label 2)"}),
        (
            {"all": [1, 2, 3], "left": 1, "right": 2},
            {1: "left", 2: "right", 3: "all without left and right"},
        ),
        ({"kidney": [1, 2], "mass": [2, 3], "tumor": 2}, {1: "kidney without tumor", 2: "tumor",
            3: "mass without tumor"}),
    ],
)  # fmt: skip
def test_parts_are_named_by_the_smallest_region_and_what_it_lacks(labels: dict, names: dict):
    assert declared_classes({"background": 0, **labels}, PATH)[0] == {0: "background", **names}


def test_no_two_values_have_one_name():
    sets = [list(one) for size in (1, 2, 3) for one in combinations((1, 2, 3), size)]
    for count in (1, 2, 3):
        for chosen in combinations(sets, count):
            labels = {f"r{index}": values for index, values in enumerate(chosen)}
            found, _ = declared_classes(labels, PATH)
            assert sorted(found) == sorted({value for one in chosen for value in one})
            assert len({*found.values()}) == len(found)
