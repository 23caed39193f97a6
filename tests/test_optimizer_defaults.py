"""Learning rate and weight decay that nobody gave are those of the optimizer."""

import pytest

from llmseg_cli.config import TrainSettings


@pytest.mark.parametrize(
    ("optimizer", "rate", "decay"),
    [("adam", 0.002, 0.0), ("adamw", 0.002, 0.01), ("sgd", 0.05, 1e-4)],
)
def test_they_follow_the_optimizer(optimizer, rate, decay):
    found = TrainSettings(optimizer=optimizer)
    assert (found.learning_rate, found.weight_decay) == (rate, decay)
    given = TrainSettings(optimizer=optimizer, learning_rate=0.5, weight_decay=0.0)
    assert (given.learning_rate, given.weight_decay) == (0.5, 0.0)
