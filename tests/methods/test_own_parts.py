"""Methods that train more than networks: with text, and what of them is kept where."""

import copy

import pytest
import torch
from torch import nn

from llmseg_cli.methods.base import Method, SemiBatch
from llmseg_cli.models.text_features import TextFeatures
from llmseg_cli.models.text_fusion import TextFused
from llmseg_cli.models.vnet import VNet
from llmseg_cli.registry import METHODS

PARTS = {  # method: what it trains besides its networks, and options for small ones
    "affine-consistency": ("chooser.", {"start": 0.0}),
    "dec-seg": ("generators.", {"filters": 2}),
    "adversarial": ("critic.", {"blocks": 1}),
}
SIDES = (48, 32)

each = pytest.mark.parametrize("name", PARTS)


def make_method(name: str, *, with_text: bool = False) -> Method:
    torch.manual_seed(0)

    def build() -> nn.Module:
        network = VNet(2, 3, dimensions=2, filters=2, normalization="group")
        if not with_text:
            return network
        ids = torch.tensor([[[101, 2000, 102]], [[101, 3000, 102]]])
        text = TextFeatures(ids, torch.ones_like(ids).bool(), torch.randn(2, 1, 4))
        return TextFused(network, text, patch=SIDES)

    made: Method = METHODS.load(name)(build, **PARTS[name][1])
    return made.train()


def make_batch() -> SemiBatch:
    generator = torch.Generator().manual_seed(1)
    return SemiBatch(
        torch.randn(2, 2, *SIDES, generator=generator),
        torch.randint(3, (2, *SIDES), generator=generator),
        torch.randn(3, 2, *SIDES, generator=generator),
    )


@each
def test_text_guides_the_networks_of_such_a_method(name):
    method = make_method(name, with_text=True)
    losses = method.losses(make_batch(), progress=1.0)
    sum(losses.values()).backward()
    assert all(term.isfinite() for term in losses.values())
    (network, *_) = method.networks().values()
    assert all(p.grad.any() for p in network.fusion.parameters() if p.requires_grad)


@each
def test_own_parts_are_in_the_state_and_in_no_network(name):
    method = make_method(name)
    own = {key for key in method.state_dict() if key.startswith(PARTS[name][0])}
    assert own
    of_networks = {id(p) for network in method.networks().values() for p in network.parameters()}
    for key, parameter in method.named_parameters():
        assert (id(parameter) in of_networks) != (key in own)


@each
def test_two_steps_from_a_saved_state_are_those_from_the_method(name):
    """With the optimizer's state and the random state, as the loop keeps them."""
    method = make_method(name)
    optimizer = torch.optim.SGD(
        [p for p in method.parameters() if p.requires_grad], lr=0.01, momentum=0.9
    )

    def step(learner: Method, chosen: torch.optim.Optimizer, number: int) -> None:
        chosen.zero_grad()
        sum(learner.losses(make_batch(), progress=0.5).values()).backward()
        chosen.step()
        learner.after_step(number)

    step(method, optimizer, 0)
    saved = {key: value.clone() for key, value in method.state_dict().items()}
    momenta = copy.deepcopy(optimizer.state_dict())
    random = torch.get_rng_state()
    other = make_method(name)
    other.load_state_dict(saved)
    again = torch.optim.SGD(
        [p for p in other.parameters() if p.requires_grad], lr=0.01, momentum=0.9
    )
    again.load_state_dict(momenta)
    for learner, chosen in ((other, again), (method, optimizer)):
        torch.set_rng_state(random)
        step(learner, chosen, 1)
        step(learner, chosen, 2)
    for key, value in method.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
