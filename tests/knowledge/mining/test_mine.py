"""Masks of a segmenter whose answers are known, in pictures and volumes, against plain counts."""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny_mining import Drawing, answer, as_asked, margin_of, rectangle

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.mining import mine as mining
from llmseg_cli.knowledge.mining.mine import mine
from llmseg_cli.knowledge.mining.prompts import PromptRules
from llmseg_cli.knowledge.mining.rules import MiningRules
from llmseg_cli.knowledge.sam.choose import open_segmenter
from llmseg_cli.numerics.unit_range import to_unit

SHAPE = (40, 30)
LARGE = (5, 4, 16, 13)  # first and last pixel, x0 y0 x1 y1: 12 x 10
SMALL = (25, 18, 30, 23)  # 6 x 6
ANY = PromptRules(smallest=0.0)


def predicted(*boxes, shape=SHAPE, high=0.9, low=0.02):
    """Probabilities `(2, X, Y, 1)`, high in the boxes."""
    found = np.full(shape, low, np.float32)
    for box in boxes:
        found[rectangle(shape, box) > 0] = high
    return with_background(found[None, ..., None])


def with_background(foreground):
    return np.concatenate([1 - foreground.sum(axis=0, keepdims=True), foreground]).astype("f4")


def ask(probabilities, draw=as_asked, shape=None, *, prompts=ANY, margins=(0.0,), **rules):
    """What is mined, and the segmenter; the embedding of a slice is its index."""
    segmenter = Drawing(draw)
    mined = mine(
        probabilities,
        shape or probabilities.shape[1:],
        segmenter,
        lambda index: (torch.tensor(index),),
        MiningRules(prompts=prompts, margins=margins, **rules),
    )
    return mined, segmenter


def labels_of(*boxes, shape=SHAPE):
    found = np.zeros((*shape, 1), np.uint8)
    for label, box in boxes:
        found[rectangle(shape, box) > 0] = label
    return found


def test_the_margin_of_the_highest_predicted_iou_wins():
    def prefers_a_quarter(prompt):
        drawn = rectangle(SHAPE, prompt.box)
        return answer(drawn, iou=1 - abs(margin_of(prompt) - 0.25))

    mined, segmenter = ask(predicted(LARGE), prefers_a_quarter, margins=(0.0, 0.25, 0.3))
    assert [prompt.box for prompt in segmenter.asked[0]] == [
        (5, 4, 16, 13),
        (2, 1, 19, 16),
        pytest.approx((1.4, 0.4, 19.6, 16.6)),
    ]
    (finding,) = mined.findings
    assert finding.predicted_iou == 1
    assert finding.prompts == "box 2 1 19 16"
    np.testing.assert_array_equal(mined.labels, labels_of((1, (2, 1, 19, 16))))


def test_a_margin_ends_at_the_edge():
    _, segmenter = ask(predicted((0, 20, 3, 29)), margins=(1.0,))
    assert segmenter.asked[0][0].box == (0, 10, 13, 29)


def test_every_component_is_asked_about_the_largest_first():
    mined, _ = ask(predicted(SMALL, LARGE))
    assert [(f.label, f.component, f.area, f.is_kept) for f in mined.findings] == [
        (1, 1, 120, True),
        (1, 2, 36, True),
    ]
    np.testing.assert_array_equal(mined.labels, labels_of((1, LARGE), (1, SMALL)))
    np.testing.assert_array_equal(mined.predicted, mined.labels)


def test_the_numbers_of_a_finding_are_those_of_plain_counting():
    """SAM draws 12 x 10 pixels, shifted by 3 and 2: 9 x 8 of them are the network's."""
    shifted = rectangle(SHAPE, (8, 6, 19, 15))
    mined, _ = ask(predicted(LARGE), lambda prompt: answer(shifted, iou=0.7, stability=0.8))
    (finding,) = mined.findings
    assert (finding.slices, finding.area, finding.network_area, finding.common) == (1, 120, 120, 72)
    assert finding.agreement == 2 * 72 / 240
    assert finding.area_ratio == 1
    assert (finding.predicted_iou, finding.stability) == (0.7, 0.8)


