"""Who learns from whom, on which view, with which noise: against the formula written out."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.losses.unified_segmentation import unified_segmentation
from llmseg_cli.methods import usl as module
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.methods.perturb import paste
from llmseg_cli.methods.usl import Usl
from llmseg_cli.models.vnet import VNet
from llmseg_cli.training.ramps import sigmoid_ramp

SIDES = (10, 8, 3)


class Heard(nn.Module):
    """A voxel-wise network that remembers every image it was asked about, and how."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(1, 2, 1)
        self.images: list[Tensor] = []
        self.with_gradient: list[bool] = []
        self.modes: list[bool] = []

    def forward(self, image: Tensor) -> Tensor:
        self.images.append(image)
        self.with_gradient.append(torch.is_grad_enabled())
        self.modes.append(self.training)
        return self.layer(image)


def make_method(**options) -> Usl:
    torch.manual_seed(0)
    return Usl(Heard, **({"peer": "clean", "weight": 1.0} | options)).train()


def make_batch() -> SemiBatch:
    generator = torch.Generator().manual_seed(1)
    return SemiBatch(
        torch.rand(2, 1, *SIDES, generator=generator),
        torch.randint(2, (2, *SIDES), generator=generator),
        torch.rand(3, 1, *SIDES, generator=generator),
    )


@pytest.fixture
def fixed_mix(monkeypatch):
    """Partners and boxes that the test knows; partners cross labeled and unlabeled."""
    partners = torch.tensor([4, 2, 0, 1, 3])
    boxes = torch.zeros(5, *SIDES[:2], dtype=torch.bool)
    for sample in range(5):
        boxes[sample, sample : sample + 4, 2:6] = True
    monkeypatch.setattr(torch, "randperm", lambda count: partners)
    monkeypatch.setattr(module, "cutmix_boxes", lambda count, sides, alpha: boxes)
    return partners, boxes


@pytest.mark.parametrize("progress", [0.0, 0.1, 1.0])
def test_equals_the_formula(fixed_mix, progress):
    partners, boxes = fixed_mix
    method, batch = make_method(noise=0.0, weight=0.3, ramp=0.25), make_batch()
    first, second = (copy.deepcopy(network).layer for network in (method.first, method.second))
    losses = method.losses(batch, progress=progress)
    images = batch.all_images()
    mixed = torch.where(boxes[:, None, :, :, None], images[partners], images)[2:]
    answer = first(images)
    peer = torch.where(boxes[:, None, :, :, None], answer[partners], answer)[2:]
    weight = 0.3 * sigmoid_ramp(progress, length=0.25)
    expected = {
        "supervised_first": dice_cross_entropy(first(batch.image), batch.target),
        "supervised_second": dice_cross_entropy(second(batch.image), batch.target),
        "usl_first": weight * unified_segmentation(first(batch.unlabeled), second(batch.unlabeled)),
        "usl_second": weight * unified_segmentation(second(mixed), peer),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, msg=name)


def test_who_sees_what(fixed_mix):
    """A: plain and noisy; B: its labeled images and CutMix, noisy; peers: clean, no gradient."""
    partners, boxes = fixed_mix
    method, batch = make_method(noise=0.2), make_batch()
    method.losses(batch, progress=1.0)
    images = batch.all_images()
    first_peer, first = method.first.images
    second_peer, second = method.second.images
    assert torch.equal(first_peer, images)
    assert torch.equal(second_peer, batch.unlabeled)
    mixed = paste(images, images[partners], boxes)[2:]
    for seen, clean in ((first, images), (second, torch.cat([batch.image, mixed]))):
        share = ((seen - clean).flatten(1).numpy()) / np.ptp(clean.flatten(1).numpy(), 1)[:, None]
        assert 0.19 < np.abs(share).max() <= 0.2 + 1e-5
    assert not torch.allclose(first[:2] - batch.image, second[:2] - batch.image)  # fresh noise
    assert method.first.with_gradient == method.second.with_gradient == [False, True]
    assert method.first.modes == method.second.modes == [True, True]


def test_a_noisy_peer_is_the_training_pass(fixed_mix):
    partners, boxes = fixed_mix
    method, batch = make_method(noise=0.2, peer="noisy"), make_batch()
    losses = method.losses(batch, progress=1.0)
    assert len(method.first.images) == 1
    answer = method.first.layer(method.first.images[0])
    peer = paste(answer, answer[partners], boxes)[2:]
    logits = method.second.layer(method.second.images[1])[2:]
    torch.testing.assert_close(losses["usl_second"], unified_segmentation(logits, peer))


