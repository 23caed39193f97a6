"""Laws that every prompt obeys, whatever a network predicts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.special import expit

from llmseg_cli.choices import PROMPTS
from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.mining.prompts import (
    PromptRules,
    box_of,
    components,
    log_odds,
    prompts_of,
)

ALL = PromptRules(kinds=PROMPTS, smallest=0.0, negatives=4)


@st.composite
def probabilities(draw):
    """Smooth noise, so that components are of all sizes and touch the edges."""
    shape = draw(st.tuples(st.integers(4, 40), st.integers(4, 40)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    smooth = ndimage.gaussian_filter(random.normal(size=shape), draw(st.sampled_from([0, 1, 3])))
    steep = draw(st.sampled_from([1.0, 4.0, 30.0]))
    shift = draw(st.sampled_from([-2.0, 0.0, 1.0]))
    logits = steep * (smooth / max(smooth.std(), 1e-6) + shift)
    return expit(logits).astype(np.float32)


def two_blobs():
    """A square of 4 x 6 and one of 10 x 8 pixels, apart, on 40 x 30."""
    probability = np.full((40, 30), 0.02, np.float32)
    probability[3:7, 2:8] = 0.8
    probability[20:30, 15:23] = 0.95
    return probability


@settings(deadline=None)
@given(probabilities())
def test_positive_points_lie_in_their_component_and_negative_points_outside_the_box(probability):
    for prompt in prompts_of(probability, ALL):
        x0, y0, x1, y1 = prompt.box
        assert prompt.inside[0]
        for (x, y), inside in zip(prompt.points.astype(int), prompt.inside, strict=True):
            if inside:
                assert prompt.region[x, y]
            else:
                assert not (x0 <= x <= x1 and y0 <= y <= y1)
                assert probability[x, y] < ALL.unlikely


@settings(deadline=None)
@given(probabilities())
def test_points_are_distinct_and_no_more_than_asked(probability):
    for prompt in prompts_of(probability, ALL):
        assert len(np.unique(prompt.points, axis=0)) == len(prompt.points)
        assert 1 <= prompt.inside.sum() <= ALL.positives
        assert (~prompt.inside).sum() <= ALL.negatives


@settings(deadline=None)
@given(probabilities(), st.sampled_from([0.0, 0.05, 0.7]))
def test_the_box_contains_its_component_and_lies_in_the_image(probability, margin):
    rules = PromptRules(smallest=0.0, margin=margin)
    for prompt in prompts_of(probability, rules):
        x, y = np.nonzero(prompt.region)
        tight = (x.min(), y.min(), x.max(), y.max())
        x0, y0, x1, y1 = prompt.box
        assert 0 <= x0 <= tight[0] <= tight[2] <= x1 <= probability.shape[0] - 1
        assert 0 <= y0 <= tight[1] <= tight[3] <= y1 <= probability.shape[1] - 1
        if margin == 0:
            assert prompt.box == tight


@settings(deadline=None)
@given(probabilities(), st.sampled_from([0.0, 0.01, 0.2]), st.integers(1, 4))
def test_components_are_those_of_a_flood_fill(probability, smallest, most):
    rules = PromptRules(smallest=smallest, most=most)
    expected = sorted(map(len, flood(probability > rules.threshold)), reverse=True)
    expected = [area for area in expected if area >= smallest * probability.size][:most]
    found = components(probability, rules)
    assert [int(region.sum()) for region in found] == expected
    assert np.sum([np.zeros(probability.shape), *found], axis=0).max() <= 1  # none overlaps


def flood(mask):
    """Sets of pixels that share an edge or a corner."""
    left = set(map(tuple, np.argwhere(mask)))
    while left:
        region, border = set(), [left.pop()]
        while border:
            x, y = border.pop()
            region.add((x, y))
            near = {(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            border.extend(near)
        yield region


def test_one_prompt_per_component_the_largest_first():
    first, second = prompts_of(two_blobs(), PromptRules(margin=0.0))
    assert first.box == (20, 15, 29, 22)
    assert second.box == (3, 2, 6, 7)
    assert (first.logits, len(first.points)) == (None, 0)


def test_the_margin_is_a_share_of_the_longer_side_or_some_pixels_at_least():
    region = two_blobs() > 0.9
    assert box_of(region, PromptRules(margin=0.2)) == (18, 13, 31, 24)
    assert box_of(region, PromptRules(smallest_margin=3)) == (17, 12, 32, 25)


def test_the_first_point_is_the_deepest_and_the_others_are_confident():
    probability = two_blobs()
    probability[20:24, 15:23] = 0.7
    (prompt,) = prompts_of(probability, PromptRules(kinds=("points",), most=1))
    depth = ndimage.distance_transform_edt(prompt.region)
    x, y = prompt.points[0].astype(int)
    assert depth[x, y] == depth.max()
    assert all(probability[x, y] > 0.9 for x, y in prompt.points[1:].astype(int))
    assert prompt.box is None


def test_where_nothing_is_confident_the_most_probable_pixels_are_taken():
    probability = two_blobs() * 0.9  # 0.855 at most
    probability[20:22, 15:17] = 0.88
    (prompt,) = prompts_of(probability, PromptRules(kinds=("points",), most=1, positives=3))
    inner = probability[prompt.region]
    assert all(
        probability[x, y] >= np.quantile(inner, 0.75) for x, y in prompt.points[1:].astype(int)
    )


def test_an_unsure_component_has_its_points_whatever_another_is_sure_of():
    first, second = prompts_of(two_blobs(), PromptRules(kinds=("points",), positives=3))
    assert (len(first.points), len(second.points)) == (3, 3)


def test_small_components_are_dropped():
    assert len(prompts_of(two_blobs(), PromptRules(smallest=23 / 1200))) == 2
    assert len(prompts_of(two_blobs(), PromptRules(smallest=25 / 1200))) == 1


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_nothing_predicted_gives_no_prompt(value):
    assert prompts_of(np.full((9, 7), value, np.float32), ALL) == []


def test_everything_predicted_gives_one_box_and_no_negative_point():
    (prompt,) = prompts_of(np.ones((9, 7), np.float32), ALL)
    assert prompt.box == (0, 0, 8, 6)
    assert prompt.inside.all()


def test_a_mask_prompt_is_the_log_odds():
    (prompt,) = prompts_of(two_blobs(), PromptRules(kinds=("box", "mask"), most=1))
    back = 1 / (1 + np.exp(-prompt.logits))
    np.testing.assert_allclose(back, two_blobs(), atol=1e-6)
    assert np.isfinite(log_odds(np.array([[0, 1]], np.float32))).all()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("threshold", 1.5, "threshold is 1.5; expected 0 to 1"),
        ("smallest", -0.1, "smallest is -0.1; expected 0 to 1"),
        ("most", 0, "most is 0; expected 1 or more"),
        ("positives", 0, "positives is 0; expected 1 or more"),
        ("confident", 2, "confident is 2; expected 0 to 1"),
        ("negatives", -1, "negatives is -1; expected 0 or more"),
        ("unlikely", float("nan"), "unlikely is nan; expected 0 to 1"),
        ("margin", -1, "margin is -1; expected 0 or more"),
        ("smallest_margin", -2, "smallest margin is -2; expected 0 or more"),
    ],
)
def test_rules_out_of_range_are_refused(name, value, expected):
    with pytest.raises(UsageError, match=expected):
        PromptRules(**{name: value})


def test_a_mask_alone_is_refused():
    with pytest.raises(UsageError, match="add box or points"):
        PromptRules(kinds=("mask",))


def test_an_unknown_kind_is_corrected():
    with pytest.raises(UsageError, match=r"Unknown prompt 'point'\. Did you mean 'points'"):
        PromptRules(kinds=("point",))
