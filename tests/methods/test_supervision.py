"""One pass, one loss: for networks with one head, with several, and with none to speak of."""

from collections import Counter
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.methods.supervision import supervise
from llmseg_cli.models.resenc import ResEnc
from llmseg_cli.models.text_features import TextFeatures
from llmseg_cli.models.text_fusion import TextFused
from llmseg_cli.models.unet import UNet
from llmseg_cli.models.unetpp import UNetPlusPlus
from llmseg_cli.models.vnet import VNet
from llmseg_cli.registry import METHODS, methods_of_labels

SIDES = (32, 16)
BUILDERS = {
    "module": lambda: nn.Conv2d(1, 3, 1),
    "vnet": lambda: VNet(1, 3, dimensions=2, filters=2),
    "unetpp": lambda: UNetPlusPlus(1, 3, dimensions=2, filters=2, dropout=0.2),
    "deep": lambda: UNetPlusPlus(1, 3, dimensions=2, filters=2, deep_supervision=True),
}


def make_network(name: str, *, with_text: bool = False) -> nn.Module:
    torch.manual_seed(0)
    network = BUILDERS[name]()
    if not with_text:
        return network
    ids = torch.tensor([[[101, 2000, 102], [101, 3000, 102]]])
    text = TextFeatures(ids, torch.ones_like(ids).bool(), torch.randn(1, 2, 4))
    return TextFused(network, text, patch=SIDES)


def make_images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(5, 1, *SIDES, generator=generator)
    return images, torch.randint(3, (2, *SIDES), generator=generator)


@pytest.mark.parametrize("name", ["module", "vnet", "unetpp"])
def test_with_one_head_it_is_the_loss_to_the_bit(name):
    network, (images, target) = make_network(name), make_images()
    torch.manual_seed(2)
    expected = network(images)
    labeled, _ = expected.split([2, 3])
    loss = dice_cross_entropy(labeled, target)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    torch.manual_seed(2)
    logits, found = supervise(network, images, target)
    assert torch.equal(logits, expected)
    assert torch.equal(found, loss)
    again = torch.autograd.grad(found, list(network.parameters()))
    assert all(map(torch.equal, gradients, again))


@pytest.mark.parametrize("with_text", [False, True])
def test_with_several_heads_it_is_the_mean_of_their_losses(with_text):
    network, (images, target) = make_network("deep", with_text=with_text), make_images()
    torch.manual_seed(2)
    heads = network(images, heads=True)
    torch.manual_seed(2)
    logits, loss = supervise(network, images, target)
    torch.testing.assert_close(logits, sum(heads) / 4)
    torch.testing.assert_close(loss, sum(dice_cross_entropy(h[:2], target) for h in heads) / 4)
    assert not torch.isclose(loss, dice_cross_entropy(logits[:2], target))
    loss.backward()
    outputs = (network.backbone if with_text else network).outputs
    assert all(output.weight.grad.any() for output in outputs)


@pytest.mark.parametrize("name", ["vnet", "deep"])
@pytest.mark.parametrize("with_text", [False, True])
def test_the_network_is_called_once_and_hooks_hear_it(name, with_text):
    network, (images, target) = make_network(name, with_text=with_text), make_images()
    heard = []
    network.register_forward_pre_hook(lambda module, given: heard.append(given))
    supervise(network, images, target)
    assert len(heard) == 1


@pytest.mark.parametrize("name", ["vnet", "deep"])
def test_a_compiled_network_stays_compiled(name):
    network, (images, target) = make_network(name), make_images()
    used = []

    def compiled(*args, **options):
        used.append(options)
        return network._call_impl(*args, **options)

    network._compiled_call_impl = compiled  # as network.compile() does
    supervise(network, images, target)
    assert len(used) == 1


COARSER = {  # networks whose other heads are coarser, as nnU-Net's
    "vnet": VNet,
    "unet": UNet,
    "resenc": partial(ResEnc, stages=5, blocks="1"),
}
each_coarser = pytest.mark.parametrize("name", COARSER)
each_dimension = pytest.mark.parametrize("dimensions", [2, 3])


