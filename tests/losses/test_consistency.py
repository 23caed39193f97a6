"""Against plain loops and the published form, at their limits, and in their gradients."""

from math import log

import pytest
import torch

from llmseg_cli.losses.consistency import predictive_entropy, softmax_mse, uncertainty_masked_mse

SHAPE = (2, 3, 4, 5, 6)  # B, K, X, Y, Z


def random_logits(seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def voxels(tensor: torch.Tensor) -> list[list[float]]:
    return tensor.movedim(1, -1).flatten(0, -2).tolist()


def test_softmax_mse_equals_a_loop():
    student, teacher = random_logits(0), random_logits(1)
    pairs = zip(voxels(student.softmax(1)), voxels(teacher.softmax(1)), strict=True)
    squares = [(a - b) ** 2 for p, q in pairs for a, b in zip(p, q, strict=True)]
    expected = sum(squares) / len(squares)
    assert softmax_mse(student, teacher).item() == pytest.approx(expected, rel=1e-12)


def test_entropy_equals_a_loop():
    probabilities = random_logits(0).softmax(1)
    expected = [-sum(q * log(q) for q in voxel) for voxel in voxels(probabilities)]
    torch.testing.assert_close(
        predictive_entropy(probabilities).flatten(), torch.tensor(expected, dtype=torch.float64)
    )


def test_entropy_at_its_limits():
    certain = torch.tensor([[1.0, 0.0]]).view(1, 2, 1, 1)
    assert predictive_entropy(certain).item() == 0
    even = torch.full((1, 3, 1, 1, 1), 1 / 3)
    assert predictive_entropy(even).item() == pytest.approx(log(3))


def test_masked_mse_of_two_classes_is_the_published_form():
    shape = (2, 2, 4, 5, 6)
    student, teacher = random_logits(0, shape), random_logits(1, shape)
    passes = torch.stack([random_logits(seed, shape).softmax(1) for seed in range(2, 10)])
    uncertainty = predictive_entropy(passes.mean(0))
    threshold = uncertainty.median().item()
    mask = (uncertainty < threshold).double().unsqueeze(1)
    squared = (student.softmax(1) - teacher.softmax(1)) ** 2
    published = (mask * squared).sum() / (2 * mask.sum() + 1e-16)
    loss = uncertainty_masked_mse(student, teacher, uncertainty, threshold=threshold)
    torch.testing.assert_close(loss, published)


def test_masked_mse_with_every_voxel_certain_is_softmax_mse():
    student, teacher = random_logits(0), random_logits(1)
    loss = uncertainty_masked_mse(student, teacher, torch.zeros(2, 4, 5, 6), threshold=0.5)
    torch.testing.assert_close(loss, softmax_mse(student, teacher))


def test_no_certain_voxel_teaches_nothing():
    student = random_logits(0).requires_grad_()
    loss = uncertainty_masked_mse(student, random_logits(1), torch.ones(2, 4, 5, 6), threshold=0.5)
    loss.backward()
    assert loss.item() == 0
    assert not student.grad.any()


def test_no_gradient_reaches_the_teacher():
    student, teacher = random_logits(0).requires_grad_(), random_logits(1).requires_grad_()
    uncertainty = predictive_entropy(teacher.softmax(1))
    loss = softmax_mse(student, teacher)
    loss = loss + uncertainty_masked_mse(student, teacher, uncertainty, threshold=0.9)
    loss.backward()
    assert teacher.grad is None
    assert student.grad.any()


def test_float32_under_autocast():
    student, teacher = random_logits(0).bfloat16(), random_logits(1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        uncertainty = predictive_entropy(teacher.softmax(1))
        assert softmax_mse(student, teacher).dtype == torch.float32
        loss = uncertainty_masked_mse(student, teacher, uncertainty, threshold=0.9)
    assert uncertainty.dtype == loss.dtype == torch.float32


def test_other_shapes_are_refused():
    logits = random_logits(0)
    with pytest.raises(ValueError, match="shapes differ"):
        softmax_mse(logits, logits[:1])
    with pytest.raises(ValueError, match="shapes differ"):
        uncertainty_masked_mse(logits, logits, torch.zeros(2, 1, 4, 5, 6), threshold=0.5)
