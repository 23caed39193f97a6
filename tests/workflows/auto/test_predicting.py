"""How long predictions will take, counted by hand."""

import pytest

from llmseg_cli.artifacts.split import Split
from llmseg_cli.workflows.auto.predicting import (
    MARGIN,
    OWN_GRID_S,
    predicting_s,
    scans_to_predict,
)

ONCE = {"classes": 3, "scans": 10, "networks": 1, "forward_s": 0.5}


def test_a_scan_of_one_window():
    found = predicting_s((32, 48, 32), (64, 96, 64), (32, 48, 32), **ONCE)
    assert found == pytest.approx(MARGIN * 10 * (0.5 + 64 * 96 * 64 * 3 * OWN_GRID_S))


@pytest.mark.parametrize(
    ("shape", "patch", "windows"),
    [
        ((64, 48, 32), (32, 48, 32), 3),  # half of a window overlaps
        ((64, 64, 32), (32, 32, 32), 9),
        ((64, 64, 5), (64, 64), 5),  # slices
        ((20, 20, 20), (32, 32, 32), 1),
    ],
)
def test_windows_of_all_networks(shape, patch, windows):
    times = [
        predicting_s(shape, (1, 1, 1), patch, **(ONCE | {"networks": networks}))
        for networks in (1, 3)
    ]
    assert times == pytest.approx(
        [MARGIN * 10 * windows * networks * 0.5 for networks in (1, 3)], rel=1e-4
    )


def test_no_scans_take_no_time():
    assert predicting_s((9, 9, 9), (9, 9, 9), (16, 16, 16), **(ONCE | {"scans": 0})) == 0


@pytest.mark.parametrize(
    ("folds", "validation", "test", "scans"),
    [
        (0, (), (), 5),  # the unlabeled
        (0, ("a",), (), 7),  # one validates two trainings
        (0, ("a",), ("t", "u"), 9),
        (3, ("a",), ("t",), 5 + 1 + 2 * 4),  # every label validates two trainings
    ],
)
def test_scans_after_the_trainings(folds, validation, test, scans):
    split = Split(
        labeled=("b", "c", "d"),
        unlabeled=tuple("vwxyz"),
        validation=validation,
        test=test,
        seed=0,
        images={},
        groups={},
    )
    assert scans_to_predict(split, folds=folds) == scans
