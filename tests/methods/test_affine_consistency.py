"""What `affine-consistency` promises beyond every method, and its controls."""

import pytest
import torch
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.methods import affine_consistency
from llmseg_cli.methods.affine_consistency import AffineConsistency
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.methods.mean_teacher import MeanTeacher
from llmseg_cli.models.affine_views import AffineViews
from llmseg_cli.models.vnet import VNet
from llmseg_cli.numerics.affine_views import corner_zooms

SIDES = {2: (32, 16), 3: (16, 32, 16)}
each_dimension = pytest.mark.parametrize("dimensions", [2, 3])


def make_method(dimensions: int = 2, *, dropout: float = 0.0, **options) -> AffineConsistency:
    torch.manual_seed(0)

    def build() -> nn.Module:
        return VNet(2, 3, dimensions=dimensions, filters=2, dropout=dropout, normalization="group")

    method = AffineConsistency(build, **{"start": 0.0, **options})
    for parameter in method.teacher.parameters():  # one that differs from its student
        parameter.data.mul_(0.9)
    return method.train()


def make_batch(dimensions: int = 2) -> SemiBatch:
    generator = torch.Generator().manual_seed(1)
    sides = SIDES[dimensions]
    return SemiBatch(
        torch.randn(2, 2, *sides, generator=generator),
        torch.randint(3, (2, *sides), generator=generator),
        torch.randn(3, 2, *sides, generator=generator),
    )


def losses_of(method, batch: SemiBatch) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return method.losses(batch, progress=1.0)


@each_dimension
def test_views_of_the_whole_image_are_a_mean_teacher_without_noise(dimensions):
    method = make_method(dimensions, views="identity", labeled_weight=0.0, weight=0.3)
    batch = make_batch(dimensions)
    teacher = MeanTeacher(lambda: VNet(2, 3, dimensions=dimensions), weight=0.3, noise=0.0, ramp=0)
    teacher.student, teacher.teacher = method.student, method.teacher
    found, expected = losses_of(method, batch), losses_of(teacher, batch)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)
    assert method.observed()["inside"] == 1


@each_dimension
def test_hard_views_go_up_where_easy_ones_go_down(dimensions):
    batch, gradients = make_batch(dimensions), {}
    for views in ("easy", "hard"):
        method = make_method(dimensions, views=views)
        torch.manual_seed(4)
        nn.init.normal_(method.chooser.output.weight, std=0.1)
        losses = losses_of(method, batch)
        sum(losses.values()).backward()
        gradients[views] = {
            key: value.grad.clone()
            for key, value in method.named_parameters()
            if value.requires_grad
        }
    for key, easy in gradients["easy"].items():
        hard = gradients["hard"][key]
        torch.testing.assert_close(hard, -easy if key.startswith("chooser") else easy)
    assert any(g.any() for k, g in gradients["easy"].items() if k.startswith("chooser.block"))


@pytest.mark.parametrize("views", ["random", "fixed", "identity"])
def test_controls_have_no_transformer(views):
    assert make_method(views=views).chooser is None


@each_dimension
def test_random_views_are_within_the_bounds_and_drawn_anew(dimensions):
    method = make_method(dimensions, views="random", count=4)
    images = torch.zeros(50, 2, *SIDES[dimensions])
    maps, others = method.maps_of(images), method.maps_of(images)
    assert maps.shape == (50, 4, dimensions, dimensions + 1)
    assert not torch.equal(maps, others)
    for row in range(dimensions):
        for column in range(dimensions + 1):
            low, high = (0.5, 1.25) if row == column else (-0.2, 0.2)
            low, high = (-0.3, 0.3) if column == dimensions else (low, high)
            drawn = maps[..., row, column]
            assert low <= drawn.min() < low + 0.1 * (high - low)
            assert high - 0.1 * (high - low) < drawn.max() <= high


@each_dimension
@pytest.mark.parametrize("bound", ["smooth", "clamp"])
def test_learned_views_start_in_the_corners_whatever_the_image(dimensions, bound):
    method = make_method(dimensions, bound=bound, count=4, shift=0.5)
    images = make_batch(dimensions).unlabeled
    corners = {tuple(one.flatten().tolist()) for one in corner_zooms(dimensions)}
    for found in method.maps_of(images):
        assert len({tuple(one.flatten().tolist()) for one in found}) == 4
        assert {tuple(one.flatten().tolist()) for one in found} <= corners


def test_a_soft_bound_lets_views_come_back_and_a_clamp_does_not():
    """Both begin beyond the bound of the shift, where every step of theirs wants to go inside."""
    moved = {}
    for bound in ("smooth", "clamp"):
        method = make_method(bound=bound, count=4, rate=1.0)
        method.chooser.output.bias.data.fill_(0.5)
        images = make_batch().unlabeled
        before = method.maps_of(images).detach()
        method.maps_of(images).square().sum().backward()
        entry = method.chooser.output.bias.grad.view(4, 2, 3)[:, :, 2]  # the shifts
        moved[bound] = bool(entry[-1].any())
        assert (before[..., 2].amax() > 0.3) == (bound == "smooth")
    assert moved == {"smooth": True, "clamp": False}


def test_the_teacher_answers_alike_twice_in_spite_of_dropout():
    method = make_method(dropout=0.5)
    batch = make_batch()
    losses_of(method, batch)
    assert not method.teacher.training
    assert torch.equal(method.taught(batch.unlabeled), method.taught(batch.unlabeled))


def test_the_log_says_where_views_are():
    method = make_method(views="fixed", shift=0.5)
    losses_of(method, make_batch())
    found = {key: value.item() for key, value in method.observed().items()}
    assert found == {"inside": 1.0, "zoom": 0.5, "shift": 0.5}


def test_views_are_chosen_by_the_image():
    chooser = AffineViews(2, dimensions=2, views=4)
    nn.init.normal_(chooser.output.weight)
    images = make_batch().unlabeled
    one, other, _ = chooser(images)
    assert one.shape == (4, 2, 3)
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(("option", "value"), [("views", "esay"), ("bound", "hard")])
def test_an_unknown_word_is_refused(option, value):
    with pytest.raises(UsageError, match=f"--method-option {option} '{value}'"):
        make_method(**{option: value})


def test_learned_views_are_refused_where_their_gradient_is_in_no_order(monkeypatch):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    affine_consistency._refuse_nondeterministic(torch.device("cpu"))
    with pytest.raises(UsageError, match="views=random"):
        affine_consistency._refuse_nondeterministic(torch.device("cuda"))


def test_maps_keep_their_precision_under_autocast():
    method = make_method(count=4)
    nn.init.normal_(method.chooser.output.weight)
    images = make_batch().unlabeled
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = method.maps_of(images)
    torch.manual_seed(1)
    assert torch.equal(found, method.maps_of(images))
