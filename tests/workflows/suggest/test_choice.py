"""Which cases are taken, against plain loops."""

from itertools import combinations

import numpy as np
import pytest

from llmseg_cli.workflows.suggest.choice import (
    POOL,
    at_random,
    different_of_least_trusted,
    least_trusted,
    most_different,
)

CASES = [f"case{index:02d}" for index in range(24)]


def points(seed: int, width: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {case: rng.normal(0, [1, 3, 9, 27, 81][:width]) for case in CASES}


def names(chosen) -> list[str]:
    return [one.case for one in chosen]


def test_a_draw_is_the_same_for_a_seed_whatever_the_order_of_cases():
    assert names(at_random(CASES, 5, seed=3)) == names(at_random(CASES[::-1], 5, seed=3))
    assert names(at_random(CASES, 5, seed=3)) != names(at_random(CASES, 5, seed=4))
    assert len(set(names(at_random(CASES, 5, seed=3)))) == 5


def test_draws_take_each_case_alike():
    drawn = [case for seed in range(4800) for case in names(at_random(CASES, 1, seed=seed))]
    counts = np.array([drawn.count(case) for case in CASES])
    assert counts.min() > 130  # 200 in the mean, 14 its deviation
    assert counts.max() < 270


def test_the_least_trusted_come_first_and_before_them_those_where_nothing_is_marked():
    trust = {"d": 0.5, "a": 0.9, "b": None, "c": 0.5, "e": 0.1}
    assert names(least_trusted(trust, 5)) == ["b", "e", "c", "d", "a"]
    assert [one.trust for one in least_trusted(trust, 2)] == [None, 0.1]


def greedy(features: dict[str, np.ndarray], labeled: list[str], count: int) -> list[str]:
    """K-center by the book: all distances anew each time."""
    table = np.stack(list(features.values()))
    scaled = {case: values / table.std(axis=0) for case, values in features.items()}
    centers = list(labeled)
    for _ in range(count):
        left = [case for case in sorted(features) if case not in centers]
        far = {
            case: min(np.linalg.norm(scaled[case] - scaled[one]) for one in centers)
            for case in left
        }
        centers.append(max(left, key=far.__getitem__))
    return centers[len(labeled) :]


@pytest.mark.parametrize("seed", range(3))
def test_the_most_different_are_those_of_greedy_k_center(seed):
    features = points(seed)
    found = most_different(features, CASES[:3], 6)
    assert names(found) == greedy(features, CASES[:3], 6)
    distances = [one.distance for one in found]
    assert distances == sorted(distances, reverse=True)  # of nearest centers, which grow in number


def test_they_are_within_twice_the_best_radius():
    """The bound of the greedy algorithm, for all ways to take three of nine."""
    features = {case: values for case, values in points(7, width=2).items() if case < CASES[9]}
    spread = np.stack(list(features.values())).std(axis=0)

    def radius(centers) -> float:
        near = [
            min(np.linalg.norm((features[one] - features[c]) / spread) for c in centers)
            for one in features
        ]
        return max(near)

    best = min(radius((CASES[0], *pair)) for pair in combinations(CASES[1:9], 2))
    assert radius([CASES[0], *names(most_different(features, CASES[:1], 2))]) <= 2 * best + 1e-9


def test_units_of_features_do_not_matter_nor_do_constant_ones():
    features = points(1)
    scaled = {c: np.append(v * [1, 1e3, 1e-3, 7, 2], 5.0) for c, v in features.items()}
    assert names(most_different(features, CASES[:2], 5)) == names(
        most_different(scaled, CASES[:2], 5)
    )


def test_without_labeled_cases_the_first_is_the_middle_one():
    features = {"a": np.array([0.0]), "b": np.array([1.0]), "c": np.array([5.0])}
    found = most_different(features, [], 3)
    assert names(found) == ["b", "c", "a"]  # 2 is the mean
    assert found[0].distance is None


def test_both_takes_the_most_different_of_the_least_trusted():
    rng, features = np.random.default_rng(0), points(2)
    trust = dict(zip(CASES[4:], rng.permutation(20) / 20, strict=True))
    found = different_of_least_trusted(trust, features, CASES[:4], 3)
    pool = sorted(trust, key=trust.__getitem__)[: POOL * 3]
    asked = {case: features[case] for case in (*CASES[:4], *pool)}
    assert names(found) == greedy(asked, CASES[:4], 3)
    assert all(one.trust == trust[one.case] for one in found)
