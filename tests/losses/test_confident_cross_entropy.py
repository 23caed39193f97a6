"""Against a plain loop, at its limits, and in its gradient."""

import pytest
import torch

from llmseg_cli.losses.confident_cross_entropy import confident_cross_entropy

SHAPE = (2, 3, 4, 5, 6)  # B, K, X, Y, Z; all different, so a mixed-up axis fails


def random_logits(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)).double()


def test_equals_a_loop_over_voxels():
    student, reference, total = random_logits(0), random_logits(1), torch.tensor(0.0).double()
    for b, x, y, z in torch.cartesian_prod(*map(torch.arange, (2, 4, 5, 6))):
        q = reference[b, :, x, y, z].softmax(0)
        if q.max() >= 0.5:
            total -= student[b, :, x, y, z].log_softmax(0)[q.argmax()]
    loss = confident_cross_entropy(student, reference, threshold=0.5)
    torch.testing.assert_close(loss, total / (2 * 4 * 5 * 6))


def test_threshold_zero_is_cross_entropy():
    student, reference = random_logits(0), random_logits(1)
    torch.testing.assert_close(
        confident_cross_entropy(student, reference, threshold=0),
        torch.nn.functional.cross_entropy(student, reference.argmax(1)),
    )


def test_no_confident_voxel_teaches_nothing():
    student = random_logits(0).requires_grad_()
    confident_cross_entropy(student, torch.zeros(SHAPE), threshold=0.9).backward()
    assert not student.grad.any()


def test_no_gradient_reaches_the_reference():
    student, reference = random_logits(0).requires_grad_(), random_logits(1).requires_grad_()
    confident_cross_entropy(student, reference, threshold=0).backward()
    assert reference.grad is None
    assert student.grad.any()


def test_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        loss = confident_cross_entropy(
            random_logits(0).bfloat16(), random_logits(1).bfloat16(), threshold=0.4
        )
    assert loss.dtype == torch.float32


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        confident_cross_entropy(random_logits(0), random_logits(1)[:1], threshold=0)
