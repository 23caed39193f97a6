"""Learning curves: what the log holds, thinned so that no mean is lost."""

from statistics import fmean

import pytest

from llmseg_cli.workflows.report.sources.courses import (
    MOST,
    curves_of,
    thinned,
    validation_of,
)


def lines(steps: int) -> list[dict]:
    return [
        {
            "step": step,
            "time": 10.0 + 2 * step,
            "learning_rate": 0.1,
            "data_wait_s": 0.5 * step,
            "supervised": 1 / step,
            "observed_confident": 0.25,
        }
        for step in range(1, steps + 1)
    ]


@pytest.mark.parametrize("count", [1, 7, MOST, 8 * MOST])
def test_thinning_keeps_the_mean_and_the_order(count: int):
    points = [(float(step), float(step % 7)) for step in range(count)]
    found = thinned(points)
    assert len(found) == min(count, MOST)
    assert fmean(y for _, y in found) == pytest.approx(fmean(y for _, y in points), abs=1e-3)
    assert list(found) == sorted(found)


def test_fewer_points_than_a_picture_shows_stay_as_they_are():
    assert thinned([(1.0, 0.123456), (2.0, 5.0)]) == ((1.0, 0.123456), (2.0, 5.0))
    assert thinned([]) == ()


def test_each_number_of_a_line_is_a_curve_of_its_kind():
    mined = {"step": 5, "pseudo_masks": 3.0}
    found = {
        curve.name: curve
        for curve in curves_of([*lines(9), {"step": 9, "validation_dice": 0.5}, mined])
    }
    assert {name: curve.kind for name, curve in found.items()} == {
        "supervised": "loss",
        "learning rate": "rate",
        "confident": "share",
        "validation Dice": "dice",
        "pseudo masks": "mining",
        "time of a step": "seconds",
        "waiting for data in a step": "seconds",
    }
    assert found["supervised"].points[3] == (4.0, 0.25)
    assert {y for _, y in found["time of a step"].points} == {2.0}
    assert {y for _, y in found["waiting for data in a step"].points} == {0.5}


def test_a_stop_between_two_parts_of_a_run_is_no_long_step():
    found = lines(20)
    for line in found[10:]:
        line["time"] += 1e6
        line["data_wait_s"] -= 5.0  # counted anew
    curves = {curve.name: curve for curve in curves_of(found)}
    assert {y for _, y in curves["time of a step"].points} == {2.0}
    assert min(y for _, y in curves["waiting for data in a step"].points) >= 0


def test_what_is_no_number_is_no_point():
    odd = [{"step": 1, "learning_rate": 0.1, "a": "x", "b": None, "c": float("nan"), "d": True}]
    assert [curve.name for curve in curves_of(odd)] == ["learning rate"]


def test_the_best_validation_is_the_first_of_equal_ones():
    found = [{"step": s, "validation_dice": d} for s, d in ((1, 0.2), (2, 0.6), (3, 0.6), (4, 0.1))]
    assert validation_of(found) == {"final": 0.1, "best": 0.6, "best_step": 2}
    assert validation_of([{"step": 1}]) == {}
