"""Pairs against every possible pairing, the published example that loses one, and F1 by hand."""

from itertools import combinations, permutations

import numpy as np
import pytest

from llmseg_cli.metrics.centres import Counts, count_class, count_detection, pair_centres


def line(*places: float) -> np.ndarray:
    return np.array([[place, 0.0, 0.0] for place in places]).reshape(-1, 3)


def best_by_trying(predicted: np.ndarray, reference: np.ndarray, radius: float):
    """The most pairs that there can be, and their least distance in all."""
    distances = np.linalg.norm(predicted[:, None] - reference[None], axis=2)
    for count in range(min(len(predicted), len(reference)), 0, -1):
        totals = [
            sum(chosen)
            for rows in combinations(range(len(predicted)), count)
            for columns in permutations(range(len(reference)), count)
            if max(chosen := [distances[r, c] for r, c in zip(rows, columns, strict=True)])
            <= radius
        ]
        if totals:
            return count, min(totals)
    return 0, 0.0


@pytest.mark.parametrize("seed", range(20))
def test_no_pairing_has_more_pairs_or_as_many_that_are_nearer(seed: int):
    draw = np.random.default_rng(seed)
    predicted, reference = (draw.uniform(0, 12, (int(draw.integers(1, 6)), 3)) for _ in "pr")
    radius = draw.uniform(3, 9)
    pairs = pair_centres(predicted, reference, radius=radius)
    distances = np.linalg.norm(predicted[pairs[:, 0]] - reference[pairs[:, 1]], axis=1)
    count, total = best_by_trying(predicted, reference, radius)
    assert len(pairs) == count
    assert distances.sum() == pytest.approx(total)
    assert (distances <= radius).all()
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == count


def test_a_far_prediction_takes_no_near_one_from_its_reference():
    """The least distance of all four pairs them 0-7 and 8-100, of which none is within 6."""
    assert pair_centres(line(0, 8), line(7, 100), radius=6).tolist() == [[1, 0]]


def test_the_nearest_first_would_lose_a_pair():
    assert pair_centres(line(0, 5), line(4, 10), radius=6).tolist() == [[0, 0], [1, 1]]


def test_many_far_apart_are_paired_each_with_its_own():
    """The order does not matter; 4000 in a dense table would be 128 MB."""
    places = np.stack(np.meshgrid(*[np.arange(0, 640, 10.0)] * 2, [0.0]), axis=-1).reshape(-1, 3)
    order = np.random.default_rng(0).permutation(len(places))
    pairs = pair_centres(places, places[order] + [1, 2, 0], radius=4)
    assert (order[pairs[:, 1]] == pairs[:, 0]).all()
    assert len(pairs) == len(places) == 4096


def test_nothing_pairs_with_nothing():
    for ours, theirs in (
        (line(), line(1)),
        (line(1), line()),
        (line(), line()),
        (line(0), line(9)),
    ):
        assert pair_centres(ours, theirs, radius=6).shape == (0, 2)


def test_f1_of_detection_by_hand():
    pairs = np.array([[0, 0], [1, 1], [2, 2]])
    found = count_detection(pairs, predicted=4, reference=5)
    assert found == Counts(tp=3, fp=1, fn=2)
    assert found.f1 == pytest.approx(6 / 9)
    assert (found.precision, found.recall) == (3 / 4, 3 / 5)


def test_f1_of_classes_by_hand():
    """Pairs (1, 1), (1, 2) and (2, 2); one more prediction of 1, two more references of 2."""
    pairs = np.array([[0, 0], [1, 1], [2, 2]])
    predicted, reference = [1, 1, 2, 1], [1, 2, 2, 2, 2]
    one, two = (count_class(value, pairs, predicted, reference) for value in (1, 2))
    assert one == Counts(1, 1, 0, 1, 0, is_class=True)
    assert one.f1 == pytest.approx(2 / (2 + 2 + 0 + 1 + 0))  # 0.4
    assert two == Counts(1, 0, 1, 0, 2, is_class=True)
    assert two.f1 == pytest.approx(2 / (2 + 0 + 2 + 0 + 2))  # 0.3333
    assert (one.precision, two.recall) == (1 / 3, 1 / 4)


def test_of_one_class_it_is_detection():
    pairs = np.array([[0, 0], [1, 2]])
    of_class = count_class(1, pairs, [1] * 5, [1] * 3)
    detection = count_detection(pairs, 5, 3)
    assert of_class.f1 == detection.f1
    assert (of_class.precision, of_class.recall) == (detection.precision, detection.recall)


def test_each_missed_centre_lowers_f1_and_none_is_undefined():
    values = [count_detection(np.zeros((n, 2), int), n, 6).f1 for n in range(7)]
    assert values == [pytest.approx(2 * n / (n + 6)) for n in range(7)]
    nothing = count_detection(np.zeros((0, 2), int), 0, 0)
    assert (nothing.f1, nothing.precision, nothing.recall) == (None, None, None)


def test_counts_of_cases_add_up():
    one, other = Counts(1, 2, 3, 4, 5, is_class=True), Counts(10, 20, 30, 40, 50, is_class=True)
    assert one + other == Counts(11, 22, 33, 44, 55, is_class=True)
