"""One optimizer over two networks is one optimizer per network, bit for bit."""

from collections.abc import Callable
from itertools import chain

import pytest
import torch
from torch import nn

from llmseg_cli.config import TrainSettings
from llmseg_cli.models.vnet import VNet
from llmseg_cli.training.optimizers import build_optimizer, set_rate

STEPS = 8


def settings(optimizer: str) -> TrainSettings:
    return TrainSettings(optimizer=optimizer, learning_rate=0.01, weight_decay=1e-2)


def two_networks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [VNet(1, 2, dimensions=2, filters=2, dropout=0).train() for _ in range(2)]


def train(networks: list[nn.Module], step: Callable[[torch.Tensor], None]) -> None:
    """Both networks learn, and from each other, as in co-training."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        image = torch.randn(2, 1, 16, 32, generator=generator)
        first, second = (network(image) for network in networks)
        peer = (first - second.detach()).square().mean() + (second - first.detach()).abs().mean()
        step(first.square().mean() + second.exp().mean() + peer)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_one_optimizer_for_both_equals_one_for_each(optimizer):
    together = two_networks()
    joint = build_optimizer(chain(*(n.parameters() for n in together)), settings(optimizer))

    def step_together(loss: torch.Tensor) -> None:
        joint.zero_grad(set_to_none=True)
        loss.backward()
        joint.step()

    apart = two_networks()
    own = [build_optimizer(network.parameters(), settings(optimizer)) for network in apart]

    def step_apart(loss: torch.Tensor) -> None:
        for each in own:
            each.zero_grad(set_to_none=True)
        loss.backward()
        for each in own:
            each.step()

    train(together, step_together)
    train(apart, step_apart)
    start = two_networks()
    for joined, alone, before in zip(together, apart, start, strict=True):
        for name, value in joined.state_dict().items():
            assert torch.equal(value, alone.state_dict()[name]), name
        assert not torch.equal(joined.output.weight, before.output.weight)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
)
def test_settings_arrive(name, kind):
    network = nn.Linear(2, 2)
    found = build_optimizer(network.parameters(), settings(name))
    assert type(found) is kind
    group = found.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.01, 1e-2)
    if name == "sgd":
        assert group["momentum"] == 0.9


def test_sgd_against_its_formula():
    parameter = nn.Parameter(torch.tensor([2.0]).double())
    found = build_optimizer(
        [parameter], TrainSettings(optimizer="sgd", learning_rate=0.1, weight_decay=0.5)
    )
    value, velocity = 2.0, 0.0
    for step in range(5):
        parameter.grad = parameter.detach() * 3
        found.step()
        gradient = 3 * value + 0.5 * value
        velocity = gradient if step == 0 else 0.9 * velocity + gradient
        value -= 0.1 * velocity
        assert parameter.item() == pytest.approx(value, rel=1e-12)


def test_an_encoder_learns_at_its_own_rate():
    """Plain descent of a linear loss: each step takes the rate off, and a third of it."""
    chosen = TrainSettings(
        optimizer="sgd",
        momentum=0,
        weight_decay=0,
        learning_rate=0.3,
        image_encoder_learning_rate_factor=1 / 3,
    )
    first, encoder, last = (nn.Parameter(torch.tensor(1.0).double()) for _ in range(3))
    found = build_optimizer([first, encoder, last], chosen, encoder=[encoder])
    for factor in (1.0, 0.5):
        set_rate(found, chosen, factor=factor)
        for parameter in (first, encoder, last):
            parameter.grad = torch.ones_like(parameter)
        found.step()
    values = [parameter.item() for parameter in (first, encoder, last)]
    assert values == pytest.approx([1 - 0.45, 1 - 0.15, 1 - 0.45])


def test_at_the_same_rate_there_is_one_group():
    parameters = [nn.Parameter(torch.ones(1)) for _ in range(2)]
    found = build_optimizer(parameters, TrainSettings(), encoder=parameters[1:])
    assert len(found.param_groups) == 1


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(("device", "fused"), [("cpu", True), ("meta", False)])
def test_one_kernel_steps_where_torch_has_one(name, device, fused):
    weights = [nn.Parameter(torch.ones(2, device=device))]
    made = build_optimizer(weights, settings(name))
    assert made.defaults["fused"] is fused
