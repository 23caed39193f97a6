"""Means and intervals over seeds and cases, against loops and laws."""

from statistics import fmean, stdev

import numpy as np
import pytest
from scipy.stats import wilcoxon

from llmseg_cli.metrics import bootstrap
from llmseg_cli.metrics.bootstrap import bootstrap_interval, interval_over_seeds
from llmseg_cli.metrics.comparison import compare
from llmseg_cli.metrics.seeds import compare_seeds, summarize_seeds
from llmseg_cli.metrics.summary import summarize

RANDOM = np.random.default_rng(20240705)
CASES = RANDOM.uniform(0.6, 0.9, 7)
VALUES = CASES + RANDOM.normal(0, 0.05, (4, 7))  # 4 seeds, 7 cases
LIKE = {"groups": None, "draws": 300, "seed": 5}


def rows(values: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(v) else float(v) for v in row] for row in values]


def looped(tops: np.ndarray, bottoms: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    """Resample by resample: cases, then seeds, then the mean of the seeds' own ratios."""
    cases, seeds = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    count, width = tops.shape
    found = []
    for _ in range(draws):
        drawn_cases = [int(cases.integers(0, width)) for _ in range(width)]
        drawn_seeds = [int(seeds.integers(0, count)) for _ in range(count)]
        own = []
        for s in drawn_seeds:
            top = sum(tops[s, i] for i in drawn_cases)
            bottom = sum(bottoms[s, i] for i in drawn_cases)
            own.append(top / bottom if bottom else np.nan)
        if np.isfinite(fmean(own)):
            found.append(fmean(own))
    return float(np.percentile(found, 2.5)), float(np.percentile(found, 97.5))


def test_equals_a_loop_over_resamples() -> None:
    ones = np.ones_like(VALUES)
    found = interval_over_seeds(VALUES.tolist(), draws=300, seed=5)
    assert found == pytest.approx(looped(VALUES, ones, 300, 5), rel=1e-12)
    weights = RANDOM.integers(0, 3, VALUES.shape).astype(float)
    found = interval_over_seeds((VALUES * weights).tolist(), weights.tolist(), draws=200, seed=2)
    assert found == pytest.approx(looped(VALUES * weights, weights, 200, 2), rel=1e-12)


def test_one_seed_is_the_interval_over_cases() -> None:
    row = VALUES[:1]
    groups = ["a", "a", "b", "c", "c", "d", "e"]
    for own in (None, groups):
        found = interval_over_seeds(row.tolist(), groups=own, draws=200, seed=1)
        assert found == bootstrap_interval(row[0].tolist(), groups=own, draws=200, seed=1)
    assert summarize_seeds(rows(row), **LIKE).cases == summarize(row[0].tolist(), **LIKE)


def test_seeds_that_agree_add_nothing() -> None:
    same = np.repeat(VALUES[:1], 4, axis=0)
    found = summarize_seeds(rows(same), **LIKE)
    alone = summarize(VALUES[0].tolist(), **LIKE)
    assert found.cases.interval == pytest.approx(alone.interval, rel=1e-12)
    assert found.cases.mean == pytest.approx(alone.mean)
    assert found.seeds.std == pytest.approx(0, abs=1e-15)


def test_seeds_that_differ_widen_it() -> None:
    shift = np.array([[-0.2], [-0.1], [0.1], [0.2]])
    steady, shaken = np.tile(CASES, (4, 1)), CASES + shift
    widths = []
    for values in (steady, shaken):
        low, high = summarize_seeds(rows(values), **LIKE).cases.interval or (0, 0)
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_the_variance_is_that_of_cases_and_seeds() -> None:
    """For case plus seed effects, the variance of a mean is the sum of two plug-in variances."""
    cases, seeds = RANDOM.normal(0, 1, 40), RANDOM.normal(0, 0.5, 8)
    values = cases + seeds[:, None]
    low, high = interval_over_seeds(values.tolist(), draws=20000, seed=0) or (0, 0)
    expected = 2 * 1.96 * np.sqrt(cases.var() / 40 + seeds.var() / 8)
    assert high - low == pytest.approx(expected, rel=0.04)


def test_drawing_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = interval_over_seeds(VALUES.tolist(), draws=50, seed=3)
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", 20)
    assert interval_over_seeds(VALUES.tolist(), draws=50, seed=3) == whole


def test_groups_are_drawn_together() -> None:
    groups = ["a", "a", "a", "b", "b", "c", "c"]
    sums = np.array([[row[:3].sum(), row[3:5].sum(), row[5:].sum()] for row in VALUES])
    sizes = np.tile([3.0, 2.0, 2.0], (4, 1))
    found = interval_over_seeds(VALUES.tolist(), groups=groups, draws=200, seed=4)
    assert found == pytest.approx(looped(sums, sizes, 200, 4), rel=1e-12)


def test_the_summary() -> None:
    found = summarize_seeds(rows(VALUES), **LIKE)
    means = VALUES.mean(axis=1)
    assert found.seeds.means == pytest.approx(tuple(means))
    assert found.seeds.std == pytest.approx(stdev(means))
    of_cases = VALUES.mean(axis=0)
    assert found.cases.mean == pytest.approx(VALUES.mean())
    assert found.cases.std == pytest.approx(stdev(of_cases))
    assert found.cases.median == pytest.approx(np.median(of_cases))
    assert (found.cases.n, found.cases.reason) == (7, "")


def test_values_that_are_missing() -> None:
    holed = VALUES.copy()
    holed[1, 2] = np.nan
    holed[:, 5] = np.nan
    found = summarize_seeds(rows(holed), **LIKE)
    means = np.nanmean(holed, axis=1)
    assert found.seeds.means == pytest.approx(tuple(means))
    assert found.cases.mean == pytest.approx(means.mean())
    assert found.cases.n == 6
    kept = np.delete(holed, 5, axis=1)
    there = (~np.isnan(kept)).astype(float)
    expected = looped(np.nan_to_num(kept), there, 300, 5)
    assert found.cases.interval == pytest.approx(expected, rel=1e-12)


def test_nothing_and_undefined() -> None:
    nothing = summarize_seeds([[None, None], [None, None]], **LIKE)
    assert (nothing.cases.mean, nothing.cases.reason) == (None, "no case has a value")
    undefined = summarize_seeds([[0.5, float("nan")], [0.5, 0.6]], **LIKE)
    assert undefined.cases.mean is None
    assert "undefined in 1 of 2 cases" in undefined.cases.reason
    none = summarize_seeds([[0.5, 0.6]] * 2, groups=None, draws=0, seed=0)
    assert (none.cases.interval, none.cases.reason) == (None, "no bootstrap was asked for")


def test_a_comparison_is_paired_by_seed_and_case() -> None:
    other = VALUES - 0.01 + RANDOM.normal(0, 0.02, VALUES.shape)
    found = compare_seeds(rows(VALUES), rows(other), better="higher", **LIKE)
    differences = VALUES - other
    assert found.cases.difference == pytest.approx(differences.mean())
    expected = looped(differences, np.ones_like(differences), 300, 5)
    assert found.cases.interval == pytest.approx(expected, rel=1e-12)
    assert found.seeds.means == pytest.approx(tuple(differences.mean(axis=1)))
    of_cases = differences.mean(axis=0)
    assert found.cases.p_value == pytest.approx(wilcoxon(of_cases).pvalue)
    assert found.cases.n_better == (of_cases > 0).sum()
    assert (found.cases.n, found.cases.n_unpaired) == (7, 0)


def test_a_comparison_of_one_seed_is_the_paired_one() -> None:
    first, second = rows(VALUES[:1]), rows(VALUES[1:2])
    found = compare_seeds(first, second, better="lower", **LIKE).cases
    alone = compare(first[0], second[0], better="lower", **LIKE)
    assert found == alone


def test_a_comparison_without_partners() -> None:
    first, second = rows(VALUES), rows(VALUES)
    first[0][0], second[1][1] = None, None
    found = compare_seeds(first, second, better="higher", **LIKE).cases
    assert (found.difference, found.n, found.n_unpaired) == (0, 7, 2)
    assert found.p_value == 1.0
