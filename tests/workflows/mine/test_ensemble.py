"""How far networks agree, and whose pseudo-labels are kept: against loops and by hand."""

from itertools import combinations

import numpy as np
import pytest

from llmseg_cli.workflows.mine.ensemble import EnsembleMiner, agreement_of, most_agreed
from llmseg_cli.workflows.predict.image import Manner


def by_loops(members, classes: int) -> float:
    """Voxel after voxel, pair after pair, class after class."""
    pairs = []
    for one, other in combinations([member.ravel().tolist() for member in members], 2):
        found = []
        for label in range(1, classes):
            mine = {place for place, value in enumerate(one) if value == label}
            theirs = {place for place, value in enumerate(other) if value == label}
            if mine or theirs:
                found.append(2 * len(mine & theirs) / (len(mine) + len(theirs)))
        if found:
            pairs.append(sum(found) / len(found))
    return sum(pairs) / len(pairs) if pairs else 0.0


@pytest.mark.parametrize("shape", [(7, 5, 1), (5, 4, 3)])
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("classes", [2, 4])
def test_agreement_is_the_mean_dice_over_pairs(shape, count, classes):
    draw = np.random.default_rng(count)
    first = draw.integers(0, classes, shape)
    others = [np.where(draw.random(shape) < 0.3, 0, first) for _ in range(count - 1)]
    members = [one.astype(np.uint8) for one in (first, *others)]
    found = agreement_of(members, classes)
    assert found == pytest.approx(by_loops(members, classes))
    assert 0 < found < 1


def test_agreement_at_its_limits():
    empty, one, other = (np.array(values, np.uint8) for values in ([0, 0], [1, 0], [0, 1]))
    both = np.array([1, 2], np.uint8)
    assert agreement_of([both, both, both], 3) == 1
    assert agreement_of([one, other], 3) == 0
    assert agreement_of([one, empty], 3) == 0  # a class that one of both lacks is no agreement
    assert agreement_of([one, both], 3) == 0.5  # 1 of class 1, 0 of class 2
    assert agreement_of([one, empty, empty], 3) == 0
    assert agreement_of([empty, empty], 3) == 0


FOUND = {"a": 0.9, "b": 0.5, "c": 0.9, "d": 0.7, "e": 0.1}


@pytest.mark.parametrize(
    ("share", "kept"),
    [(0.0, ""), (0.1, "a"), (0.2, "a"), (0.21, "ac"), (0.6, "acd"), (0.7, "abcd"), (1.0, "abcde")],
)
def test_the_most_agreed_share_is_kept_rounded_up(share, kept):
    assert most_agreed(FOUND, share) == set(kept)


def test_a_share_that_is_no_whole_binary_number_takes_no_case_more():
    assert 0.07 * 100 > 7
    found = {f"c{number:02d}": number / 100 for number in range(100)}
    assert most_agreed(found, 0.07) == {f"c{number}" for number in range(93, 100)}


def test_cases_without_pseudo_label_are_not_counted_in_the_share():
    measures = {case: {"agreement": value} for case, value in FOUND.items()}
    measures |= {"x": {}, "y": {}}
    dropped = EnsembleMiner(Manner(), 0.4).dropped(measures)
    assert set(dropped) == {"b", "d", "e"}
    assert dropped["d"] == "agreement 0.7000, not among the 2 most agreed of 5"
