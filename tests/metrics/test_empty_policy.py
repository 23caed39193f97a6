"""What an empty mask counts as, and that a miss never improves a mean."""

from math import isnan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.metrics.empty_policy import apply_policy, count_statuses
from llmseg_cli.metrics.scoring import diagonal, score_pair
from llmseg_cli.metrics.signature import METRICS
from llmseg_cli.metrics.summary import summarize

SHAPE, SPACING = (4, 5, 6), (1.0, 2.0, 3.0)
EMPTY = np.zeros(SHAPE, dtype=np.uint8)
CUBE = EMPTY.copy()
CUBE[1:3, 1:3, 1:3] = 1


def score(prediction, reference, spacing=SPACING):
    return score_pair(prediction, reference, classes=[1], spacing_mm=spacing)


CASES = {
    "good": score(CUBE, CUBE),
    "missed": score(EMPTY, CUBE),
    "false alarm": score(CUBE, EMPTY),
    "nothing": score(EMPTY, EMPTY),
}


def filled(policy, worst=100.0, cases=None):
    return apply_policy(cases or CASES, policy=policy, worst_distance=worst)


def test_counts():
    assert count_statuses(CASES, 1) == {
        "n_scored": 3,
        "n_missed": 1,
        "n_false_alarm": 1,
        "n_both_empty": 1,
    }


@pytest.mark.parametrize("case", ["missed", "false alarm"])
def test_one_empty_mask_is_the_worst_case(case):
    values = filled("diagonal")[case][1].values
    assert [values[name] for name in ("hd95", "asd", "assd")] == [100.0] * 3
    assert [values[name] for name in ("dice", "jaccard", "nsd")] == [0.0] * 3


@pytest.mark.parametrize("policy", ["diagonal", "nan", "skip"])
def test_what_is_empty_in_both_is_left_out(policy):
    found = filled(policy)["nothing"][1]
    assert found.status == "both_empty"
    assert all(value is None for value in found.values.values())


@pytest.mark.parametrize("policy", ["diagonal", "nan", "skip"])
def test_overlap_of_a_miss_is_zero_under_every_policy(policy):
    assert filled(policy)["missed"][1].values["dice"] == 0


def test_nan_makes_the_mean_undefined_and_skip_drops_the_case():
    assert isnan(filled("nan")["missed"][1].values["hd95"])
    assert filled("skip")["missed"][1].values["hd95"] is None


def test_what_an_empty_prediction_would_flatter_is_left_out():
    assert CASES["missed"][1].values["specificity"] is None
    assert CASES["missed"][1].values["precision"] is None
    assert CASES["false alarm"][1].values["precision"] == 0
    assert CASES["missed"][1].values["sensitivity"] == 0
    assert CASES["false alarm"][1].values["sensitivity"] is None
    assert CASES["false alarm"][1].values["relative_volume_difference"] is None


def test_empty_images_have_nothing_to_score_in_any_class():
    found = score_pair(EMPTY, EMPTY, classes=[1, 3], spacing_mm=SPACING)
    assert [found[number].status for number in (1, 3)] == ["both_empty"] * 2


def test_error_lists_the_cases():
    with pytest.raises(DataError, match=r"missed class 1 \(missed\), false alarm class 1"):
        filled("error")
    assert filled("error", cases={"good": CASES["good"]})


def test_unknown_policy_is_corrected():
    with pytest.raises(UsageError, match="Did you mean 'diagonal'"):
        filled("diagnal")


def test_diagonal():
    assert diagonal(SHAPE, SPACING, unit="mm") == pytest.approx(sqrt(4**2 + 10**2 + 18**2))
    assert diagonal(SHAPE, SPACING, unit="voxel") == pytest.approx(sqrt(4**2 + 5**2 + 6**2))


boxes = st.tuples(*[st.integers(0, 3)] * 3)


@st.composite
def cases(draw):
    """A few predictions, some of them missed, in images of different spacing, and one more miss."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        reference, prediction = EMPTY.copy(), EMPTY.copy()
        reference[draw(boxes)] = 1
        if draw(st.booleans()):
            prediction[draw(boxes)] = 1
            prediction[draw(boxes)] = 1
        spacing = (draw(st.sampled_from((0.1, 1.0, 30.0))),) * 3
        found.append((prediction, reference, spacing))
    reference = EMPTY.copy()
    reference[draw(boxes)] = 1
    found.append((EMPTY, reference, (draw(st.sampled_from((0.1, 1.0, 30.0))),) * 3))
    return found


def means(problems):
    scores = {str(i): score(p, r, s) for i, (p, r, s) in enumerate(problems)}
    worst = max(diagonal(SHAPE, s, unit="mm") for _, _, s in problems)
    by_case = apply_policy(scores, policy="diagonal", worst_distance=worst)
    return {
        name: summarize(
            [found[1].values[name] for found in by_case.values()], groups=None, draws=0, seed=0
        ).mean
        for name, metric in METRICS.items()
        if metric.better
    }


@settings(deadline=None, max_examples=150)
@given(cases())
def test_adding_a_missed_case_never_improves_any_mean(problems):
    before, after = means(problems[:-1]), means(problems)
    for name in before:
        if before[name] is None:
            continue
        change = after[name] - before[name]
        assert (change if METRICS[name].better == "higher" else -change) <= 1e-12, name
