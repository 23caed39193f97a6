"""What `adversarial` promises beyond every method: who learns what, and that nothing runs away."""

import copy

import pytest
import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.losses.adversarial import KINDS, adversarial_loss, critic_loss
from llmseg_cli.methods.adversarial import Adversarial, joined
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.models.critic import Critic
from llmseg_cli.models.vnet import VNet

SIDES = {2: (32, 16), 3: (16, 32, 16)}
each_dimension = pytest.mark.parametrize("dimensions", [2, 3])


def make_method(dimensions: int = 2, *, channels: int = 2, **options) -> Adversarial:
    torch.manual_seed(0)

    def build() -> nn.Module:
        return VNet(channels, 3, dimensions=dimensions, filters=2, dropout=0)

    return Adversarial(build, **{"blocks": 1, **options}).train()


def make_batch(dimensions: int = 2, *, known: bool = True) -> SemiBatch:
    generator = torch.Generator().manual_seed(1)
    sides = SIDES[dimensions]
    target = torch.randint(3, (2, *sides), generator=generator)
    if not known:
        target[:, ::2] = 255
    return SemiBatch(
        torch.randn(2, 2, *sides, generator=generator),
        target,
        torch.randn(3, 2, *sides, generator=generator),
        has_unknown=not known,
    )


def owned(method: Adversarial, part: str) -> list[nn.Parameter]:
    return list(getattr(method, part).parameters())


@each_dimension
@pytest.mark.parametrize("kind", KINDS)
def test_each_loss_teaches_its_own_side(dimensions, kind):
    method = make_method(dimensions, kind=kind)
    losses = method.losses(make_batch(dimensions), progress=1.0)
    for term, silent, taught in (
        ("critic", "network", "critic"),
        ("adversarial", "critic", "network"),
    ):
        parts = {part: owned(method, part) for part in ("network", "critic")}
        for part, parameters in parts.items():
            found = torch.autograd.grad(
                losses[term], parameters, retain_graph=True, allow_unused=True
            )
            if part == silent:
                assert all(gradient is None for gradient in found)
            else:
                assert part == taught
                assert any(gradient is not None and gradient.any() for gradient in found)


@pytest.mark.parametrize("kind", ["least-squares", "hinge"])
def test_one_backward_pass_gives_the_gradients_of_two(kind):
    """As two optimizers would have them: one of a frozen critic, one of a frozen network."""
    method = make_method(kind=kind, noise=0.0, spectral=False, weight=0.4, critic_rate=0.5)
    batch = make_batch()
    twin = copy.deepcopy(method)
    sum(method.losses(batch, progress=1.0).values()).backward()
    logits, supervised = twin.supervise(twin.network, batch.all_images(), batch)
    images = batch.all_images()
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    judged = joined((images - low) / (high - low), logits.softmax(1), how="product")
    for parameter in twin.critic.parameters():
        parameter.requires_grad_(False)
    first = supervised + 0.4 * adversarial_loss(twin.critic(judged[2:]), kind=kind)
    first.backward()
    for parameter in twin.critic.parameters():
        parameter.requires_grad_(True)
    scores = twin.critic(judged.detach())
    (0.5 * critic_loss(scores[:2], scores[2:], kind=kind)).backward()
    for (key, found), expected in zip(method.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, msg=key)


def test_image_and_mask_meet():
    unit, mask = torch.rand(2, 2, 4, 5), torch.randint(3, (2, 4, 5))
    hot = torch.stack([mask == k for k in range(3)], dim=1).float()
    product = joined(unit, hot, how="product")
    assert product.shape == (2, 4, 4, 5)
    for k in (1, 2):
        inside = torch.where(mask[:, None] == k, unit, 0)
        assert torch.equal(product[:, 2 * (k - 1) : 2 * k], inside)
    swapped = joined(unit, hot[:, [0, 2, 1]], how="product")
    assert torch.equal(swapped, product[:, [2, 3, 0, 1]])
    two = joined(unit, hot[:, :2], how="product")  # as published, the image times its mask
    assert torch.equal(two, unit * hot[:, [1]])
    assert torch.equal(joined(unit, hot, how="mask"), hot[:, 1:])
    assert torch.equal(joined(unit, hot, how="concat"), torch.cat([unit, hot[:, 1:]], dim=1))


