"""Weights of the classes: by hand, against torch's cross entropy, in the record and the resume."""

import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from toy_cohort import toy_case
from training_cli import ROLES, signaled, train, weights

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.errors import UsageError
from llmseg_cli.losses.dice import soft_dice_loss
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.methods.supervision import WithClassWeights
from llmseg_cli.workflows.train.class_weights import balanced, weights_of
from llmseg_cli.workflows.train.data import TrainingData

SIDES = {2: (5, 7), 3: (4, 5, 6)}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("is_partly_known", [False, True])
def test_the_cross_entropy_is_torchs_weighted_one(dimensions, is_partly_known):
    torch.manual_seed(0)
    sides = SIDES[dimensions]
    logits = torch.randn(2, 3, *sides, dtype=torch.float64, requires_grad=True)
    target = torch.randint(3, (2, *sides))
    given = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    known = torch.rand(2, *sides) < 0.6 if is_partly_known else None
    hidden = target if known is None else target.where(known, -100)
    entropy = F.cross_entropy(logits, hidden, weight=given)
    expected = 0.5 * (entropy + soft_dice_loss(logits, target, known=known, weights=given))
    found = dice_cross_entropy(logits, target, known=known, weights=given)
    torch.testing.assert_close(found, expected)
    one, other = (
        torch.autograd.grad(loss, logits, retain_graph=True) for loss in (found, expected)
    )
    torch.testing.assert_close(one, other)


def test_weights_of_one_are_none_and_no_weight_at_all_is_0():
    torch.manual_seed(0)
    logits, target = torch.randn(1, 3, 4, 4, 4), torch.randint(2, (1, 4, 4, 4))
    same = dice_cross_entropy(logits, target, weights=torch.ones(3))
    torch.testing.assert_close(same, dice_cross_entropy(logits, target))
    absent = torch.tensor([0.0, 0.0, 1.0])  # of a class that the target does not have
    nothing = dice_cross_entropy(logits, target, weights=absent)
    torch.testing.assert_close(nothing, 0.5 * soft_dice_loss(logits, target, weights=absent))


def written(folder, name: str, labels: list[int]) -> PreparedCase:
    np.save(folder / f"{name}.npy", np.array(labels, np.uint8).reshape(-1, 1, 1))
    return PreparedCase(name, folder / "none.npy", folder / f"{name}.npy")


def test_balanced_is_the_share_of_known_voxels_turned_over(tmp_path):
    cases = [
        written(tmp_path, "a", [0] * 12 + [1] * 3 + [UNKNOWN] * 9),
        written(tmp_path, "b", [0] * 4 + [1] * 1),
    ]
    found = balanced(cases, 3, has_unknown=True)
    assert found == pytest.approx((20 / (3 * 16), 20 / (3 * 4), 0.0))
    counted = balanced(cases[1:], 2, has_unknown=False)
    assert counted == pytest.approx((5 / 8, 5 / 2))


def of(*classes: str) -> TrainingData:
    return TrainingData((), (), (), classes, 1, 0, "")


def test_numbers_are_taken_as_they_are():
    assert weights_of("0.5, 1,2", of("background", "a", "b")) == (0.5, 1.0, 2.0)
    assert weights_of("", of("background", "a")) == ()


@pytest.mark.parametrize("asked", ["1", "1,2,3", "one,2", "-1,1", "nan,1", "inf,1", "0,0", "1,"])
def test_what_is_no_weight_of_each_class_is_refused(asked):
    with pytest.raises(UsageError, match=r"--class-weights .*expected balanced, or a number"):
        weights_of(asked, of("background", "a"))


def test_balanced_counts_labeled_training_cases_alone_and_resumes_exactly(
    toy_data, toy_split, quiet_place
):
    words = ("--split", toy_split, "--class-weights", "balanced")
    whole, run = quiet_place / "whole", quiet_place / "run"
    train("mean-teacher", toy_data, whole, *words)
    with signaled(signal.SIGTERM, "train", 3):
        train("mean-teacher", toy_data, run, *words, code=75)
    train("mean-teacher", toy_data, run, *words, "--resume")
    assert weights(run) == weights(whole)
    maps = [toy_case(int(name[3:]))[1].ravel() for name in ROLES["labeled"]]
    counts = np.bincount(np.concatenate(maps), minlength=3)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["class_weights"] == pytest.approx(counts.sum() / (3 * counts))
    plain = quiet_place / "plain"
    train("mean-teacher", toy_data, plain, *words[:2])
    assert weights(plain) != weights(whole)
    other = train("mean-teacher", toy_data, run, *words[:2], "--resume", code=2)
    assert "class_weights" in other.output


def test_every_loss_takes_them_and_those_of_a_method_come_on_top(toy_data, toy_split, quiet_place):
    words = ("--split", toy_split, "--loss", "dice-bce")
    plain = quiet_place / "plain"
    train("supervised", toy_data, plain, *words, steps=1)
    weighted = quiet_place / "weighted"
    train("supervised", toy_data, weighted, *words, "--class-weights", "0,1,0.1", steps=1)
    assert weights(weighted) != weights(plain)
    loss = WithClassWeights(dice_cross_entropy, (0.5, 1.0, 2.0))
    logits, target = torch.randn(1, 3, 4, 4, 4), torch.randint(3, (1, 4, 4, 4))
    both = loss(logits, target, weights=torch.tensor([2.0, 3.0, 1.0]))
    by_hand = dice_cross_entropy(logits, target, weights=torch.tensor([1.0, 3.0, 2.0]))
    torch.testing.assert_close(both, by_hand)
