"""Against its two halves, and in float32 whatever it is given."""

import pytest
import torch

from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy

SHAPE = (2, 3, 4, 5, 6)  # B, K, X, Y, Z


def make_case(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(3, (2, 4, 5, 6), generator=generator)
    return torch.randn(SHAPE, generator=generator, dtype=torch.float64), target


def test_equals_half_of_each():
    logits, target = make_case()
    total, both, squares = 0.0, [0.0] * 3, [0.0] * 3
    for b, x, y, z in torch.cartesian_prod(*map(torch.arange, (2, 4, 5, 6))).tolist():
        p, true = logits[b, :, x, y, z].softmax(0).tolist(), target[b, x, y, z].item()
        total -= torch.tensor(p[true]).double().log().item()
        both[true] += p[true]
        squares = [s + a * a + (k == true) for k, (s, a) in enumerate(zip(squares, p, strict=True))]
    dice = [1 - (2 * i + 1e-5) / (s + 1e-5) for i, s in zip(both, squares, strict=True)]
    expected = (total / (2 * 4 * 5 * 6) + (dice[1] + dice[2]) / 2) / 2
    assert dice_cross_entropy(logits, target).item() == pytest.approx(expected, abs=1e-6)


def test_float32_under_autocast():
    logits, target = make_case()
    rounded = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = dice_cross_entropy(rounded, target)
    assert loss.dtype == torch.float32
    expected = dice_cross_entropy(rounded.detach().double(), target)
    torch.testing.assert_close(loss.double(), expected, atol=1e-6, rtol=1e-6)
    loss.backward()
    assert rounded.grad.isfinite().all()


def test_extreme_logits_stay_finite():
    logits, target = make_case()
    huge = (logits * 1e4).float().requires_grad_()
    dice_cross_entropy(huge, target).backward()
    assert huge.grad.isfinite().all()


def test_perfect_is_zero():
    _, target = make_case()
    logits = 100.0 * torch.nn.functional.one_hot(target, 3).movedim(-1, 1).double()
    assert dice_cross_entropy(logits, target).item() == pytest.approx(0, abs=1e-6)