@pytest.mark.parametrize("joint", ["product", "concat", "mask"])
@pytest.mark.parametrize("known", [True, False])
def test_label_maps_are_real_where_they_are_known(joint, known, monkeypatch):
    method, batch = make_method(real="labels", joint=joint, noise=0.0), make_batch(known=known)
    judged = []
    method.critic.register_forward_pre_hook(lambda module, given: judged.append(given[0]))
    method.losses(batch, progress=1.0)
    real = judged[0][:2, -2:] if joint != "product" else judged[0][:2, [1, 3]] > 0
    assert judged[0].shape[0] == 2 + 5  # the predictions for all images are judged
    for k in (1, 2):
        sure = batch.target == k
        share = real[:, k - 1].float()
        assert (share[sure] == 1).float().mean() > 0.99  # but the one darkest pixel of a product
        others = (batch.target != k) & (batch.target != 255)
        assert not share[others].any()
        if not known and joint != "product":
            unknown = share[batch.target == 255]
            assert ((unknown > 0) & (unknown < 1)).all()


def test_noise_is_on_both_sides():
    method, batch = make_method(noise=0.5), make_batch()
    judged = []
    method.critic.register_forward_pre_hook(lambda module, given: judged.append(given[0]))
    method.losses(batch, progress=1.0)
    still = make_method(noise=0.0)
    still.critic.register_forward_pre_hook(lambda module, given: judged.append(given[0]))
    still.losses(batch, progress=1.0)
    noise = judged[0] - judged[2]
    for side in (noise[:2], noise[2:]):
        assert side.std().item() == pytest.approx(0.5, rel=0.1)


def singular_values(critic: Critic) -> list[float]:
    layers = [m for m in critic.modules() if isinstance(m, nn.Conv2d | nn.Conv3d | nn.Linear)]
    return [torch.linalg.matrix_norm(m.weight.flatten(1), 2).item() for m in layers]


@each_dimension
def test_spectral_normalization_holds_every_layer(dimensions):
    method = make_method(dimensions)
    for parameter in method.critic.parameters():
        parameter.data.mul_(30)
    for _ in range(20):
        method.losses(make_batch(dimensions), progress=1.0)
    assert singular_values(method.critic) == pytest.approx([1.0] * 10, abs=0.1)


@each_dimension
@pytest.mark.parametrize("side", [1, 8, 40])
def test_a_critic_scores_places_of_any_image(dimensions, side):
    critic = Critic(2, dimensions=dimensions)
    scores = critic(torch.randn(3, 2, *[side] * dimensions))
    assert scores.shape == (3, max(1, -(-side // 16)) ** dimensions)


def test_a_critic_judges_a_case_alike_in_any_batch():
    critic = Critic(2, dimensions=2).eval()
    judged = torch.randn(3, 2, 32, 48)
    torch.testing.assert_close(critic(judged)[1:2], critic(judged[1:2]))
    moved = critic(judged.roll(16, 3))
    assert not torch.allclose(critic(judged).sort(1)[0], moved.sort(1)[0], atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"weight": 1.0, "ramp": 0.0, "critic_rate": 1.0}])
def test_a_game_of_many_large_steps_stays_finite(options):
    """Without spectral normalization and a slower critic it ran away within 30 of them."""
    method = make_method(channels=2, **options)
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.05, momentum=0.9)
    for step in range(30):
        optimizer.zero_grad()
        losses = method.losses(make_batch(), progress=step / 30)
        sum(losses.values()).backward()
        optimizer.step()
    assert all(term.isfinite() for term in losses.values())
    assert losses["critic"] < 2
    assert all(parameter.isfinite().all() for parameter in trained)


@pytest.mark.parametrize(
    ("option", "value"), [("kind", "hinged"), ("real", "label"), ("joint", "sum")]
)
def test_an_unknown_word_is_refused(option, value):
    with pytest.raises(UsageError, match=f"--method-option {option} '{value}'"):
        make_method(**{option: value})


def slower(rate: float) -> list[Tensor]:
    method = make_method(critic_rate=rate, noise=0.0)
    losses = method.losses(make_batch(), progress=1.0)
    return [losses["critic"], *torch.autograd.grad(losses["critic"], owned(method, "critic"))]


def test_a_slower_critic_has_the_same_loss_and_a_smaller_gradient():
    (loss, *gradients), (same, *smaller) = slower(1.0), slower(0.25)
    torch.testing.assert_close(same, loss)
    for gradient, other in zip(gradients, smaller, strict=True):
        torch.testing.assert_close(other, gradient / 4)
