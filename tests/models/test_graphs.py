"""torch.compile sees the default networks as one graph: nothing in them falls back to Python."""

import pytest
import torch

from llmseg_cli.registry import MODELS


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("name", "options", "sides"),
    [
        ("unet", {"filters": 2}, (32, 32, 32)),
        ("vnet", {"filters": 2}, (16, 16, 16)),
        ("unetpp", {"filters": 2, "deep_supervision": True}, (32, 32)),
        ("vit", {}, (32, 32)),
    ],
)
def test_a_network_is_one_graph_without_breaks(name, options, sides, training):
    network = MODELS.load(name)(1, 2, dimensions=len(sides), **options).train(training)
    torch._dynamo.reset()
    found = torch._dynamo.explain(network)(torch.randn(2, 1, *sides))
    assert [reason.reason for reason in found.break_reasons] == []
    assert (found.graph_count, found.graph_break_count) == (1, 0)


def test_a_value_that_is_asked_for_is_seen_as_a_break():
    class Asking(torch.nn.Module):
        def forward(self, image):
            return image * float(image.mean().item())

    torch._dynamo.reset()
    assert torch._dynamo.explain(Asking())(torch.randn(2, 1, 4)).graph_break_count > 0
