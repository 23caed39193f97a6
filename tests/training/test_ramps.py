"""Closed forms, limits and monotony."""

import math

import pytest

from llmseg_cli.training.ramps import learning_rate_factor, sigmoid_ramp


@pytest.mark.parametrize(
    ("progress", "length", "expected"),
    [
        (0.0, 1.0, math.exp(-5)),
        (0.5, 1.0, math.exp(-1.25)),
        (1.0, 1.0, 1.0),
        (0.1, 0.2, math.exp(-1.25)),
        (0.2, 0.2, 1.0),
        (0.9, 0.2, 1.0),
        (0.0, 0.0, 1.0),
    ],
)
def test_sigmoid_ramp(progress, length, expected):
    assert sigmoid_ramp(progress, length=length) == pytest.approx(expected, rel=1e-12)


def test_the_ramp_of_the_paper_in_its_own_units():
    """w(t) = exp(-5 (1 - min(t, T) / T)^2), T = 40 epochs of 4 steps, 9,000 steps in all."""
    for step in (0, 1, 79, 159, 160, 161, 8999):
        expected = math.exp(-5 * (1 - min(step, 160) / 160) ** 2)
        assert sigmoid_ramp(step / 9000, length=160 / 9000) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("schedule", ["poly", "cosine", "step", "constant"])
def test_the_learning_rate_starts_full_and_never_grows(schedule):
    rates = [learning_rate_factor(schedule, step, steps=60, warmup=0) for step in range(60)]
    assert rates[0] == 1
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0


def test_closed_forms():
    assert learning_rate_factor("poly", 4500, steps=9000, warmup=0) == pytest.approx(0.5**0.9)
    assert learning_rate_factor("cosine", 50, steps=100, warmup=0) == pytest.approx(0.5)
    assert learning_rate_factor("constant", 99, steps=100, warmup=0) == 1


@pytest.mark.parametrize(("step", "tenths"), [(0, 0), (2499, 0), (2500, 1), (4999, 1), (5000, 2)])
def test_uamt_divides_by_ten_every_2500_of_6000_steps(step, tenths):
    factor = learning_rate_factor("step", step, steps=6000, warmup=0)
    assert factor == pytest.approx(0.1**tenths)


def test_warmup_grows_linearly_and_then_follows_the_schedule():
    rates = [learning_rate_factor("constant", step, steps=20, warmup=4) for step in range(8)]
    assert rates == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    late = learning_rate_factor("cosine", 10, steps=20, warmup=4)
    assert late == learning_rate_factor("cosine", 10, steps=20, warmup=0)
