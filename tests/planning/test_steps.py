"""Steps within a budget of time."""

import pytest

from llmseg_cli.planning.steps import FEWEST, MOST, SHARE, START_S, in_words, steps_within


@pytest.mark.parametrize("seconds", [60.0, 300.0, 1800.0, 7200.0])
@pytest.mark.parametrize("step_s", [0.05, 0.3, 1.7, 4.0])
def test_they_fit_with_room_for_what_comes_on_top(seconds, step_s):
    steps = steps_within(seconds, step_s).value
    fitting = (seconds - START_S) * SHARE / step_s
    if fitting < FEWEST:
        assert steps == FEWEST
    elif fitting < MOST:
        assert 0.9 * fitting - 1 <= steps <= 1.05 * fitting
        assert steps * step_s < seconds


def test_more_time_or_a_faster_step_is_never_fewer_steps():
    times = [steps_within(float(s), 0.4).value for s in range(10, 4000, 37)]
    paces = [steps_within(600.0, 10.0 / n).value for n in range(1, 400, 7)]
    assert times == sorted(times)
    assert paces == sorted(paces)


def test_bounds_and_reasons():
    little = steps_within(5.0, 2.0)
    assert little.value == FEWEST
    assert little.reason.startswith("the fewest that teach anything; 5 s is too short")
    assert steps_within(1e6, 0.001).value == MOST
    enough = steps_within(1800.0, 0.5)
    assert enough.value == 3000  # 1790 s * 0.85 / 0.5 s are 3,043
    assert enough.reason == "what fits into 30 min (0.5 s a step, of three that were timed here)"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(30, "30 s"), (600, "10 min"), (5400, "90 min"), (7200, "2 h"), (36000, "10 h")],
)
def test_a_budget_in_words(seconds, words):
    assert in_words(seconds) == words
