"""The moving average against its closed form."""

import pytest
import torch
from torch import nn

from llmseg_cli.training.ema import frozen_copy, update_average


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2))


def fill(module: nn.Module, value: float) -> None:
    for tensor in module.state_dict().values():
        tensor.fill_(value)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_closed_form(decay):
    current, average = network(0), frozen_copy(network(0))
    expected = 0.0
    for step in range(20):
        value = float(torch.randn((), generator=torch.Generator().manual_seed(step)))
        fill(current, value)
        update_average(average, current, decay=decay, step=step)
        kept = min(decay, 1 - 1 / (step + 1))
        expected = kept * expected + (1 - kept) * value
        weights = [v for v in average.state_dict().values() if v.is_floating_point()]
        assert all(torch.allclose(w, torch.tensor(expected), atol=1e-6) for w in weights)


def test_early_steps_are_a_plain_mean():
    current, average = network(0), frozen_copy(network(1))
    for step in range(10):
        fill(current, float(step))
        update_average(average, current, decay=0.99, step=step)
    torch.testing.assert_close(average[0].weight, torch.full_like(average[0].weight, 4.5))


def test_the_first_update_is_a_copy():
    current, average = network(0), frozen_copy(network(1))
    update_average(average, current, decay=0.99, step=0)
    for name, value in current.state_dict().items():
        assert torch.equal(value, average.state_dict()[name])


def test_integer_buffers_are_copied_and_statistics_averaged():
    current, average = network(0), frozen_copy(network(0))
    current(torch.randn(2, 1, 3, 3, 3))
    current(torch.randn(2, 1, 3, 3, 3))
    update_average(average, current, decay=0.75, step=100)
    assert average[1].num_batches_tracked == 2
    torch.testing.assert_close(average[1].running_mean, 0.25 * current[1].running_mean)


def test_bool_buffers_are_copied():
    current, average = network(0), network(1)
    for module, value in ((current, True), (average, False)):
        module.register_buffer("mask", torch.tensor([value]))
    update_average(average, current, decay=0.9, step=50)
    assert average.get_buffer("mask").item() is True


def test_a_copy_shares_nothing_and_takes_no_gradient():
    current = network(0)
    average = frozen_copy(current)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in current.parameters())
    average[0].weight.fill_(7)
    assert not (current[0].weight == 7).any()


def test_the_average_does_not_follow_the_memory_of_the_network():
    """After the copy of step 0, a change of the network alone leaves the average."""
    current, average = network(0), frozen_copy(network(1))
    update_average(average, current, decay=0.5, step=0)
    before = average[0].weight.clone()
    fill(current, 3)
    assert torch.equal(average[0].weight, before)
