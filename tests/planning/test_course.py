"""How labels and time of an automatic course are spent."""

import pytest

from llmseg_cli.planning.course import (
    FEWEST_S,
    FEWEST_STEPS,
    SPARE,
    Roles,
    Time,
    choose_roles,
    is_worth,
    networks_in_time,
    share_of_supervised,
)

LONG, SHORT = 3600.0, 600.0  # an hour is enough for three folds


@pytest.mark.parametrize(
    ("labeled", "folds", "validation", "test"),
    [
        (1, 0, None, None),
        (2, 2, None, None),
        (3, 3, None, None),
        (29, 3, None, None),
        (30, 0, "0.2", None),
        (49, 0, "0.2", None),
        (50, 0, "0.2", "0.2"),
    ],
)
def test_few_labels_are_crossed_and_many_are_held_out(labeled, folds, validation, test):
    found = choose_roles(labeled, None, budget_s=LONG)
    assert (found.folds, found.validation, found.test) == (folds, validation, test)
    assert found.reason


@pytest.mark.parametrize("labeled", [1, 6, 40, 80])
def test_a_test_that_is_asked_for_is_locked(labeled):
    assert choose_roles(labeled, "3", budget_s=LONG).test == "3"
    assert choose_roles(labeled, "3", budget_s=SHORT).test == "3"


@pytest.mark.parametrize(
    ("labeled", "folds", "validation"),
    [(1, 0, None), (2, 0, None), (9, 0, None), (10, 0, "0.2"), (29, 0, "0.2"), (30, 0, "0.2")],
)
def test_a_short_time_is_for_one_network(labeled, folds, validation):
    found = choose_roles(labeled, None, budget_s=SHORT)
    assert (found.folds, found.validation) == (folds, validation)
    assert found.is_hurried == (1 < labeled < 30)
    if found.is_hurried:  # two folds where two are labeled, and as long each
        edge = 2 * min(3, labeled) * FEWEST_S
        assert choose_roles(labeled, None, budget_s=edge).folds == min(3, labeled)
        assert choose_roles(labeled, None, budget_s=edge - 1).is_hurried


@pytest.mark.parametrize(
    ("labeled", "asked", "folds"), [(6, 2, 2), (6, 5, 5), (3, 5, 3), (6, 0, 0), (80, 5, 5)]
)
@pytest.mark.parametrize("budget_s", [60.0, 36000.0])
def test_folds_that_are_asked_for(labeled, asked, folds, budget_s):
    found = choose_roles(labeled, None, budget_s=budget_s, folds=asked)
    assert (found.folds, found.is_hurried) == (folds, False)


def test_reasons():
    assert "each validated on the others" in choose_roles(2, None, budget_s=LONG).reason
    assert "each validated on the part" in choose_roles(8, None, budget_s=LONG).reason
    many = choose_roles(60, None, budget_s=LONG).reason
    assert many == "60 labels: a fifth validates, a fifth is locked as test"
    hurried = choose_roles(6, None, budget_s=SHORT).reason
    assert hurried == (
        "6 labels: one network has all of the time (each of 3 would learn for 100 s; --folds 3 has "
        "them), all teach, and nothing validates"
    )
    assert isinstance(choose_roles(1, None, budget_s=LONG), Roles)


@pytest.mark.parametrize("runs", [1, 2, 3])
@pytest.mark.parametrize("budget_s", [120.0, 600.0, 3600.0])
def test_trainings_share_what_checks_and_predictions_leave(budget_s, runs):
    time = Time(budget_s, spent_s=20.0, predicting_s=30.0)
    assert time.training_s == pytest.approx(budget_s * (1 - SPARE) - 50)
    each = share_of_supervised(time, runs=runs, semi_step_s=0.1)
    rest = Time(budget_s, spent_s=20.0 + runs * each, predicting_s=30.0)
    assert is_worth(rest.training_s / runs, semi_step_s=0.1)
    assert each == pytest.approx(rest.training_s / runs)  # half and half
    assert 20 + 30 + 2 * runs * each <= budget_s


def test_all_time_is_the_baselines_where_the_rest_would_teach_nothing():
    time = Time(300.0, 0.0, 0.0)
    assert share_of_supervised(time, runs=3, semi_step_s=0.0) == time.training_s / 3
    too_slow = time.training_s / 6 / (FEWEST_STEPS - 1)
    assert share_of_supervised(time, runs=3, semi_step_s=too_slow) == time.training_s / 3
    fast = time.training_s / 6 / (FEWEST_STEPS + 1)
    assert share_of_supervised(time, runs=3, semi_step_s=fast) == time.training_s / 6


def test_time_is_never_less_than_none():
    assert Time(10.0, 60.0, 5.0).training_s == 0
    assert not is_worth(0.0, semi_step_s=0.0)


@pytest.mark.parametrize(
    ("left", "seconds", "networks"),
    [(100, 1.0, 3), (60, 1.0, 3), (59, 1.0, 2), (39, 1.0, 1), (5, 1.0, 1), (0, 1.0, 1), (9, 0, 3)],
)
def test_as_many_networks_predict_as_there_is_time_for(left, seconds, networks):
    time = Time(300.0, 300.0 - left, 0.0)
    assert networks_in_time(time, runs=3, scans=20, seconds_a_scan=seconds) == networks
