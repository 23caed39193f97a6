"""The course of a training as a picture: where lines are, what stands at axes, the same bytes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llmseg_cli.pictures.axes import Span, number, span_of
from llmseg_cli.pictures.curve import DICE, HEIGHT, TERMS, WIDTH, Course, save_curve, smoothed

STEPS = range(10, 1001, 10)


def course(**changes) -> Course:
    values = {
        "terms": {"supervised": [(step, 1.0) for step in STEPS]},
        "dice": [(500, 0.5), (1000, 0.5)],
        "rate": [(step, 0.02) for step in STEPS],
    }
    return Course(**(values | changes))


def pixels(path: Path, found: Course) -> np.ndarray:
    save_curve(path, found)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def rows_of(image: np.ndarray, color: tuple[int, int, int], columns: slice) -> np.ndarray:
    """Rows of the plot in which a color is, below its legend."""
    near = np.abs(image[66:410, columns] - color).max(axis=-1) < 8
    return np.flatnonzero(near.any(axis=1)) + 66


def test_size_and_bytes(tmp_path):
    save_curve(tmp_path / "a.png", course())
    save_curve(tmp_path / "b.png", course())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert pixels(tmp_path / "a.png", course()).shape == (HEIGHT, WIDTH, 3)
    save_curve(tmp_path / "b.png", course(dice=[(500, 0.5), (1000, 0.6)]))
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_lines_lie_where_their_values_are(tmp_path):
    """A loss of 1 on an axis from 0 to 1 is at the top, and one of 0.5 beside 1 in the middle."""
    middle = slice(600, 800)
    top = rows_of(pixels(tmp_path / "a.png", course()), TERMS[0], middle)
    dice = rows_of(pixels(tmp_path / "a.png", course()), DICE, middle)
    two = course(terms={"a": [(s, 0.5) for s in STEPS], "b": [(s, 0.5) for s in STEPS]}, dice=[])
    both = rows_of(pixels(tmp_path / "b.png", two), (0, 0, 0), middle)
    terms = rows_of(pixels(tmp_path / "b.png", two), TERMS[1], middle)
    assert both.mean() == pytest.approx(top.mean(), abs=1)  # their sum is 1 again
    bottom = 408
    assert dice.mean() == pytest.approx((top.mean() + bottom) / 2, abs=1.5)
    assert terms.mean() == pytest.approx((top.mean() + bottom) / 2, abs=1.5)


def test_a_falling_loss_falls(tmp_path):
    falling = course(terms={"supervised": [(s, 1 - s / 1000) for s in STEPS]}, dice=[])
    image = pixels(tmp_path / "a.png", falling)
    found = [rows_of(image, TERMS[0], slice(x, x + 20)).mean() for x in range(120, 860, 60)]
    assert np.all(np.diff(found) > 5)


def test_smoothing_is_a_mean_of_neighbors_that_keeps_a_line():
    noise = np.random.default_rng(0).normal(size=400)
    points = [(float(i), float(value)) for i, value in enumerate(noise)]
    found = [value for _, value in smoothed(points)]
    assert found[200] == pytest.approx(noise[195:206].mean())
    assert found[0] == pytest.approx(noise[0])
    line = [(float(i), 3.0 * i) for i in range(400)]
    assert np.allclose(smoothed(line), line)
    assert smoothed([]) == []


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 3.7, [0, 1, 2, 3, 4]),
        (-0.3, 0.9, [-0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.013, [0, 0.002, 0.004, 0.006, 0.008, 0.01, 0.012, 0.014]),
    ],
)
def test_axes_have_round_numbers_around_the_values(low, high, ticks):
    found = span_of(low, high, ticks=5)
    assert found.ticks == pytest.approx(ticks, abs=1e-12)
    assert found.low <= low
    assert found.high >= high


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (0.30000000000000004, 0.1, "0.3"), (2000, 500, "2,000"), (1.5, 0.5, "1.5"), (1e-17, 1, "0"),
        (0.02, 0.02, "0.02"), (-0.2, 0.2, "-0.2"), (2e-5, 1e-5, "2e-05"),
    ],
)  # fmt: skip
def test_numbers_have_the_digits_that_they_need(value, step, text):
    assert number(value, step) == text


def test_a_span_of_one_value_has_a_length():
    assert span_of(0, 0, ticks=5).high > 0
    assert Span(0, 2000, 500).ticks == [0, 500, 1000, 1500, 2000]


@pytest.mark.parametrize("few", [0, 1, 2])
def test_short_courses(tmp_path, few):
    points = [(float(step), 0.5) for step in range(1, few + 1)]
    terms = {"supervised": points} if few else {}
    found = pixels(tmp_path / "a.png", Course(terms, [(1.0, 0.0)], points))
    assert found.shape == (HEIGHT, WIDTH, 3)


def test_terms_that_were_not_always_there_are_summed_where_all_are():
    found = Course({"a": [(1, 1.0), (2, 2.0)], "b": [(2, 3.0), (3, 4.0)]}, [], [])
    assert found.whole == [(2, 5.0)]