def doubtful_small_one(prompt):
    """As asked of the large component; of the small one a mask that no filter likes."""
    if prompt.region[LARGE[0], LARGE[1]]:
        return answer(rectangle(SHAPE, prompt.box))
    x0, y0, x1, y1 = prompt.box
    return answer(rectangle(SHAPE, (x0, y0 - 3, x1 + 6, y1)), iou=0.6, stability=0.5)


WIDER = (25, 15, 36, 23)  # 12 x 9 = 108 pixels, 36 of them the network's


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"min_iou": 0.61}, "predicted IoU below 0.61"),
        ({"min_stability": 0.51}, "stability below 0.51"),
        ({"min_agreement": 0.51}, "agreement below 0.51"),  # 2 * 36 / (108 + 36) = 0.5
        ({"max_area_ratio": 2.9}, "area ratio beyond 2.9"),  # 108 / 36 = 3
    ],
)
def test_a_filter_drops_a_mask_and_says_why(rules, reason):
    mined, _ = ask(predicted(LARGE, SMALL), doubtful_small_one, **rules)
    assert [finding.reason for finding in mined.findings] == ["", reason]
    np.testing.assert_array_equal(mined.labels, labels_of((1, LARGE), (UNKNOWN, WIDER)))


@pytest.mark.parametrize(
    "rules",
    [
        {"min_iou": 0.6},
        {"min_stability": 0.5},
        {"min_agreement": 0.5},
        {"max_area_ratio": 3.0},
    ],
)
def test_a_mask_at_the_limit_is_kept(rules):
    mined, _ = ask(predicted(LARGE, SMALL), doubtful_small_one, **rules)
    np.testing.assert_array_equal(mined.labels, labels_of((1, LARGE), (1, WIDER)))


def test_a_mask_that_is_much_smaller_is_beyond_the_ratio_too():
    tiny = rectangle(SHAPE, (8, 8, 9, 9))
    mined, _ = ask(predicted(LARGE), lambda prompt: answer(tiny), max_area_ratio=29.0)
    assert mined.findings[0].reason == "area ratio beyond 29"


def test_what_the_network_saw_of_a_dropped_mask_is_unknown_too():
    def elsewhere(prompt):
        if prompt.region[LARGE[0], LARGE[1]]:
            return as_asked(prompt)
        return answer(rectangle(SHAPE, (33, 2, 36, 5)))

    mined, _ = ask(predicted(LARGE, SMALL), elsewhere, min_agreement=0.1)
    expected = labels_of((1, LARGE), (UNKNOWN, SMALL), (UNKNOWN, (33, 2, 36, 5)))
    np.testing.assert_array_equal(mined.labels, expected)


def test_a_dropped_mask_takes_nothing_from_one_that_is_kept():
    """SAM draws the large object, and surer, also where it is asked about the small one."""

    def the_large_one(prompt):
        if prompt.region[LARGE[0], LARGE[1]]:
            return as_asked(prompt)
        return answer(rectangle(SHAPE, LARGE, depth=9))

    mined, _ = ask(predicted(LARGE, SMALL), the_large_one, min_agreement=0.5)
    assert [finding.is_kept for finding in mined.findings] == [True, False]
    np.testing.assert_array_equal(mined.labels, labels_of((1, LARGE), (UNKNOWN, SMALL)))


def test_nothing_kept_gives_no_labels_but_the_reasons():
    mined, _ = ask(predicted(LARGE, SMALL), min_iou=0.95)
    assert mined.labels is None
    assert [finding.reason for finding in mined.findings] == ["predicted IoU below 0.95"] * 2
    np.testing.assert_array_equal(mined.predicted, labels_of((1, LARGE), (1, SMALL)))


def test_an_empty_answer_is_dropped():
    mined, _ = ask(predicted(LARGE), lambda prompt: answer(np.full(SHAPE, -3, np.float32)))
    assert mined.labels is None
    assert mined.findings[0].reason == "SAM draws nothing"


def test_nothing_predicted_asks_nothing():
    segmenter = Drawing()
    probabilities = predicted()
    mined = mine(probabilities, (*SHAPE, 1), segmenter, pytest.fail, MiningRules())
    assert (mined.labels, mined.findings, segmenter.asked) == (None, (), [])


