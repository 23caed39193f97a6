"""Steps laid over a budget of time, by a clock that the test turns."""

import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from llmseg_cli.artifacts.run_files import STATE
from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import StoppedError
from llmseg_cli.training.clock import Clock
from llmseg_cli.training.log import RATE, logged
from llmseg_cli.training.loop import Loop
from llmseg_cli.training.pace import Pace
from llmseg_cli.training.ramps import learning_rate_factor
from llmseg_cli.training.stop import StopRequest

BUDGET_S = 60.0


class Now:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


PACES: dict[str, Callable[[int], float]] = {  # step to its seconds
    "even": lambda step: 0.25,
    "slow at first": lambda step: 5.0 if step == 0 else 0.1,
    "ever slower": lambda step: 0.1 + 0.002 * step,
    "ever faster": lambda step: max(0.05, 1.0 - 0.01 * step),
    "twice as slow from half on": lambda step: 0.2 if step < 150 else 0.4,
    "restless": lambda step: (0.05, 0.4, 0.1)[step % 3],
    "few steps": lambda step: 7.0,
}


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("validation_s", [0.0, 2.0])
def test_it_ends_within_the_budget_whatever_the_pace_does(pace, validation_s):
    now, done, longest = Now(), 0, 0.0
    clock, measured, every = Clock(BUDGET_S, now=now), Pace(now), 50
    clock.start(0.0)
    measured.start()
    factor = 1.0
    steps = 2000
    while done < steps:
        factor = learning_rate_factor("poly", done, steps=steps, warmup=0)
        longest = max(longest, PACES[pace](done))
        now.seconds += PACES[pace](done)
        done += 1
        measured.step()
        steps = clock.steps(
            done,
            step_s=measured.step_s or 0.0,
            validation_s=measured.validation_s,
            validate_every=every,
        )
        if done % every == 0 or done == steps:
            with measured.validating():
                now.seconds += validation_s
    assert clock.used_s <= BUDGET_S + longest
    assert clock.used_s >= BUDGET_S - longest - 3 * validation_s
    assert done > 5
    assert factor <= 1.5 * (1 / done) ** 0.9 or factor < 0.1  # nearly 0 at the end


def test_steps_are_those_that_the_time_left_has_room_for():
    now = Now()
    clock = Clock(100.0, now=now)
    asked = {"step_s": 2.0, "validation_s": 0.0, "validate_every": 10}
    assert clock.steps(1, **asked) == 1 + 50
    now.seconds += 40
    assert clock.used_s == 40
    assert clock.steps(21, **asked) == 21 + 30
    # The last validation takes 5 s, and so does one after each 10 steps: 55 s for 2.5 s a step.
    assert clock.steps(21, **(asked | {"validation_s": 5.0})) == 21 + 22
    assert clock.steps(20, **(asked | {"validation_s": 5.0})) == 20 + 20  # and one comes now
    now.seconds += 58.5
    assert clock.steps(51, **asked) == 52  # 1.5 s are nearer to a step than to none
    now.seconds += 0.6
    assert clock.steps(51, **asked) == 51
    now.seconds += 1000
    assert clock.steps(51, **asked) == 51


def test_a_budget_shorter_than_a_step_is_one_step():
    now = Now()
    clock = Clock(0.5, now=now)
    clock.start(0.0)
    now.seconds += 3.0
    assert clock.steps(1, step_s=3.0, validation_s=0.0, validate_every=500) == 1


def test_steps_that_take_no_time_go_on():
    clock = Clock(5.0, now=Now())
    assert clock.steps(3, step_s=0.0, validation_s=0.0, validate_every=500) > 100


def test_time_that_another_process_used_is_gone():
    now = Now()
    clock = Clock(100.0, used_s=30.0, now=now)
    assert clock.used_s == 30
    clock.start(70.0)
    now.seconds += 10
    assert clock.used_s == 80
    assert clock.steps(5, step_s=1.0, validation_s=0.0, validate_every=500) == 25


