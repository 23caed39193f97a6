"""Weights of classes in co-training: their formulas by hand over several batches, and their use."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.errors import UsageError
from llmseg_cli.losses.confident_cross_entropy import confident_cross_entropy
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.losses.unified_segmentation import unified_segmentation
from llmseg_cli.methods.base import Method, SemiBatch
from llmseg_cli.methods.class_weights import WEIGHTS, ClassWeights
from llmseg_cli.models.vnet import VNet
from llmseg_cli.registry import METHODS

CLASSES = 4
SHARES = torch.tensor([0.9, 0.07, 0.025, 0.005])

co_training = pytest.mark.parametrize("name", ["cross-pseudo-supervision", "usl"])
weighted = pytest.mark.parametrize("kind", ["balanced", "heterogeneous"])


def make_batch(seed: int = 0, *, sides=(32, 16), unknown: float = 0.2) -> SemiBatch:
    generator = torch.Generator().manual_seed(seed)
    voxels = 2 * math.prod(sides)
    target = SHARES.multinomial(voxels, replacement=True, generator=generator).view(2, *sides)
    target[torch.rand(target.shape, generator=generator) < unknown] = UNKNOWN
    images = torch.randn(2, 1, *sides, generator=generator)
    others = torch.randn(3, 1, *sides, generator=generator)
    return SemiBatch(images, target, others, has_unknown=unknown > 0)


def answers(batch: SemiBatch, seed: int) -> Tensor:
    """Logits that are right in most voxels."""
    generator = torch.Generator().manual_seed(seed)
    right = nn.functional.one_hot(batch.target.clamp(max=CLASSES - 1), CLASSES).movedim(-1, 1)
    return 2 * right + torch.randn(right.shape, generator=generator)


def test_the_rarer_a_class_the_more_it_counts():
    """The moving average of counts; the background, too, is not silenced."""
    weights, counts = ClassWeights("balanced"), np.zeros(CLASSES)
    for seed in range(120):
        batch = make_batch(seed)
        weights.learn(answers(batch, seed), batch)
        now = np.array([int((batch.target == k).sum()) for k in range(CLASSES)])
        kept = min(0.99, 1 - 1 / (seed + 1))
        counts = kept * counts + (1 - kept) * now
    first, second = weights()
    assert torch.equal(first, second)
    expected = np.log(1 + (counts.max() + 1) / (counts + 1))
    np.testing.assert_allclose(first[:CLASSES], expected, rtol=1e-4)
    assert (np.diff(expected) > 0).all()
    assert expected[0] == pytest.approx(math.log(2))


def test_the_worse_and_slower_a_class_the_more_it_counts():
    weights = ClassWeights("heterogeneous")
    last = np.full(CLASSES, 1e-8)
    learned, unlearned, error = np.zeros(CLASSES), np.zeros(CLASSES), np.ones(CLASSES)
    lacked = 0
    for seed in range(8):
        batch = make_batch(seed)
        if seed == 3:
            batch.target[batch.target == 3] = 0
        said = answers(batch, seed)
        weights.learn(said, batch)
        known, label = batch.target != UNKNOWN, said.argmax(1)
        for k in range(CLASSES):
            true, guess = (batch.target == k)[known], (label == k)[known]
            if not true.any():
                lacked += 1
                continue
            dice = max(1e-8, float(2 * (true & guess).sum() / (true.sum() + guess.sum())))
            grown = (dice - last[k]) * math.log(dice / last[k])
            is_better = dice > last[k]
            learned[k] = 0.98 * learned[k] + 0.02 * grown * is_better
            unlearned[k] = 0.98 * unlearned[k] + 0.02 * grown * (not is_better)
            error[k] = 0.98 * error[k] + 0.02 * (1 - dice)
            last[k] = dice
    assert lacked == 1
    expected = ((unlearned + 1e-8) / (learned + 1e-8)) ** 0.2 * error
    first, second = weights()
    np.testing.assert_allclose(first[:CLASSES], expected, rtol=1e-3)
    assert not torch.equal(first, second)  # of rarity, as in DHC the other network's


def test_equal_weights_are_none_and_keep_nothing():
    weights = ClassWeights("equal")
    weights.learn(answers(make_batch(), 0), make_batch())
    assert weights() == (None, None)
    assert not weights.state_dict()


def make_method(name: str, kind: str, **options) -> Method:
    torch.manual_seed(0)
    method: Method = METHODS.load(name)(
        lambda: VNet(1, CLASSES, dimensions=2, filters=2, dropout=0.0), weights=kind, **options
    )
    return method.train()


def noted(method: Method) -> dict[str, Tensor]:
    """Fills with the trained logits of each network."""
    found: dict[str, Tensor] = {}
    for name in ("first", "second"):
        method.get_submodule(name).register_forward_hook(
            lambda module, given, answer, name=name: (
                found.update({name: answer}) if answer.requires_grad else None
            )
        )
    return found


@weighted
def test_cross_pseudo_supervision_weighs_all_its_terms(kind):
    method = make_method("cross-pseudo-supervision", kind, weight=0.7)
    for seed in range(3):
        method.losses(make_batch(seed), progress=0.5)
    of_first, of_second = copy.deepcopy(method.class_weights)()
    logits, batch = noted(method), make_batch(9)
    losses = method.losses(batch, progress=1.0)
    known = batch.target != UNKNOWN
    for name, other, weights in (("first", "second", of_first), ("second", "first", of_second)):
        expected = dice_cross_entropy(logits[name][:2], batch.target, known=known, weights=weights)
        torch.testing.assert_close(losses[f"supervised_{name}"], expected)
        cross = confident_cross_entropy(
            logits[name][2:], logits[other][2:], threshold=0, weights=weights
        )
        torch.testing.assert_close(losses[f"cross_{name}"], 0.7 * cross)


@weighted
def test_usl_weighs_its_terms(kind):
    method = make_method("usl", kind, weight=0.7, noise=0.0, peer="noisy", cutmix_alpha=1.0)
    for seed in range(3):
        method.losses(make_batch(seed), progress=0.5)
    of_first, of_second = copy.deepcopy(method.class_weights)()
    logits, batch = noted(method), make_batch(9)
    peers = copy.deepcopy(method.second)
    losses = method.losses(batch, progress=1.0)
    known = batch.target != UNKNOWN
    for name, weights in (("first", of_first), ("second", of_second)):
        expected = dice_cross_entropy(logits[name][:2], batch.target, known=known, weights=weights)
        torch.testing.assert_close(losses[f"supervised_{name}"], expected)
    with torch.no_grad():
        peer = peers(batch.unlabeled)
    expected = 0.7 * unified_segmentation(logits["first"][2:], peer, weights=of_first)
    torch.testing.assert_close(losses["usl_first"], expected)


@co_training
@weighted
def test_weights_are_part_of_the_state(name, kind):
    method = make_method(name, kind)
    method.losses(make_batch(1), progress=0.5)
    other = make_method(name, kind)
    assert not torch.equal(other.class_weights()[1], method.class_weights()[1])
    other.load_state_dict(method.state_dict())
    for mine, theirs in zip(method.class_weights(), other.class_weights(), strict=True):
        assert torch.equal(mine, theirs)
    torch.manual_seed(2)
    expected = [term.item() for term in method.losses(make_batch(2), progress=1.0).values()]
    torch.manual_seed(2)
    assert [t.item() for t in other.losses(make_batch(2), progress=1.0).values()] == expected


@co_training
def test_an_unknown_kind_is_refused(name):
    with pytest.raises(UsageError, match="Did you mean 'balanced'"):
        make_method(name, "balancd")
    assert all(make_method(name, kind) for kind in WEIGHTS)