def test_a_pixel_of_two_classes_goes_to_the_higher_logit():
    first, second = predicted(LARGE)[1], predicted(SMALL)[1]
    probabilities = with_background(np.stack([first, second]) * 0.98)

    def overlapping(prompt):
        is_large = prompt.region[LARGE[0], LARGE[1]]
        logits = rectangle(SHAPE, (5, 4, 30, 23), depth=2)
        logits[:20] *= 2 if is_large else 1  # surer on its own side
        logits[20:] *= 1 if is_large else 2
        return answer(logits)

    mined, _ = ask(probabilities, overlapping)
    np.testing.assert_array_equal(
        mined.labels, labels_of((1, (5, 4, 19, 23)), (2, (20, 4, 30, 23)))
    )
    assert [f.area for f in mined.findings] == [26 * 20] * 2


def test_where_two_classes_are_above_a_low_threshold_the_more_probable_one_is_asked_about():
    first, second = np.zeros((2, *SHAPE, 1), np.float32)
    first[5:17, 4:14], second[5:17, 4:14] = 0.45, 0.35
    second[13:25, 4:14] = 0.5
    first[13:17, 4:14] = 0.4
    rules = PromptRules(smallest=0.0, threshold=0.3)
    mined, segmenter = ask(with_background(np.stack([first, second])), prompts=rules)
    assert sorted(prompt.box for prompt in segmenter.asked[0]) == [
        (5, 4, 12, 13),
        (13, 4, 24, 13),
    ]
    assert set(np.unique(mined.labels[5:13, 4:14])) == {1}


def test_an_answer_is_asked_again_with_its_own_mask():
    _, segmenter = ask(predicted(LARGE), margins=(0.0, 0.1), refine=2)
    assert [len(before) for before in segmenter.previous] == [0, 2, 2]
    wide = rectangle(SHAPE, segmenter.asked[0][1].box)[:1]
    np.testing.assert_array_equal(segmenter.previous[2][1], wide)


def test_few_answers_are_held_at_once_and_the_result_is_the_same(monkeypatch):
    probabilities = predicted(LARGE, SMALL, (33, 3, 37, 9))
    whole, together = ask(probabilities, margins=(0.0, 0.1))
    monkeypatch.setattr(mining, "HELD", 4 * 40 * 30)
    parts, apart = ask(probabilities, margins=(0.0, 0.1))
    assert [len(asked) for asked in together.asked] == [6]
    assert [len(asked) for asked in apart.asked] == [4, 2]
    assert parts.findings == whole.findings
    np.testing.assert_array_equal(parts.labels, whole.labels)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_picture_is_one_slice_whatever_the_axis(axis):
    along, segmenter = ask(predicted(LARGE), axis=axis)
    assert segmenter.asked[0][0].region.shape == SHAPE
    np.testing.assert_array_equal(along.labels, labels_of((1, LARGE)))


def test_points_alone_need_no_box():
    probabilities = predicted(LARGE, SMALL)
    mined, segmenter = ask(
        probabilities,
        lambda prompt: answer(np.where(prompt.region, 5, -5).astype(np.float32)),
        prompts=PromptRules(kinds=("points",), smallest=0.0, positives=2),
        margins=(0.0, 0.5),
    )
    assert [prompt.box for prompt in segmenter.asked[0]] == [None, None]
    np.testing.assert_array_equal(mined.labels, labels_of((1, LARGE), (1, SMALL)))
    assert all(len(f.prompts.split("; ")) == 2 for f in mined.findings)


# Volumes


def blobs(shape=(22, 18, 14), classes=3, seed=0):
    """Smooth noise as probabilities `(K, X, Y, Z)`, with components of all shapes."""
    noise = np.random.default_rng(seed).normal(size=(classes, *shape))
    logits = 12 * np.stack([ndimage.gaussian_filter(one, 2) / 0.05 for one in noise]) / 10
    logits[0] += 1
    exponential = np.exp(logits - logits.max(axis=0))
    return (exponential / exponential.sum(axis=0)).astype(np.float32)


def facts(findings):
    return sorted((f.label, f.network_area, f.area, f.common, f.slices) for f in findings)


