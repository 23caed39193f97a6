"""Trust beside Dice, against scipy and loops over cases."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from llmseg_cli.metrics.trust import reliability, risk_coverage, spearman


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("is_tied", [False, True], ids=["all differ", "some are equal"])
def test_the_rank_correlation_is_scipys(seed, is_tied):
    rng = np.random.default_rng(seed)
    first, second = rng.random(17), rng.random(17)
    if is_tied:
        first, second = first.round(1), second.round(1)
    assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_it_is_undefined_of_two_cases_and_of_equal_values():
    assert spearman(np.array([0.1, 0.2]), np.array([0.3, 0.4])) is None
    assert spearman(np.full(5, 0.9), np.arange(5.0)) is None


def test_risk_is_the_mean_loss_of_the_most_trusted():
    rng = np.random.default_rng(3)
    trust, losses = rng.permutation(11) / 10, rng.random(11)
    found, order = risk_coverage(trust, losses), sorted(range(11), key=lambda i: -trust[i])
    expected = [np.mean([losses[i] for i in order[:n]]) for n in range(1, 12)]
    np.testing.assert_allclose(found.risk, expected)
    np.testing.assert_allclose(found.coverage, np.arange(1, 12) / 11)
    assert found.area == pytest.approx(np.mean(expected))


def test_of_equal_trust_the_risk_is_the_mean_over_orders():
    trust, losses = np.array([0.9, 0.5, 0.5, 0.5, 0.1]), np.array([0.1, 0.6, 0.2, 0.4, 0.9])
    rng, found = np.random.default_rng(0), []
    for _ in range(4000):
        ties = trust + rng.random(5) * 1e-6
        found.append(risk_coverage(ties, losses).risk)
    np.testing.assert_allclose(risk_coverage(trust, losses).risk, np.mean(found, axis=0), atol=0.01)


def test_the_best_and_the_worst_order_enclose_all_others():
    rng = np.random.default_rng(1)
    dice = rng.random(20)
    best, worst = reliability(dice, dice), reliability(-dice, dice)
    assert (best.spearman, worst.spearman) == (pytest.approx(1), pytest.approx(-1))
    assert best.curve.area == pytest.approx(best.area_best)
    assert (best.found, best.worst, best.share) == (4, 4, 1)
    assert worst.found == 0
    for _ in range(20):
        other = reliability(rng.random(20), dice)
        assert best.curve.area <= other.curve.area <= worst.curve.area
        assert other.curve.risk[-1] == pytest.approx(1 - dice.mean()) == other.area_random


@pytest.mark.parametrize(("cases", "fifth"), [(1, 1), (5, 1), (6, 2), (10, 2), (11, 3)])
def test_a_fifth_is_rounded_up(cases, fifth):
    dice = np.linspace(0.2, 0.9, cases)
    assert reliability(dice, dice).worst == fifth
