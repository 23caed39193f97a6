"""Activations that are computed again: the same training, less memory."""

import copy

import pytest
import torch

from llmseg_cli.models.base import Segmenter, recompute_activations
from llmseg_cli.models.text_features import TextFeatures
from llmseg_cli.models.text_fusion import TextFused
from llmseg_cli.registry import MODELS

CASES = [
    ("vnet", {"dropout": 0.3}),
    ("unet", {"dropout": 0.3}),
    ("unet", {"deep_supervision": True}),
    ("unetpp", {"dropout": 0.3, "deep_supervision": True}),
    ("resenc", {"dropout": 0.3, "stages": 4, "blocks": "1,2,2,1"}),
    ("resenc", {"normalization": "batch", "stages": 4}),
    ("vit", {"dropout": 0.3, "hybrid_attention": "inferred"}),
    ("medvisionllama", {"dropout": 0.3}),
    ("transunet", {"dropout": 0.3}),
    ("transunet", {"dropout": 0.3, "convolutions": "r50"}),
    ("seunet-trans", {"dropout": 0.3}),
    ("medt", {"dropout": 0.3}),
    ("cascade", {"dropout": 0.3}),
    ("merit", {"dropout": 0.3}),
    ("catformer", {"dropout": 0.3, "width": 24, "layers": 1}),
    ("catformer", {"detail": "maps", "convolutions": "r50", "width": 24, "layers": 1}),
]


def made(name: str, options: dict) -> Segmenter:
    torch.manual_seed(0)
    network: Segmenter = MODELS.load(name)(1, 2, dimensions=2, filters=8, **options)
    return network.train()


def learned(network: Segmenter) -> tuple[torch.Tensor, int]:
    """Train three steps; the last logits, and bytes that its forward pass kept outside blocks."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    image = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    for _ in range(3):
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = network(image)
        optimizer.zero_grad()
        logits.square().mean().backward()
        optimizer.step()
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    return logits.detach(), sum(size for place, size in kept.items() if place not in weights)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_trains_to_the_same_weights_and_statistics(name, options):
    plain = made(name, options)
    saving = copy.deepcopy(plain)
    recompute_activations(saving)
    expected, kept = learned(plain)
    found, kept_less = learned(saving)
    assert torch.equal(found, expected)
    for key, value in plain.state_dict().items():  # with batch normalization's statistics
        assert torch.equal(saving.state_dict()[key], value), key
    assert kept_less < 0.6 * kept


def test_a_network_with_text_recomputes_its_backbone():
    text = TextFeatures(torch.ones(1, 2, 3).long(), torch.ones(1, 2, 3).bool(), torch.ones(1, 2, 5))
    plain = TextFused(made("vnet", {"dropout": 0.3}), text, patch=(32, 32)).train()
    saving = copy.deepcopy(plain)
    recompute_activations(saving)
    expected, kept = learned(plain)
    found, kept_less = learned(saving)
    assert torch.equal(found, expected)
    assert kept_less < 0.6 * kept


def test_without_gradient_nothing_is_kept_or_computed_twice():
    network = made("vnet", {})
    recompute_activations(network)
    calls = []
    network.encoder[0].register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        network(torch.zeros(2, 1, 32, 32))
    assert calls == [1]
    network(torch.zeros(2, 1, 32, 32)).sum().backward()
    assert calls == [1, 1, 1]