class Timed(nn.Module):
    """Learns a number, in so many seconds a step; remembers the progress that it was told."""

    def __init__(self, now: Now, seconds: float) -> None:
        super().__init__()
        self.network = nn.Linear(1, 1, bias=False)
        self.now, self.seconds = now, seconds
        self.told: list[float] = []

    def losses(self, batch, *, progress: float):
        self.now.seconds += self.seconds
        self.told.append(progress)
        return {"loss": self.network(batch).square().mean()}

    def observed(self):
        return {}

    def after_step(self, step: int) -> None:
        pass

    def judges(self) -> tuple[nn.Module, ...]:
        return ()

    def networks(self):
        return {"network": self.network}


def timed_loop(folder, now: Now, seconds: float, **changes) -> Loop:
    settings = TrainSettings(
        **{"budget": "20s", "log_every": 1, "steps": 5, "precision": "fp32", "learning_rate": 0.02}
        | changes
    )
    folder.mkdir(exist_ok=True)
    loop = Loop(Timed(now, seconds), settings, folder=folder, device=torch.device("cpu"))
    loop.clock, loop.pace = Clock(settings.budget_s, now=now), Pace(now)
    return loop


def batches() -> Iterator[torch.Tensor]:
    return itertools.repeat(torch.ones(1, 1))


def rates(folder) -> list[float]:
    return [line[RATE] for line in logged(folder) if RATE in line]


def test_a_loop_takes_the_steps_that_fit_and_its_rate_ends_at_nothing(tmp_path):
    now = Now()
    loop = timed_loop(tmp_path / "run", now, 0.1)
    trained = loop.run(batches(), StopRequest())
    assert trained.steps == pytest.approx(200, abs=2)
    assert now.seconds - 1000 == pytest.approx(20, abs=0.2)
    found = rates(tmp_path / "run")
    assert found[0] == 0.02
    assert found[-1] < 0.01 * 0.02
    told = loop.learner.told
    assert told[1:] == sorted(told[1:])
    assert told[-1] == pytest.approx(1.0, abs=0.01)


def test_one_step_is_taken_however_short_the_budget(tmp_path):
    assert timed_loop(tmp_path / "run", Now(), 90.0).run(batches(), StopRequest()).steps == 1


def test_a_stopped_loop_goes_on_with_the_time_and_the_rate_that_are_left(tmp_path):
    now, stop = Now(), StopRequest()
    loop = timed_loop(tmp_path / "run", now, 0.01, log_every=1)

    def stopping() -> Iterator[torch.Tensor]:
        for step in itertools.count():
            if step == 1500:  # more than the steps of the settings, and of the default
                stop.signal = "SIGTERM"
            yield torch.ones(1, 1)

    with pytest.raises(StoppedError, match="saved after step 150"):
        loop.run(stopping(), stop)
    now.seconds += 10_000  # it lies there for a while
    again = timed_loop(tmp_path / "run", now, 0.01, log_every=1)
    again.resume()
    begun = now.seconds
    trained = again.run(batches(), StopRequest())
    assert trained.steps == pytest.approx(2000, abs=5)
    assert now.seconds - begun == pytest.approx(5, abs=0.1)
    found = rates(tmp_path / "run")
    assert len(found) == trained.steps
    steps = range(len(found))
    wanted = [0.02 * (1 - step / trained.steps) ** 0.9 for step in steps]
    assert found[10:] == pytest.approx(wanted[10:], abs=0.0005)


def test_a_loop_that_had_no_time_left_is_done(tmp_path):
    now = Now()
    first = timed_loop(tmp_path / "run", now, 0.5).run(batches(), StopRequest())
    assert (tmp_path / "run" / STATE).is_file()
    again = timed_loop(tmp_path / "run", now, 0.5)
    again.resume()
    assert again.run(batches(), StopRequest()).steps == first.steps
    assert again.learner.told == []