@pytest.mark.parametrize(("axis", "index"), [("x", 0), ("y", 1)])
def test_another_axis_is_the_turned_volume_along_z(axis, index):
    probabilities = blobs()
    along, segmenter = ask(probabilities, axis=axis, margins=(0.0, 0.2))
    turned, turned_segmenter = ask(np.moveaxis(probabilities, 1 + index, -1), margins=(0.0, 0.2))
    assert len(along.findings) > 2
    assert {1, 2} <= set(np.unique(along.labels))
    np.testing.assert_array_equal(np.moveaxis(along.labels, index, -1), turned.labels)
    np.testing.assert_array_equal(np.moveaxis(along.predicted, index, -1), turned.predicted)
    assert facts(along.findings) == facts(turned.findings)
    assert len(segmenter.asked) == len(turned_segmenter.asked)


def column(shape, boxes):
    """Probabilities `(2, X, Y, Z)`: in slice z the box of that slice."""
    found = np.full(shape, 0.02, np.float32)
    for z, box in boxes.items():
        found[..., z][rectangle(shape[:2], box) > 0] = 0.9
    return with_background(found[None])


def test_a_coarser_network_puts_masks_in_the_right_place():
    shape, box = (12, 10, 8), (4, 3, 7, 6)
    coarse = column(shape, dict.fromkeys(range(2, 5), box))
    mined, _ = ask(coarse, shape=tuple(2 * side for side in shape))
    expected = np.zeros((24, 20, 16), np.uint8)
    expected[8:16, 6:14, 4:10] = 1
    np.testing.assert_array_equal(mined.labels, expected)
    centers = [(np.arange(2 * side) + 0.5) / 2 - 0.5 for side in shape]
    places = np.meshgrid(*centers, indexing="ij")
    fine = ndimage.map_coordinates(coarse[1], places, order=1, mode="nearest")
    np.testing.assert_array_equal(mined.predicted, fine > 0.5)
    assert mined.findings[0].slices == 6


def test_small_regions_of_a_slice_are_dropped():
    slices = dict.fromkeys(range(2, 7), (5, 5, 10, 10)) | {7: (7, 7, 7, 7)}
    rules = PromptRules(smallest=0.01)  # 4 pixels of a slice, 40 voxels
    mined, _ = ask(column((20, 20, 10), slices), prompts=rules)
    assert np.flatnonzero(mined.labels.any(axis=(0, 1))).tolist() == [2, 3, 4, 5, 6]
    assert mined.findings[0].slices == 5


def test_a_component_that_is_small_in_every_slice_is_noted():
    """Two crossing rods: 39 voxels in all, in each slice one or two pieces of one pixel."""
    crossing = np.full((21, 20, 20), 0.02, np.float32)
    for z in range(20):
        crossing[z, 9, z] = crossing[20 - z, 9, z] = 0.9
    rules = PromptRules(smallest=1.5 / 420)  # 1.5 pixels of a slice, 30 voxels
    mined, segmenter = ask(with_background(crossing[None]), prompts=rules)
    assert mined.labels is None
    assert segmenter.asked == []
    assert [finding.reason for finding in mined.findings] == ["too small in every slice"]


def test_an_outlying_box_is_pulled_back_to_that_of_its_neighbors():
    usual, outlying = (5, 5, 10, 10), (5, 5, 10, 18)
    slices = dict.fromkeys(range(2, 9), usual) | {5: outlying}
    mined, _ = ask(column((20, 24, 12), slices))
    expected = column((20, 24, 12), dict.fromkeys(range(2, 9), usual))[1] > 0.5
    np.testing.assert_array_equal(mined.labels, expected)
    (finding,) = mined.findings
    assert finding.area == 7 * 36
    assert finding.network_area == 7 * 36 + 6 * 8
    assert finding.common == 7 * 36


def test_two_pieces_of_a_slice_are_one_slice_and_what_both_draw_counts_once():
    """A U: two legs in slices 2 to 4, joined in slice 5. SAM always draws the whole width."""
    whole, legs = (4, 4, 17, 7), [(4, 4, 7, 7), (14, 4, 17, 7)]
    probabilities = column((22, 12, 8), {5: whole})
    for z in (2, 3, 4):
        for leg in legs:
            probabilities[1, ..., z][rectangle((22, 12), leg) > 0] = 0.9

    def whole_width(prompt):
        is_leg = prompt.region.sum() == 16
        return answer(rectangle((22, 12), whole), iou=0.5 if is_leg else 0.9)

    mined, _ = ask(probabilities, whole_width)
    (finding,) = mined.findings
    assert (finding.slices, finding.area) == (4, 4 * 14 * 4)
    assert (finding.network_area, finding.common) == (3 * 32 + 56, 3 * 32 + 56)
    assert finding.predicted_iou == pytest.approx((96 * 0.5 + 56 * 0.9) / 152)
    assert finding.prompts == "box 4 4 17 7"