def make_deep(name: str, dimensions: int) -> nn.Module:
    torch.manual_seed(0)
    options = {"filters": 4, "dropout": 0.0, "normalization": "group"}
    return COARSER[name](1, 3, dimensions=dimensions, deep_supervision=True, **options)


def make_scans(dimensions: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    sides = (32, 16, 48)[:dimensions]
    images = torch.randn(3, 1, *sides, generator=generator)
    return images, torch.randint(3, (2, *sides), generator=generator)


@each_coarser
@each_dimension
@pytest.mark.parametrize("is_partly_known", [False, True])
def test_coarser_heads_learn_a_coarser_target_with_the_weights_of_nnunet(
    name, dimensions, is_partly_known
):
    network, (images, target) = make_deep(name, dimensions), make_scans(dimensions)
    known = torch.rand(target.shape) < 0.7 if is_partly_known else None
    heads = network(images, heads=True)
    sides = [tuple(head.shape[2:]) for head in heads]
    assert sides == [tuple(side // n for side in images.shape[2:]) for n in (1, 2, 4)]
    expected = torch.zeros(())
    for head, weight in zip(heads, (4 / 7, 2 / 7, 1 / 7), strict=True):
        pick = partial(F.interpolate, size=head.shape[2:], mode="nearest-exact")
        coarse = pick(target[:, None].float())[:, 0].long()
        counts = None if known is None else pick(known[:, None].float())[:, 0].bool()
        expected = expected + weight * dice_cross_entropy(head[:2], coarse, known=counts)
    logits, loss = supervise(network, images, target, known=known)
    torch.testing.assert_close(loss, expected)
    assert torch.equal(logits, heads[0])
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@each_coarser
@each_dimension
def test_the_head_of_full_size_predicts_also_with_text(name, dimensions):
    network = make_deep(name, dimensions).eval()
    images, _ = make_scans(dimensions)
    assert torch.equal(network(images), network(images, heads=True)[0])
    ids = torch.tensor([[[101, 2000, 102], [101, 3000, 102]]])
    text = TextFeatures(ids, torch.ones_like(ids).bool(), torch.randn(1, 2, 4))
    fused = TextFused(network, text, patch=images.shape[2:]).eval()
    heads = fused(images, heads=True)
    assert len(heads) == 3
    assert torch.equal(fused(images), heads[0])


@each_coarser
def test_without_the_option_there_is_no_other_head(name):
    plain, deep = (
        Counter(tuple(value.shape) for value in network.state_dict().values())
        for network in (COARSER[name](1, 3, filters=4, normalization="group"), make_deep(name, 3))
    )
    assert deep - plain == Counter({(3, 8, 1, 1, 1): 1, (3, 16, 1, 1, 1): 1, (3,): 2})
    assert not plain - deep


@pytest.mark.parametrize("name", methods_of_labels())
def test_every_method_trains_coarser_heads(name):
    torch.manual_seed(0)
    method = METHODS.load(name)(
        lambda: UNet(1, 3, dimensions=2, filters=2, dropout=0, deep_supervision=True)
    )
    images, target = make_images()
    batch = SemiBatch(images[:2], target, images[2:])
    sum(method.losses(batch, progress=1.0).values()).backward()
    for network in method.networks().values():
        for head in getattr(network, "backbone", network).coarser:
            trained = head.weight.requires_grad
            assert not trained or head.weight.grad.abs().sum() > 0


def test_copy_paste_without_boxes_is_half_the_supervised_loss_of_all_heads():
    torch.manual_seed(0)
    method = METHODS.load("copy-paste")(
        lambda: UNet(1, 3, dimensions=2, filters=2, dropout=0, deep_supervision=True), box=0.0
    )
    images, target = make_images()
    found = method.losses(SemiBatch(images[:2], target, images[2:]), progress=1.0)
    _, expected = supervise(method.student, images[:2], target)  # normalization is by instance
    torch.testing.assert_close(found["supervised"], expected / 2)
    with torch.no_grad():
        labels = method.teacher.eval()(images[2:]).argmax(1)
    _, taught = supervise(method.student, images[2:], labels)
    torch.testing.assert_close(found["copy_paste"], method.weight * taught / 2)
