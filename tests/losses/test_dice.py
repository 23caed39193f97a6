"""Against plain sums, at the limits, and in the gradient."""

import pytest
import torch

from llmseg_cli.losses.dice import soft_dice_loss

SHAPE = (2, 3, 4, 5, 6)  # B, K, X, Y, Z


def make_case(seed: int = 0, shape: tuple[int, ...] = SHAPE):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    target = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    return logits, target


@pytest.mark.parametrize("shape", [SHAPE, (3, 2, 5, 4)])
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("include_background", [True, False])
def test_equals_plain_sums(shape, squared, include_background):
    logits, target = make_case(shape=shape)
    probabilities = logits.exp() / logits.exp().sum(1, keepdim=True)
    losses = []
    for k in range(0 if include_background else 1, shape[1]):
        p, y = probabilities[:, k].flatten().tolist(), (target == k).flatten().tolist()
        both = sum(a * b for a, b in zip(p, y, strict=True))
        extent = sum(a * a if squared else a for a in p) + sum(y)
        losses.append(1 - (2 * both + 1e-5) / (extent + 1e-5))
    loss = soft_dice_loss(logits, target, squared=squared, include_background=include_background)
    assert loss.item() == pytest.approx(sum(losses) / len(losses), abs=1e-12)


def test_perfect_and_opposite_predictions():
    _, target = make_case()
    logits = 100.0 * torch.nn.functional.one_hot(target, 3).movedim(-1, 1).double()
    assert soft_dice_loss(logits, target).item() == pytest.approx(0, abs=1e-6)
    assert soft_dice_loss(logits, (target + 1) % 3).item() == pytest.approx(1, abs=1e-6)


def test_an_absent_class_that_is_not_predicted_costs_nothing():
    target = torch.zeros(1, 2, 3, 4, dtype=torch.int64)
    logits = torch.zeros(1, 2, 2, 3, 4)
    logits[:, 0] = 200.0
    assert soft_dice_loss(logits, target).item() == 0


def test_permuting_the_foreground_classes_changes_nothing():
    logits, target = make_case()
    swap = torch.tensor([0, 2, 1])
    torch.testing.assert_close(
        soft_dice_loss(logits[:, swap], swap[target]), soft_dice_loss(logits, target)
    )


def test_gradient_equals_finite_differences():
    logits, target = make_case(shape=(1, 3, 2, 3))
    assert torch.autograd.gradcheck(lambda x: soft_dice_loss(x, target), logits.requires_grad_())


def test_shapes_that_do_not_fit_are_refused():
    logits, target = make_case()
    with pytest.raises(ValueError, match="do not fit"):
        soft_dice_loss(logits, target[:1])
    with pytest.raises(ValueError, match="at least 2 classes"):
        soft_dice_loss(logits[:, :1], target)
