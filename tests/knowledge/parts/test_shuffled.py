"""The control whose weights keep their values and lose their order."""

import torch
from torch import nn

from llmseg_cli.knowledge.parts.shuffled import shuffled


def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.LayerNorm(6))
    for value in made.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape))
    made[1].num_batches_tracked.fill_(17)
    return made


def test_values_stay_and_their_order_is_lost():
    before = network().state_dict()
    after = shuffled(before, seed=3)
    assert list(after) == list(before)
    for name, value in before.items():
        assert after[name].shape == value.shape
        assert after[name].dtype == value.dtype
        assert torch.equal(after[name].flatten().sort()[0], value.flatten().sort()[0])
        assert torch.equal(after[name], value) == name.endswith("num_batches_tracked"), name
    network().load_state_dict(after)


def test_a_channel_of_a_batch_normalization_keeps_its_four_numbers():
    before = network().state_dict()
    after = shuffled(before, seed=3)
    names = [f"1.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    sets = [
        {tuple(channel) for channel in torch.stack([state[n] for n in names], dim=1).tolist()}
        for state in (before, after)
    ]
    assert sets[0] == sets[1]
    # Of another layer each tensor has an order of its own.
    pairs = [set(zip(s["3.weight"].tolist(), s["3.bias"].tolist(), strict=True))
             for s in (before, after)]  # fmt: skip
    assert pairs[0] != pairs[1]


def test_the_order_is_that_of_the_seed_and_nothing_else_is_drawn():
    before = network().state_dict()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (shuffled(before, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(one[name], same[name]) for name in before)
    assert not torch.equal(one["0.weight"], other["0.weight"])


def test_the_order_is_lost_across_kernels_and_not_within_them_alone():
    """Each output filter of the result has values of several filters of the original."""
    weight = torch.arange(6.0)[:, None, None, None].expand(6, 3, 3, 3).contiguous()
    found = shuffled({"weight": weight}, seed=0)["weight"]
    assert all(len(kernel.unique()) > 3 for kernel in found)