def test_average_peers_answer_clean_and_without_dropout(fixed_mix):
    partners, boxes = fixed_mix
    method, batch = make_method(noise=0.2, peer="average", decay=0.9), make_batch()
    method.after_step(0)  # copies the networks
    with torch.no_grad():
        method.first.layer.bias += 1.0
        method.second.layer.bias -= 2.0
    method.after_step(1)  # at most half of the way so early
    bias = method.first.layer.bias
    torch.testing.assert_close(method.averages[0].layer.bias, bias - 0.5)
    losses = method.losses(batch, progress=1.0)
    first, second = method.averages
    assert torch.equal(first.images[0], batch.all_images())
    assert torch.equal(second.images[0], batch.unlabeled)
    assert first.modes == second.modes == [False]
    assert first.with_gradient == second.with_gradient == [False]
    answer = first.layer(first.images[0])
    expected = {
        "usl_first": unified_segmentation(
            method.first.layer(method.first.images[0])[2:], second.layer(second.images[0])
        ),
        "usl_second": unified_segmentation(
            method.second.layer(method.second.images[0])[2:],
            paste(answer, answer[partners], boxes)[2:],
        ),
    }
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, msg=name)
    assert not {p.data_ptr() for p in method.averages.parameters()} & {
        p.data_ptr() for p in method.parameters() if p.requires_grad
    }


def test_average_peers_start_as_the_networks_that_were_loaded():
    method, batch = make_method(peer="average"), make_batch()
    with torch.no_grad():
        for network in (method.first, method.second):
            network.layer.weight.fill_(7.0)
    method.start()
    for network, average in zip((method.first, method.second), method.averages, strict=True):
        assert torch.equal(network(batch.image), average(batch.image))


def test_a_decay_that_is_late_counts_in_full():
    method = make_method(peer="average", decay=0.9)
    method.after_step(0)
    before = method.averages[1].layer.weight.clone()
    with torch.no_grad():
        method.second.layer.weight += 1.0
    method.after_step(1000)
    torch.testing.assert_close(method.averages[1].layer.weight, before + 0.1)


def test_an_unknown_peer_is_refused():
    with pytest.raises(UsageError, match="Did you mean 'average'"):
        make_method(peer="averge")


@pytest.mark.parametrize("peer", ["clean", "noisy"])
@pytest.mark.parametrize(
    ("term", "learner", "other"),
    [("usl_first", "first", "second"), ("usl_second", "second", "first")],
)
def test_each_is_pulled_towards_the_other_and_the_other_stays(term, learner, other, peer):
    method, batch = make_method(noise=0.0, peer=peer), make_batch()
    with torch.no_grad():
        method.get_submodule(other).layer.bias.copy_(torch.tensor([-3.0, 3.0]))  # foreground
    moved = method.get_submodule(learner).layer
    before = moved(batch.unlabeled).softmax(1)[:, 1].mean()
    for _ in range(20):
        method.zero_grad()
        method.losses(batch, progress=1.0)[term].backward()
        assert method.get_submodule(other).layer.weight.grad is None
        with torch.no_grad():
            for parameter in moved.parameters():
                parameter -= 0.5 * parameter.grad
    assert moved(batch.unlabeled).softmax(1)[:, 1].mean() > before + 0.1


def test_thresholds_arrive(fixed_mix):
    batch = make_batch()
    options = {"threshold_positive": 0.9, "threshold_negative": 0.3}
    losses = make_method(noise=0.0, **options).losses(batch, progress=1.0)
    method = make_method(noise=0.0)
    expected = unified_segmentation(
        method.first.layer(batch.unlabeled), method.second.layer(batch.unlabeled), **options
    )
    torch.testing.assert_close(losses["usl_first"], expected)


def test_clamped_noise_stays_between_0_and_1():
    method = make_method(noise=0.5, noise_clamp=True)
    method.losses(make_batch(), progress=1.0)
    for network in (method.first, method.second):
        noisy = network.images[1]
        assert noisy.min() == 0
        assert noisy.max() == 1


def test_partners_come_from_labeled_and_unlabeled_together():
    """With boxes over everything, the second network sees whole images of the batch."""
    batch, method = make_batch(), make_method(noise=0.0)
    known = {image.sum().item(): index for index, image in enumerate(batch.all_images())}
    everywhere = torch.ones(5, *SIDES[:2], dtype=torch.bool)
    seen = set()
    original = module.cutmix_boxes
    try:
        module.cutmix_boxes = lambda count, sides, alpha: everywhere
        for _ in range(30):
            method.losses(batch, progress=1.0)
            seen |= {known[image.sum().item()] for image in method.second.images[-1][2:]}
    finally:
        module.cutmix_boxes = original
    assert seen == {0, 1, 2, 3, 4}


def test_unequal_numbers_of_labeled_and_unlabeled():
    torch.manual_seed(0)
    method = Usl(lambda: VNet(1, 3, dimensions=2, filters=2))
    for labeled, unlabeled in ((1, 4), (4, 2)):
        batch = SemiBatch(
            torch.randn(labeled, 1, 32, 32),
            torch.randint(3, (labeled, 32, 32)),
            torch.randn(unlabeled, 1, 32, 32),
        )
        assert all(term.isfinite() for term in method.losses(batch, progress=0.5).values())


def test_the_mean_of_both_answers():
    method = make_method()
    assert set(method.networks()) == {"first", "second"}
    assert method.answer == "mean"
