"""A network with a denoiser behind it: its samples, their spread, and what it is told."""

import pytest
import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.denoised import Denoised
from llmseg_cli.models.denoiser import ANCHORS, SEMANTICS
from llmseg_cli.models.unetpp import UNetPlusPlus
from llmseg_cli.models.vnet import VNet
from llmseg_cli.numerics.noise_schedule import ddim_step, kept_shares

SIDES = {2: (32, 16), 3: (16, 32, 16)}
SMALL = {"filters": 4, "levels": 2, "blocks": 1, "heads": 2}
each_dimension = pytest.mark.parametrize("dimensions", [2, 3])


def made(dimensions: int = 2, *, classes: int = 3, seed: int = 0, **options) -> Denoised:
    torch.manual_seed(seed)
    backbone = VNet(1, classes, dimensions=dimensions, filters=2, dropout=0.0)
    found = Denoised(backbone, **{**SMALL, **options}).eval()
    nn.init.normal_(found.output.weight, std=0.5)  # it starts at 0, and says nothing
    return found


def picture(dimensions: int = 2, *, count: int = 2) -> Tensor:
    return torch.randn(count, 1, *SIDES[dimensions], generator=torch.Generator().manual_seed(1))


def noise_for(image: Tensor, samples: int, classes: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(len(image), samples, classes, *image.shape[2:], generator=generator)


@each_dimension
@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("semantic", SEMANTICS)
@torch.no_grad()
def test_the_anchor_and_the_semantic_condition_count_where_they_are(dimensions, anchor, semantic):
    """With what is told of another image the answer is another, unless nothing is told."""
    network = made(dimensions, anchor=anchor, semantic=semantic, prediction="mask")
    image = picture(dimensions)
    noisy, times = noise_for(image, 1)[:, 0], torch.tensor([3, 700])
    said = network(image, noisy=noisy, times=times)[0]
    for module in network.backbone.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            module.weight.data.mul_(-1)
    other = network(image, noisy=noisy, times=times)[0]
    assert torch.equal(said, other) == (anchor == semantic == "none")


@each_dimension
@pytest.mark.parametrize("prediction", ["residual", "mask", "noise"])
@torch.no_grad()
def test_the_answer_is_a_probability_and_the_mean_of_samples(dimensions, prediction):
    network, image = (
        made(dimensions, prediction=prediction, samples=3, steps=2),
        picture(dimensions),
    )
    answer = network(image)
    assert answer.shape == (2, 3, *SIDES[dimensions])
    torch.testing.assert_close(answer.exp().sum(1), torch.ones(2, *SIDES[dimensions]))
    start = noise_for(image, 3)
    mean, spread = network(image, start=start, steps=2)
    alone = [network(image, start=start[:, [s]], steps=2) for s in range(3)]
    shares = torch.stack([one.exp() for one, _ in alone])
    torch.testing.assert_close(mean.exp(), shares.mean(0), atol=1e-6, rtol=1e-5)
    expected = shares.var(0, correction=0).sum(1) / (1 - 1 / 3)
    torch.testing.assert_close(spread, expected, atol=1e-6, rtol=1e-4)
    assert not any(own.any() for _, own in alone)  # of one sample
    assert 1e-4 < spread.max() <= 1


@torch.no_grad()
def test_the_sampler_is_its_formula():
    """Three steps of DDIM, written out, with noise that the denoiser says."""
    network, image = made(prediction="noise"), picture(count=1)
    start = noise_for(image, 1)
    kept = kept_shares("linear", 1000)
    current = start[:, 0]
    for time, following in ((999, 500), (500, 0), (0, None)):
        said = network(image, noisy=current, times=torch.tensor([time]))[0]
        clean = (current - (1 - kept[time]).sqrt() * said) / kept[time].sqrt()
        share = ((clean.clamp(-1, 1) + 1) / 2).clamp_min(1e-12)
        share = (share / share.sum(1, keepdim=True)).float()
        ahead = 1.0 if following is None else float(kept[following])
        current = ddim_step(current, 2 * share - 1, float(kept[time]), ahead)
    found, _ = network(image, start=start, steps=3)
    torch.testing.assert_close(found.exp(), share, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_denoiser_that_knows_the_mask_answers_with_it():
    network, image = made(prediction="mask", steps=4), picture()
    true = torch.randint(3, (2, *SIDES[2]), generator=torch.Generator().manual_seed(2))
    sure = 60.0 * nn.functional.one_hot(true, 3).movedim(-1, 1)
    network.denoiser.forward = lambda noisy, times, condition: sure
    answer, spread = network(image, start=noise_for(image, 4), steps=4)
    assert torch.equal(answer.argmax(1), true)
    assert spread.max() < 1e-6


@torch.no_grad()
def test_two_samples_that_are_sure_of_two_classes_are_as_far_as_can_be():
    network, image = made(classes=2, prediction="mask", samples=2, steps=1), picture(count=1)

    def by_sign(noisy: Tensor, times: Tensor, condition: object) -> Tensor:
        return 90.0 * noisy.sign()

    network.denoiser.forward = by_sign
    start = torch.ones(1, 2, 2, *SIDES[2])
    start[:, 0, 0], start[:, 1, 1] = -1, -1
    answer, spread = network(image, start=start, steps=1)
    torch.testing.assert_close(answer.exp(), torch.full_like(answer, 0.5))
    torch.testing.assert_close(spread, torch.ones_like(spread))
    _, spread = network(image, start=start[:, [0, 0, 0, 1]], steps=1)
    torch.testing.assert_close(spread, torch.full_like(spread, 0.75))  # 2 * 3/4 * 1/4 / (1/2)


@torch.no_grad()
def test_noise_is_of_a_seed_and_the_same_for_every_image():
    network, image = made(steps=2, samples=2), picture()
    torch.manual_seed(1)
    answer = network(image)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(network(image), answer)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(network(image[1:]), answer[1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(image.flip(0)), answer.flip(0), rtol=1e-4, atol=1e-5)
    other = made(steps=2, samples=2, noise_seed=1)
    assert not torch.allclose(other(image), answer, atol=1e-3)


@torch.no_grad()
def test_what_a_denoiser_says_depends_on_noise_and_time():
    network, image = made(), picture()
    for module in network.denoiser.unet.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.any():  # MONAI's last of a block
            nn.init.normal_(module.weight, std=0.1)
    start = noise_for(image, 2)
    first, second = start.unbind(1)
    times = torch.tensor([10, 10])
    said = network(image, noisy=first, times=times)[0]
    assert not torch.allclose(network(image, noisy=second, times=times)[0], said)
    assert not torch.allclose(network(image, noisy=first, times=times + 700)[0], said)


def test_at_first_it_answers_as_the_network_that_it_is_around():
    torch.manual_seed(0)
    network = Denoised(VNet(1, 3, dimensions=2, filters=2), **SMALL).eval()
    image = picture()
    with torch.no_grad():
        expected = network.backbone(image).softmax(1)
        torch.testing.assert_close(network(image).exp(), expected)


@each_dimension
def test_the_anchor_is_trained_by_its_own_loss_alone(dimensions):
    network = made(dimensions, semantic="none").train()
    image = picture(dimensions)
    said, anchor = network(image, noisy=noise_for(image, 1)[:, 0], times=torch.tensor([1, 9]))
    said.square().sum().backward()
    assert all(p.grad is None for p in network.backbone.parameters())
    assert network.denoiser.gate.reduce.weight.grad.any()
    anchor.square().sum().backward()
    assert network.backbone.output.weight.grad.any()
    network = made(dimensions).train()  # the semantic condition is trained by both
    said, _ = network(image, noisy=noise_for(image, 1)[:, 0], times=torch.tensor([1, 9]))
    said.square().sum().backward()
    assert network.backbone.output.weight.grad is None
    assert any(p.grad is not None and p.grad.any() for p in network.backbone.parameters())


@torch.no_grad()
def test_encoding_and_decoding_are_the_answer():
    network, image = made(steps=2, samples=1), picture()
    torch.testing.assert_close(network.decode(*network.encode(image)), network(image))
    factors = torch.full((2, network.bottleneck_channels), 0.3)
    assert not torch.allclose(network(image, factors=factors), network(image))


def test_every_head_of_the_network_is_given_to_be_trained():
    backbone = UNetPlusPlus(1, 3, dimensions=2, filters=2, depth=2, deep_supervision=True)
    network, image = Denoised(backbone, **SMALL).train(), picture()
    noisy, times = noise_for(image, 1)[:, 0], torch.tensor([1, 9])
    answers = network(image, noisy=noisy, times=times)
    assert len(answers) == 1 + len(backbone(image, heads=True))
    torch.testing.assert_close(answers[0], torch.stack(answers[1:]).mean(0))  # it starts there


@each_dimension
def test_it_is_built_without_memory(dimensions):
    """As where a run is opened, to see whether its weights fit."""
    expected = {key: value.shape for key, value in made(dimensions).state_dict().items()}
    with torch.device("meta"):
        sketch = Denoised(VNet(1, 3, dimensions=dimensions, filters=2, dropout=0.0), **SMALL)
    found = sketch.state_dict()
    assert {value.device.type for value in found.values()} == {"meta"}
    assert {key: value.shape for key, value in found.items()} == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction": "nois"}, "prediction of diffusion 'nois'.*'noise'"),
        ({"schedule": "line"}, "schedule of diffusion 'line'.*'linear'"),
        ({"anchor": "gates"}, "anchor of diffusion 'gates'.*'gate'"),
        ({"semantic": "bandpass"}, "semantic of diffusion 'bandpass'.*'band-pass'"),
        ({"heads": 3}, "heads is 3, and the denoiser's coarsest level has 8 channels"),
    ],
)
def test_a_wrong_word_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        made(**options)


def test_sides_that_the_denoiser_does_not_halve_are_refused():
    network = made(levels=6)
    assert network.grid_of((64, 32)) == (4, 2)
    with pytest.raises(UsageError, match="48 x 32: diffusion needs sides that are multiples of 32"):
        network.grid_of((48, 32))


def test_a_network_without_bottleneck_has_no_semantic_condition():
    from llmseg_cli.registry import MODELS

    plain = MODELS.load("monai:HighResNet")(1, 2, dimensions=2)
    with pytest.raises(UsageError, match=r"no bottleneck.*semantic=none"):
        Denoised(plain, **SMALL)
    network = Denoised(plain, semantic="none", steps=1, samples=1, **SMALL).eval()
    assert network(torch.randn(1, 1, 8, 8)).shape == (1, 2, 8, 8)
