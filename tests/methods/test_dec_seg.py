"""What `dec-seg` promises beyond every method: its parts one by one, lights and scales."""

import pytest
import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.losses.consistency import mutual_mse
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.methods.colors import recolored
from llmseg_cli.methods.dec_seg import DecSeg
from llmseg_cli.models.unet import UNet
from llmseg_cli.models.vnet import VNet

SIDES = {2: (64, 32), 3: (32, 16, 32)}
each_dimension = pytest.mark.parametrize("dimensions", [2, 3])


def make_method(dimensions: int = 2, *, channels: int = 1, **options) -> DecSeg:
    torch.manual_seed(0)

    def build() -> nn.Module:
        return VNet(channels, 3, dimensions=dimensions, filters=2, dropout=0)

    return DecSeg(build, **{"filters": 2, "ramp": 0.0, **options}).train()


def make_batch(dimensions: int = 2, *, channels: int = 1) -> SemiBatch:
    generator = torch.Generator().manual_seed(1)
    sides = SIDES[dimensions]
    return SemiBatch(
        torch.randn(2, channels, *sides, generator=generator),
        torch.randint(3, (2, *sides), generator=generator),
        torch.randn(3, channels, *sides, generator=generator),
    )


def heard(method: DecSeg) -> list[Tensor]:
    """Fills with the images that the network is asked about."""
    found: list[Tensor] = []
    method.student.register_forward_pre_hook(lambda module, given: found.append(given[0]))
    return found


def test_agreement_by_hand():
    """Two classes, four pixels: both classes differ alike, so the mean is that of one: 0.06."""
    first = torch.tensor([[0.9, 0.2], [0.6, 0.5]])
    second = torch.tensor([[0.7, 0.4], [0.6, 0.1]])
    p, q = (torch.stack([1 - x, x])[None].requires_grad_() for x in (first, second))
    loss = mutual_mse(p, q)
    assert loss.item() == pytest.approx(0.06)
    assert mutual_mse(q, p).item() == loss.item()
    loss.backward()
    assert torch.equal(p.grad, -q.grad)
    assert p.grad.any()


@each_dimension
def test_without_weights_it_is_supervised_training_at_two_scales(dimensions):
    off = {"scale_weight": 0.0, "perturbation_weight": 0.0, "generation_weight": 0.0}
    method, batch = make_method(dimensions, **off), make_batch(dimensions)
    assert not method.generators
    losses = method.losses(batch, progress=1.0)
    silent = {key for key, term in losses.items() if not term}
    assert silent == {"scales", "lights"}
    total = torch.autograd.grad(sum(losses.values()), list(method.parameters()), retain_graph=True)
    supervised = [term for key, term in losses.items() if key.startswith("supervised")]
    alone = torch.autograd.grad(sum(supervised), list(method.parameters()))
    for found, expected in zip(total, alone, strict=True):
        torch.testing.assert_close(found, expected)


@each_dimension
def test_running_averages_are_of_full_size_and_of_plain_light(dimensions):
    """Labeled and unlabeled images alone, once, as any other method has them."""
    method, batch = make_method(dimensions), make_batch(dimensions)
    plain = make_method(dimensions).student
    method.losses(batch, progress=1.0)
    plain(batch.all_images())
    for key, expected in plain.state_dict().items():
        if "running" in key:
            torch.testing.assert_close(method.student.state_dict()[key], expected)
    momenta = {m.momentum for m in method.student.modules() if hasattr(m, "momentum")}
    assert momenta == {0.1}


@each_dimension
@pytest.mark.parametrize("jitter", ["independent", "shared"])
def test_lights_of_the_two_scales(dimensions, jitter):
    method, batch = make_method(dimensions, jitter=jitter), make_batch(dimensions)
    seen = heard(method)
    method.losses(batch, progress=1.0)
    _, lit, copies = seen
    of_lit = copies[-3:]
    small = copies.shape[2:]
    assert tuple(small) == tuple(max(16, side // 2) for side in SIDES[dimensions])
    found = nn.functional.adaptive_avg_pool3d(lit, small) if dimensions == 3 else None
    if found is None:
        found = nn.functional.adaptive_avg_pool2d(lit, small)
    difference = (found - of_lit).abs().flatten(1).amax(1)
    assert (difference < 1e-4).all() == (jitter == "shared")


def directions(method: DecSeg, batch: SemiBatch) -> dict[str, list[bool]]:
    """Which passes learn from a term: full size, in another light, copies."""
    answers: list[Tensor] = []
    method.student.register_forward_hook(lambda module, given, answer: answers.append(answer))
    losses = method.losses(batch, progress=1.0)
    found = {}
    for term in ("scales", "lights", "generation"):
        gradients = torch.autograd.grad(losses[term], answers, retain_graph=True, allow_unused=True)
        found[term] = [g is not None and bool(g.any()) for g in gradients]
    return found


def test_both_sides_learn_as_published_or_one_teaches_the_other():
    batch = make_batch()
    both = {"scales": [True] * 3, "lights": [True] * 3, "generation": [True, True, False]}
    assert directions(make_method(), batch) == both
    stopped = {
        "scales": [False, False, True],
        "lights": [False, True, True],
        "generation": [True, True, False],
    }
    assert directions(make_method(stop_gradient=True), batch) == stopped


def test_brightness_and_hue():
    image = torch.rand(200, 3, 4, 4) * 0.5
    lit = recolored(image, brightness=0.2, hue=0.0)
    factors = (lit / image).flatten(1)
    torch.testing.assert_close(factors.amin(1), factors.amax(1))
    assert 0.8 <= factors.min() < 0.82
    assert 1.18 < factors.max() <= 1.2
    turned = recolored(image, brightness=0.0, hue=0.05)
    inside = (turned > 0).all(1)  # where nothing was cut
    torch.testing.assert_close(turned.sum(1)[inside], image.sum(1)[inside])
    gray = image[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(recolored(gray, brightness=0.0, hue=0.5), gray)
    around = image - image.mean(1, keepdim=True)
    moved = turned - turned.mean(1, keepdim=True)
    cosines = nn.functional.cosine_similarity(around, moved, dim=1)[inside]
    assert cosines.min() >= torch.tensor(0.05 * 2 * torch.pi).cos() - 1e-3
    assert cosines.min() < 0.97


def test_hue_is_for_three_channels():
    with pytest.raises(UsageError, match="images of 1 channel have no hue"):
        make_method(hue=0.05)
    method = make_method(channels=3, hue=0.05)
    losses = method.losses(make_batch(channels=3), progress=1.0)
    assert all(term.isfinite() for term in losses.values())


def test_an_image_without_contrast_is_painted():
    batch = make_batch()
    batch.unlabeled.fill_(3.0)
    losses = make_method().losses(batch, progress=1.0)
    assert all(term.isfinite() for term in losses.values())


def test_a_network_whose_normalization_needs_two_voxels():
    method = DecSeg(lambda: UNet(1, 2, dimensions=2, filters=2), filters=2).train()
    batch = SemiBatch(
        torch.randn(1, 1, 32, 16), torch.zeros(1, 32, 16).long(), torch.randn(1, 1, 32, 16)
    )
    losses = method.losses(batch, progress=1.0)
    assert all(term.isfinite() for term in losses.values())


def test_an_unknown_jitter_is_refused():
    with pytest.raises(UsageError, match="--method-option jitter 'shred'"):
        make_method(jitter="shred")
