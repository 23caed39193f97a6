"""Seconds a step and seconds left, by a clock that the test turns."""

import pytest
import torch

from llmseg_cli.training.pace import WINDOW, Pace, memory_mb


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    found = Pace(clock)
    clock.now += 50  # batches are prepared
    found.start()
    return found


def steps(pace: Pace, clock: Clock, *seconds: float) -> None:
    for each in seconds:
        clock.now += each
        pace.step()


def test_nothing_is_known_before_the_first_step(pace):
    assert pace.step_s is None


def test_the_first_step_counts_until_there_is_another(pace, clock):
    steps(pace, clock, 30)
    assert pace.step_s == 30
    steps(pace, clock, 2)
    assert pace.step_s == 2
    steps(pace, clock, 4)
    assert pace.step_s == 3


def test_the_pace_is_that_of_late(pace, clock):
    steps(pace, clock, 9, *[5] * WINDOW, *[1] * WINDOW)
    assert pace.step_s == pytest.approx(1)


def test_interruptions_are_no_part_of_a_step(pace, clock):
    steps(pace, clock, 1, 1)
    with pace.validating():
        clock.now += 60
    with pace.paused():  # a mining
        clock.now += 600
    steps(pace, clock, 1)
    assert pace.step_s == 1


def test_what_is_left_has_steps_and_validations(pace, clock):
    steps(pace, clock, 7, 2)
    assert pace.left_s(10, 3) == 20
    with pace.validating():
        clock.now += 5
    assert pace.left_s(10, 3) == 35
    assert pace.left_s(0, 0) == 0


@pytest.mark.skipif(memory_mb(torch.device("cpu")) is None, reason="nothing says it here")
def test_the_memory_of_this_process():
    before = memory_mb(torch.device("cpu"))
    held = torch.ones(150, 2**20)  # 600 MiB, and others may give some back meanwhile
    assert before is not None
    assert memory_mb(torch.device("cpu")) - before > 150
    del held