def test_the_prompt_that_is_shown_is_that_of_the_largest_slice():
    slices = {2: (9, 9, 10, 10), 3: (3, 3, 14, 14), 4: (6, 6, 15, 15), 5: (6, 6, 12, 12)}
    mined, _ = ask(
        column((20, 20, 8), slices),
        lambda prompt: answer(np.where(prompt.region, 5, -5).astype(np.float32)),
        prompts=PromptRules(kinds=("points",), smallest=0.0, positives=1),
    )
    assert mined.findings[0].prompts == "+8,8"  # the deepest pixel of slice 3


def test_only_slices_with_prompts_are_encoded():
    probabilities = column((20, 20, 10), {3: (5, 5, 10, 10), 4: (5, 5, 10, 10)})
    encoded = []
    mine(
        probabilities,
        (20, 20, 10),
        Drawing(),
        lambda index: encoded.append(index) or (),
        MiningRules(prompts=ANY, margins=(0.0, 0.1)),
    )
    assert encoded == [3, 4]


def test_the_largest_component_is_kept_in_3d():
    slices = dict.fromkeys((1, 2, 3), (2, 2, 7, 7)) | dict.fromkeys((6, 7, 8), (9, 9, 18, 18))
    probabilities = column((22, 22, 10), slices)
    both, _ = ask(probabilities)
    one, _ = ask(probabilities, largest=True)
    assert both.labels.sum() == 3 * 36 + 3 * 100
    np.testing.assert_array_equal(one.labels[..., 5:], both.labels[..., 5:])
    assert not one.labels[..., :5].any()


def test_no_array_of_all_classes_is_made_at_the_images_resolution():
    classes, shape = 12, (64, 64, 32)
    coarse = np.zeros((classes, 16, 16, 8), np.float32)
    for label in range(1, classes):
        coarse[label, 4:8, label : label + 2, 3:5] = 0.9
    coarse[0] = 1 - coarse[1:].max(axis=0)
    tracemalloc.start()
    found, _ = ask(coarse, shape=shape)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.findings) == classes - 1
    assert peak < classes * np.prod(shape) * 4 / 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"axis": "w"}, "axis 'w': expected x, y or z"),
        ({"margins": ()}, "expected numbers of 0 or more"),
        ({"margins": (0.1, -0.1)}, "expected numbers of 0 or more"),
        ({"max_area_ratio": 0.5}, r"max area ratio 0\.5: expected 1 or more"),
    ],
)
def test_rules_out_of_range_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        MiningRules(**values)


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.mark.weights
def test_lite_medsam_puts_a_shifted_prediction_right(weights_cache):
    """A bright disk in noise; the network sees it 6 pixels to the right and 5 up, and too small."""
    x, y = np.ogrid[:112, :96]
    disk = (x - 52) ** 2 + (y - 50) ** 2 <= 20**2
    noise = np.random.default_rng(0).normal(40, 12, disk.shape)
    image = np.clip(noise + 130 * disk, 0, 255).round().astype(np.float32)
    distance = np.hypot(x - 58, y - 45)
    foreground = (1 / (1 + np.exp(distance - 18))).astype(np.float32)
    segmenter = open_segmenter(
        "lite-medsam", device=torch.device("cpu"), dtype=torch.float32, cache=weights_cache
    )
    embedding = segmenter.embed(to_unit(image[None]))
    mined = mine(
        with_background(foreground[None, ..., None]),
        (*disk.shape, 1),
        segmenter,
        lambda index: embedding,
        MiningRules(margins=(0.0, 0.1, 0.2, 0.3)),
    )
    before = dice(foreground > 0.5, disk)
    assert dice(mined.predicted[..., 0] > 0, disk) == pytest.approx(before)
    assert before < 0.85
    assert dice(mined.labels[..., 0] == 1, disk) > before + 0.05
