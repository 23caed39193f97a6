"""The plateau schedule, against its definition and through an interruption."""

import torch

from llmseg_cli.training.plateau import Plateau

LOSSES = [1.0, 0.8, *[0.9] * 11, *[0.7] * 12, *[0.75] * 11]  # one per epoch


def by_hand(losses):
    """Halve when 11 epochs in a row were no better than the best one (by 1 in 10,000)."""
    best, waited, factor, factors = float("inf"), 0, 1.0, []
    for loss in losses:
        if loss < best * (1 - 1e-4):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > 10:
            factor, waited = factor / 2, 0
        factors.append(factor)
    return factors


def test_the_factor_is_halved_after_ten_epochs_without_progress():
    plateau, found = Plateau(epoch=1), []
    for loss in LOSSES:
        plateau.add(torch.tensor(loss))
        found.append(plateau.factor)
    assert found == by_hand(LOSSES)
    assert min(found) == 0.125


def test_an_epoch_counts_by_its_mean():
    """Losses that jump from step to step but not from epoch to epoch."""
    plateau, found = Plateau(epoch=4), []
    for loss in LOSSES:
        for shift in (-0.5, 0.5, -0.25, 0.25):
            assert plateau.factor == (found[-1] if found else 1.0)
            plateau.add(torch.tensor(loss + shift))
        found.append(plateau.factor)
    assert found == by_hand(LOSSES)


def test_a_saved_state_goes_on_as_if_never_interrupted():
    whole, steps = Plateau(epoch=3), [loss for loss in LOSSES for _ in range(3)]
    current, factors, resumed = Plateau(epoch=3), [], []
    for number, loss in enumerate(steps):
        whole.add(torch.tensor(loss))
        factors.append(whole.factor)
        if number % 7 == 0:
            state, current = current.state_dict(), Plateau(epoch=3)
            current.load_state_dict(state)
        current.add(torch.tensor(loss))
        resumed.append(current.factor)
    assert resumed == factors
    assert factors[-1] < 1
