"""The games by hand, and the penalty of critics whose slope is known."""

import pytest
import torch

from llmseg_cli.losses.adversarial import adversarial_loss, critic_loss, gradient_penalty


def test_least_squares_by_hand():
    half = torch.full((3, 4), 0.5)
    assert adversarial_loss(half, kind="least-squares").item() == 0.25
    assert critic_loss(half, half, kind="least-squares").item() == 0.25
    ones, zeros = torch.ones(2), torch.zeros(5)
    assert critic_loss(ones, zeros, kind="least-squares").item() == 0
    assert critic_loss(zeros, ones, kind="least-squares").item() == 1
    assert adversarial_loss(ones, kind="least-squares").item() == 0


def test_hinge_and_wasserstein_by_hand():
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-2.0, 0.5])
    assert critic_loss(real[:1], fake[:1], kind="hinge").item() == 0
    assert critic_loss(real, fake, kind="hinge").item() == (0.25 + 0.75) / 2
    assert critic_loss(real, fake, kind="wgan-gp").item() == -0.75 - 1.25
    for kind in ("hinge", "wgan-gp"):
        assert adversarial_loss(fake, kind=kind).item() == 0.75


@pytest.mark.parametrize(("slope", "expected"), [((3.0, 4.0), 16.0), ((0.6, 0.8), 0.0)])
def test_the_penalty_is_of_the_length_of_the_slope(slope, expected):
    weights = torch.tensor(slope, requires_grad=True)

    def critic(judged: torch.Tensor) -> torch.Tensor:
        return (judged * weights.view(1, 2, 1, 1)).sum(dim=(1, 2, 3))[:, None]

    real, fake = torch.randn(3, 2, 1, 1), torch.randn(5, 2, 1, 1)
    found = gradient_penalty(critic, real, fake)
    assert found.item() == pytest.approx(expected, abs=1e-5)
    found.backward()
    if expected:  # d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|
        torch.testing.assert_close(weights.grad, 8 * weights.detach() / 5)


def test_the_penalty_is_taken_between_real_and_fake():
    """A critic whose slope is 1 between -1 and 1 and 3 elsewhere has none there."""

    def critic(judged: torch.Tensor) -> torch.Tensor:
        near = judged.abs() <= 1
        return torch.where(near, judged, 3 * judged).flatten(1)

    real, fake = torch.full((20, 1, 1, 1), 1.0), torch.full((20, 1, 1, 1), -1.0)
    assert gradient_penalty(critic, real, fake).item() == 0
    assert gradient_penalty(critic, 5 * real, 5 * real).item() == 4
