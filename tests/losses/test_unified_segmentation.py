"""Against a plain loop, against the formula of the paper for two classes, and at its limits."""

from math import log

import pytest
import torch

from llmseg_cli.losses.unified_segmentation import unified_segmentation


def random_logits(seed: int, classes: int, *, scale: float = 1.5) -> torch.Tensor:
    shape = (2, classes, 4, 5, 6)  # B, K, X, Y, Z
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def softmax_of_voxels(logits: torch.Tensor) -> list[list[float]]:
    return logits.softmax(1).movedim(1, -1).flatten(0, -2).tolist()


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def paper_formula(logits: torch.Tensor, peer: torch.Tensor, plus: float, minus: float) -> float:
    """Two classes, literally: masks from c and m, the complement of the class not chosen."""
    positive, negative, squared = [], [], []
    for p, q in zip(softmax_of_voxels(logits), softmax_of_voxels(peer), strict=True):
        c, m, chosen = max(q), min(q), q.index(max(q))
        if c >= plus:
            positive.append(-c * log(p[chosen]))
        if m < minus:
            negative.append(-m * log(min(max(1 - p[1 - chosen], 1e-6), 1)))
        if c < plus and m >= minus:
            squared.append(mean([(a - b) ** 2 for a, b in zip(p, q, strict=True)]))
    assert positive
    assert squared
    return mean(positive) + mean(negative) + mean(squared)


def loop_over_voxels(logits: torch.Tensor, peer: torch.Tensor, plus: float, minus: float) -> float:
    """Any number of classes: every improbable class is excluded."""
    positive, negative, squared = [], [], []
    for p, q in zip(softmax_of_voxels(logits), softmax_of_voxels(peer), strict=True):
        if max(q) >= plus:
            positive.append(-max(q) * log(p[q.index(max(q))]))
        elif 1 - max(q) >= minus:
            squared += [(a - b) ** 2 for a, b in zip(p, q, strict=True)]
        negative += [
            -b * log(min(max(1 - a, 1e-6), 1)) for a, b in zip(p, q, strict=True) if b < minus
        ]
    assert positive
    assert negative
    assert squared
    return mean(positive) + mean(negative) + mean(squared)


@pytest.mark.parametrize(("plus", "minus"), [(0.65, 0.1), (0.8, 0.3), (0.95, 0.2)])
def test_two_classes_are_the_formula_of_the_paper(plus, minus):
    logits, peer = random_logits(0, 2), random_logits(1, 2)
    loss = unified_segmentation(logits, peer, threshold_positive=plus, threshold_negative=minus)
    assert loss.item() == pytest.approx(paper_formula(logits, peer, plus, minus), rel=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_equals_a_loop_over_voxels(classes):
    logits, peer = random_logits(0, classes), random_logits(1, classes)
    expected = loop_over_voxels(logits, peer, 0.65, 0.1)
    assert unified_segmentation(logits, peer).item() == pytest.approx(expected, rel=1e-12)


def test_two_dimensions():
    logits, peer = random_logits(0, 3)[..., 0], random_logits(1, 3)[..., 0]
    expected = loop_over_voxels(logits, peer, 0.65, 0.1)
    assert unified_segmentation(logits, peer).item() == pytest.approx(expected, rel=1e-12)


def test_permuting_classes_changes_nothing():
    logits, peer, order = random_logits(0, 3), random_logits(1, 3), torch.tensor([2, 0, 1])
    torch.testing.assert_close(
        unified_segmentation(logits[:, order], peer[:, order]), unified_segmentation(logits, peer)
    )


def test_no_gradient_reaches_the_peer():
    logits, peer = random_logits(0, 2).requires_grad_(), random_logits(1, 2).requires_grad_()
    unified_segmentation(logits, peer).backward()
    assert peer.grad is None
    assert logits.grad.any()


@pytest.mark.parametrize("classes", [2, 3])
def test_gradient_equals_finite_differences(classes):
    logits, peer = random_logits(0, classes)[:1, :, :2, :2, :2], random_logits(1, classes)
    peer = peer[:1, :, :2, :2, :2]
    assert torch.autograd.gradcheck(
        lambda x: unified_segmentation(x, peer), logits.clone().requires_grad_()
    )


def test_a_sure_peer_that_agrees_costs_nothing():
    peer = 100.0 * random_logits(1, 2).sign()
    peer[:, 1] = -peer[:, 0]
    assert unified_segmentation(peer, peer).item() == pytest.approx(0, abs=1e-12)


def test_an_unsure_peer_leaves_only_the_squared_error():
    logits = random_logits(0, 2).requires_grad_()
    loss = unified_segmentation(logits, torch.zeros_like(logits))
    torch.testing.assert_close(loss, (logits.softmax(1) - 0.5).square().mean())


def test_only_the_positive_term():
    logits, peer = random_logits(0, 2).requires_grad_(), random_logits(1, 2)
    confidence, chosen = peer.softmax(1).max(1, keepdim=True)
    loss = unified_segmentation(logits, peer, threshold_positive=0, threshold_negative=0)
    torch.testing.assert_close(loss, (-confidence * logits.log_softmax(1).gather(1, chosen)).mean())


def test_only_the_negative_term():
    logits = random_logits(0, 2).requires_grad_()
    peer = torch.zeros_like(logits)
    peer[:, 0] = log(0.55 / 0.45)  # c = 0.55, m = 0.45
    loss = unified_segmentation(logits, peer, threshold_positive=0.6, threshold_negative=0.5)
    torch.testing.assert_close(loss, (-0.45 * logits.log_softmax(1)[:, 0]).mean())
    loss.backward()
    assert logits.grad.isfinite().all()


def test_nothing_is_left_to_learn_from_a_certain_peer_that_agrees():
    peer = torch.zeros(1, 3, 2, 2, 2)
    peer[:, 0] = 1000.0
    logits = peer.clone().requires_grad_()
    loss = unified_segmentation(logits, peer)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_finite_where_the_networks_contradict_with_certainty():
    logits = torch.zeros(1, 3, 2, 2, 2)
    logits[:, 1] = 1e4
    logits.requires_grad_()
    peer = torch.zeros_like(logits)
    peer[:, 2] = 5.0
    loss = unified_segmentation(logits, peer)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    assert logits.grad.any()


def test_float32_under_autocast():
    logits, peer = random_logits(0, 2).bfloat16().requires_grad_(), random_logits(1, 2).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = unified_segmentation(logits, peer)
    assert loss.dtype == torch.float32
    expected = unified_segmentation(logits.detach().double(), peer.double())
    torch.testing.assert_close(loss.double(), expected, atol=1e-6, rtol=1e-5)
    loss.backward()
    assert logits.grad.isfinite().all()


def test_wrong_shapes_and_thresholds_are_refused():
    logits = random_logits(0, 2)
    with pytest.raises(ValueError, match="shapes differ"):
        unified_segmentation(logits, logits[:1])
    with pytest.raises(ValueError, match="thresholds"):
        unified_segmentation(logits, logits, threshold_positive=1.5)
    with pytest.raises(ValueError, match="thresholds"):
        unified_segmentation(logits, logits, threshold_negative=0.6)
