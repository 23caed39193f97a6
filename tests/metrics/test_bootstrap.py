"""Intervals against closed forms and a loop, groups, degenerate cases."""

from statistics import NormalDist

import numpy as np
import pytest

from llmseg_cli.metrics.bootstrap import bootstrap_interval
from llmseg_cli.metrics.summary import mean_over_classes, summarize

VALUES = np.random.default_rng(0).normal(0.8, 0.1, 40)


def test_equals_a_loop_over_resamples():
    generator = np.random.default_rng(3)
    index = generator.integers(0, 40, size=(500, 40))
    means = [np.mean([VALUES[i] for i in row]) for row in index]
    expected = np.percentile(means, (2.5, 97.5))
    assert bootstrap_interval(VALUES, draws=500, seed=3) == pytest.approx(tuple(expected))


def test_is_near_the_normal_interval():
    half = NormalDist().inv_cdf(0.975) * VALUES.std() / np.sqrt(40)
    low, high = bootstrap_interval(VALUES, draws=4000, seed=0)
    assert low == pytest.approx(VALUES.mean() - half, abs=0.2 * half)
    assert high == pytest.approx(VALUES.mean() + half, abs=0.2 * half)


def test_a_seed_fixes_it():
    assert bootstrap_interval(VALUES, draws=99, seed=1) == bootstrap_interval(
        VALUES, draws=99, seed=1
    )
    assert bootstrap_interval(VALUES, draws=99, seed=1) != bootstrap_interval(
        VALUES, draws=99, seed=2
    )


def test_drawing_in_parts_changes_nothing_but_memory(monkeypatch):
    whole = bootstrap_interval(VALUES, draws=100, seed=0)
    monkeypatch.setattr("llmseg_cli.metrics.bootstrap.DRAWS_AT_ONCE", 40 * 7)
    assert bootstrap_interval(VALUES, draws=100, seed=0) == pytest.approx(whole)


def test_ratio_of_sums():
    tops, bottoms = [1.0, 30.0], [2.0, 40.0]
    low, high = bootstrap_interval(tops, bottoms, draws=200, seed=0)
    assert (low, high) == (0.5, 0.75)  # only one, or only the other


def test_groups_are_drawn_together():
    doubled = np.repeat(VALUES, 2)
    groups = [i // 2 for i in range(80)]
    alone = bootstrap_interval(VALUES, draws=500, seed=0)
    assert bootstrap_interval(doubled, groups=groups, draws=500, seed=0) == pytest.approx(alone)
    wrong = bootstrap_interval(doubled, draws=500, seed=0)
    assert wrong[1] - wrong[0] < 0.85 * (alone[1] - alone[0])  # too sure of itself


@pytest.mark.parametrize(
    ("values", "groups", "draws"),
    [([0.5], None, 10), ([0.5, 0.6], ["a", "a"], 10), (VALUES, None, 0)],
)
def test_no_interval(values, groups, draws):
    assert bootstrap_interval(values, groups=groups, draws=draws, seed=0) is None


def test_nothing_but_empty_cases_has_no_interval():
    assert bootstrap_interval([0.0, 0.0], [0.0, 0.0], draws=10, seed=0) is None


def test_summary():
    found = summarize([0.2, None, 0.4, 0.9], groups=None, draws=100, seed=0)
    assert (found.mean, found.median, found.n) == (0.5, 0.4, 3)
    assert found.std == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))
    assert found.interval[0] <= found.mean <= found.interval[1]
    assert found.reason == ""


@pytest.mark.parametrize(
    ("values", "n", "reason"),
    [
        ([], 0, "no case has a value"),
        ([None, None], 0, "no case has a value"),
        ([0.5, float("nan"), None], 1, "undefined in 1 of 2 cases (one mask is empty)"),
    ],
)
def test_summary_without_a_mean(values, n, reason):
    found = summarize(values, groups=None, draws=100, seed=0)
    assert (found.mean, found.interval, found.std, found.n, found.reason) == (
        None,
        None,
        None,
        n,
        reason,
    )


def test_summary_of_one_case():
    found = summarize([0.5], groups=None, draws=100, seed=0)
    assert (found.mean, found.std, found.interval) == (0.5, None, None)
    assert found.reason == "an interval needs two cases or groups"
    assert summarize([0.5], groups=None, draws=0, seed=0).reason == "no bootstrap was asked for"


def test_summary_keeps_the_groups_of_the_cases_with_a_value():
    values, groups = [0.1, None, 0.5, 0.9], ["a", "b", "b", "c"]
    alone = summarize([0.1, 0.5, 0.9], groups=None, draws=300, seed=0)
    assert summarize(values, groups=groups, draws=300, seed=0) == alone


def test_mean_over_classes():
    assert mean_over_classes([0.2, None, 0.4]) == pytest.approx(0.3)
    assert mean_over_classes([None]) is None
    assert np.isnan(mean_over_classes([0.2, float("nan")]))
