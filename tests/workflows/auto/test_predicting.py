"""How long predictions will take, counted by hand, and whether flips are had for it."""

import pytest

from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.workflows.auto.predicting import (
    FOR_FLIPS,
    MARGIN,
    OWN_GRID_S,
    foresee,
    scan_s,
    scans_to_predict,
)


def case(*shape: int, spacing: float = 1.0) -> dict:
    return {"shape": list(shape), "spacing": [spacing] * 3}


UNREAD = {"shape": None, "spacing": None}


@pytest.mark.parametrize(
    ("cases", "spacing", "patch", "windows"),
    [
        ([case(32, 48, 32)], 0.0, (32, 48, 32), 1),
        ([case(64, 48, 32)], 0.0, (32, 48, 32), 3),  # half of a window overlaps
        ([case(64, 64, 32)], 0.0, (32, 32, 32), 9),
        ([case(64, 64, 5)], 0.0, (64, 64), 5),  # slices
        ([case(20, 20, 20)], 0.0, (32, 32, 32), 1),
        ([case(64, 48, 32), case(32, 48, 32), UNREAD], 0.0, (32, 48, 32), 2),  # of those known
        ([case(64, 96, 64)], 2.0, (32, 48, 32), 1),  # as the network sees it
        ([case(32, 48, 32, spacing=2.0)], 1.0, (32, 48, 32), 27),
    ],
)
def test_windows_of_a_scan(cases, spacing, patch, windows):
    preprocessing = Preprocessing(spacing=(spacing,))
    found = scan_s(cases, preprocessing, patch, classes=3, asked_s=0.5)
    assert found.asking_s == pytest.approx(windows * 0.5)


def test_the_mask_is_written_on_the_scans_own_grid():
    found = scan_s(
        [case(64, 96, 64)], Preprocessing(spacing=(2.0,)), (32, 48, 32), classes=3, asked_s=1
    )
    assert found.writing_s == pytest.approx(64 * 96 * 64 * 3 * OWN_GRID_S)


def split_of(validation=(), test=()) -> Split:
    return Split(
        labeled=("b", "c", "d"),
        unlabeled=tuple("vwxyz"),
        validation=validation,
        test=test,
        seed=0,
        images={},
        groups={},
    )


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
    assert scans_to_predict(split_of(validation, test), folds=folds) == scans


def planned(augment: str, forward_s: float = 1.0) -> dict:
    choices = {"spacing": [0.0], "patch": [32, 48, 32], "augment": augment}
    return {
        "choices": {name: {"value": value} for name, value in choices.items()},
        "paces": {"train-sup": {"forward_s": forward_s}, "train-semi": {"forward_s": 0.1}},
        "scans": {"classes": {"1": "a"}},
    }


@pytest.mark.parametrize(("augment", "flips"), [("standard", 2), ("turned", 4), ("no-flips", 0)])
@pytest.mark.parametrize("folds", [0, 2])
def test_flips_are_had_where_they_take_a_fifth_of_the_time_or_less(augment, flips, folds):
    scans = 5 + (2 * 3 if folds else 0)
    once = max(1, folds) * 1.0, 32 * 48 * 32 * 2 * OWN_GRID_S

    def found(budget_s: float):
        cases = [case(32, 48, 32)]
        return foresee(planned(augment), cases, split_of(), folds=folds, budget_s=budget_s)

    plain = MARGIN * scans * sum(once)
    mirrored = MARGIN * scans * (flips * once[0] + once[1])
    if not flips:
        assert (found(1e6).mirror, found(1e6).words) == (False, [])
        assert found(1e6).seconds == pytest.approx(plain)
        return
    enough, less = found(1.001 * mirrored / FOR_FLIPS), found(0.999 * mirrored / FOR_FLIPS)
    assert (enough.mirror, enough.words) == (True, ["--mirror"])
    assert enough.seconds == pytest.approx(mirrored)
    assert (less.mirror, less.words) == (False, [])
    assert less.seconds == pytest.approx(plain)
