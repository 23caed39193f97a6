"""Grad-CAM beside MONAI's, by hand, and of every network."""

import pytest
import torch
from monai.visualize import GradCAM
from torch import nn

from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.gradient_maps import drawn_anew, grad_cam, parts
from llmseg_cli.registry import MODELS

SIDES = {2: (64, 32), 3: (32, 64, 32)}
OURS = (
    "catformer",
    "medt",
    "medvisionllama",
    "resenc",
    "seunet-trans",
    "transunet",
    "unet",
    "unetpp",
    "vit",
    "vnet",
)


class ByHand(Segmenter):
    """Its bottleneck is the image, and its logit of class 1 a weighted sum of it."""

    def __init__(self, weights):
        super().__init__(in_channels=2, classes=2, dimensions=2, bottleneck_channels=2, stride=1)
        self.weights = weights

    def encode(self, image):
        return image, []

    def decode(self, bottleneck, skips):
        score = (bottleneck * self.weights.view(1, 2, 1, 1)).sum(dim=1)
        return torch.stack([torch.zeros_like(score), score], dim=1)


def everywhere(image, classes=1):
    return torch.ones(len(image), classes, *image.shape[2:], dtype=torch.bool)


def test_by_hand():
    image = torch.tensor([[[[1.0, 2], [3, 4]], [[1, 0], [0, 1]]]])
    network = ByHand(torch.tensor([1.0, -4.0]))
    found, _ = grad_cam(network, image, classes=[1], voxels=everywhere(image))
    assert found[0, 0].tolist() == [[0, 2], [3, 0]]
    scaled, _ = grad_cam(
        ByHand(torch.tensor([3.0, -12.0])), image, classes=[1], voxels=everywhere(image)
    )
    assert torch.equal(scaled, 3 * found)
    predicted, _ = grad_cam(network, image, classes=[1])
    assert torch.equal(predicted, 0.5 * found)  # two voxels of four are predicted


def test_logits_that_ignore_the_bottleneck_give_zeros():
    class Deaf(ByHand):
        def decode(self, bottleneck, skips):
            return torch.zeros(len(bottleneck), 2, *bottleneck.shape[2:])

    image = torch.randn(1, 2, 4, 4)
    found, _ = grad_cam(Deaf(torch.ones(2)), image, classes=[1], voxels=everywhere(image))
    assert torch.equal(found, torch.zeros(1, 1, 4, 4))


class Masked(nn.Module):
    """Logits that are 0 outside of some voxels, for MONAI sums all."""

    def __init__(self, network, voxels):
        super().__init__()
        self.network, self.voxels = network, voxels

    def forward(self, image):
        return self.network(image) * self.voxels


MONAI = ("monai:BasicUNet", "monai:SegResNet", "monai:DynUNet", "monai:SwinUNETR")


@pytest.mark.parametrize("region", ["all", "half"])
@pytest.mark.parametrize("name", [*MONAI, "unet"])
def test_it_is_that_of_monai(name, region):
    torch.manual_seed(0)
    network = MODELS.load(name)(1, 3, dimensions=2).eval().requires_grad_(True)
    place = network.place.path if name in MONAI else "encoder.4"
    image = torch.randn(1, 1, 64, 96)
    voxels = everywhere(image, 2)
    if region == "half":
        voxels[:, :, :32] = False
    found, logits = grad_cam(network, image, classes=[1, 2], voxels=voxels)
    assert torch.allclose(logits, network(image), atol=1e-6)
    inner = network.network if name in MONAI else network
    for index, number in enumerate((1, 2)):
        wrapped = Masked(inner, voxels[:, index : index + 1])
        theirs = GradCAM(wrapped, target_layers=f"network.{place}", postprocessing=lambda x: x)
        expected = theirs(image, class_idx=number)
        assert expected.max() > 0
        difference = (found[:, index : index + 1] - expected).abs().max()
        assert difference < 1e-5 * expected.max(), (name, number)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", OURS)
def test_every_network_has_one_that_its_weights_decide(name, dimensions):
    torch.manual_seed(0)
    network = MODELS.load(name)(1, 3, dimensions=dimensions, filters=4).eval()
    for one in network.parameters():  # heads may start at 0
        if not one.any():
            nn.init.normal_(one, std=0.1)
    network.requires_grad_(False)
    image = torch.randn(1, 1, *SIDES[dimensions])
    state = {key: value.clone() for key, value in network.state_dict().items()}
    found, _ = grad_cam(network, image, classes=[1, 2], voxels=everywhere(image, 2))
    assert found.shape == (1, 2, *image.shape[2:])
    assert found.isfinite().all()
    assert found.min() >= 0
    assert found.max() > 0
    named = parts(network, image)
    assert set(named["decoder"]) < set(named["all"])
    assert named["decoder"]
    assert not any(one.requires_grad for one in network.parameters())
    for names in named.values():
        anew = drawn_anew(network, names, seed=0)
        changed = {n for n, one in anew.named_parameters() if not torch.equal(one, state[n])}
        assert changed <= set(names)
        other, _ = grad_cam(anew, image, classes=[1, 2], voxels=everywhere(image, 2))
        assert not torch.equal(other, found)
    same = {key: torch.equal(value, state[key]) for key, value in network.state_dict().items()}
    assert all(same.values())


def test_what_is_drawn_anew_has_the_mean_and_spread_that_it_had():
    network = MODELS.load("unet")(1, 2, dimensions=2, filters=8)
    names = {n for n, one in network.named_parameters() if one.numel() > 5000}
    anew = drawn_anew(network, names, seed=1)
    again = drawn_anew(network, names, seed=1)
    for name, one in network.named_parameters():
        drawn = anew.get_parameter(name)
        assert torch.equal(drawn, again.get_parameter(name))
        if name not in names:
            assert torch.equal(drawn, one)
            continue
        assert abs(torch.corrcoef(torch.stack([drawn.flatten(), one.flatten()]))[0, 1]) < 0.05
        assert abs(drawn.mean() - one.mean()) < 0.05 * one.std()
        assert abs(drawn.std() / one.std() - 1) < 0.05
