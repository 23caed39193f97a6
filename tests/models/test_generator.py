"""A generator has the published size, and takes any patch."""

import pytest
import torch

from llmseg_cli.models.generator import Dropped, Generator


def test_it_has_the_published_parameters():
    generator = Generator(2, 3, dimensions=2)
    assert sum(p.numel() for p in generator.parameters()) == 1_748_483


@pytest.mark.parametrize("sides", [(32, 48), (16, 8), (5, 40), (16, 24, 7)])
def test_any_side_is_painted(sides):
    generator = Generator(4, 2, dimensions=len(sides), filters=2).train()
    assert generator(torch.randn(1, 4, *sides)).shape == (1, 2, *sides)


def test_what_is_missing_is_undecided_and_cut_from_what_is_painted():
    generator = Generator(2, 1, dimensions=2, filters=2).eval()
    logits = torch.randn(1, 2, 40, 32)
    longer = torch.cat([logits, torch.zeros(1, 2, 8, 32)], dim=2)
    torch.testing.assert_close(generator(logits), generator(longer)[:, :, :40])


def test_nothing_goes_around_its_bottleneck():
    """Without skips, an image of constant bottleneck is constant within a token's reach."""
    generator = Generator(2, 1, dimensions=2, filters=2).eval()
    for parameter in generator.down[4][0].parameters():
        parameter.data.zero_()
    one, other = torch.randn(2, 1, 2, 64, 64)
    assert torch.equal(generator(one), generator(other))


def test_dropout_keeps_the_mean_and_rests_in_evaluation():
    dropped, features = Dropped(0.25), torch.ones(8, 4, 32, 32)
    found = dropped.train()(features)
    assert found.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert found.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(dropped.eval()(features), features)
