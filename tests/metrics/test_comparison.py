"""Paired differences: direction, pairs, test and interval."""

import numpy as np
import pytest
from scipy.stats import wilcoxon

from llmseg_cli.metrics.bootstrap import bootstrap_interval
from llmseg_cli.metrics.comparison import compare

RNG = np.random.default_rng(0)
FIRST = list(RNG.normal(0.8, 0.05, 12))
SECOND = list(RNG.normal(0.75, 0.05, 12))


def paired(first, second, better="higher", groups=None, draws=200):
    return compare(first, second, better=better, groups=groups, draws=draws, seed=0)


def test_difference_interval_and_test():
    differences = np.array(FIRST) - np.array(SECOND)
    found = paired(FIRST, SECOND)
    assert found.difference == pytest.approx(differences.mean())
    assert found.median == pytest.approx(np.median(differences))
    assert found.interval == pytest.approx(bootstrap_interval(differences, draws=200, seed=0))
    assert found.p_value == pytest.approx(wilcoxon(differences).pvalue)
    assert (found.n_better, found.n_worse) == ((differences > 0).sum(), (differences < 0).sum())


def test_smaller_distances_are_better():
    found = paired([1.0, 2.0, 3.0], [2.0, 3.0, 1.0], better="lower")
    assert (found.n_better, found.n_worse, found.n_equal) == (2, 1, 0)


def test_a_description_has_no_winner():
    found = paired([1.0, 2.0], [2.0, 3.0], better=None)
    assert (found.n_better, found.n_worse, found.difference) == (None, None, -1.0)


def test_swapping_turns_the_sign():
    there, back = paired(FIRST, SECOND), paired(SECOND, FIRST)
    assert there.difference == -back.difference
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert there.p_value == pytest.approx(back.p_value)
    assert there.n_better == back.n_worse


def test_all_zero_differences():
    found = paired(FIRST, [value + 1e-15 for value in FIRST])
    assert (found.difference, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert (found.n_equal, found.reason) == (12, "all differences are zero")


def test_zero_differences_are_dropped_from_the_test():
    found = paired([*FIRST, 0.5, 0.6], [*SECOND, 0.5, 0.6])
    assert found.p_value == paired(FIRST, SECOND).p_value
    assert found.n_equal == 2


def test_only_pairs_count():
    found = paired([0.5, None, 0.7, float("nan")], [0.4, 0.4, None, 0.2])
    assert (found.n, found.n_unpaired) == (1, 3)
    assert found.difference == pytest.approx(0.1)


def test_without_a_pair():
    found = paired([0.5, None], [None, None])
    assert (found.difference, found.p_value, found.reason) == (
        None,
        None,
        "no case has both values",
    )


def test_groups_are_one_observation():
    groups = [index // 2 for index in range(12)]
    means = (np.array(FIRST) - np.array(SECOND)).reshape(6, 2).mean(axis=1)
    found = paired(FIRST, SECOND, groups=groups)
    assert found.p_value == pytest.approx(wilcoxon(means).pvalue)
    assert found.interval == pytest.approx(bootstrap_interval(means, draws=200, seed=0))


def test_groups_that_cancel():
    found = paired([0.6, 0.5], [0.5, 0.6], groups=["a", "a"])
    assert found.p_value == pytest.approx(1.0)
