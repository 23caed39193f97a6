"""Outlines in the colors of the legend, a scale as long as it says, slices side by side."""

import math

import numpy as np
import pytest
from PIL import Image

from llmseg_cli.pictures.figure import BAR_SHARE, PAD, Panel, figure, round_length
from llmseg_cli.pictures.marks import COLORS, INK, ORANGE, Mark, class_marks, fitting, font
from llmseg_cli.pictures.slices import WHOLE
from llmseg_cli.pictures.tiles import Plane, class_tile, pixels_per_unit


def panel(width: int, height: int, scale: float | None = None, caption: str = "") -> Panel:
    return Panel(Image.new("RGB", (width, height), (90, 90, 90)), caption, scale)


def longest_run(row: np.ndarray) -> int:
    """Of pixels that are set."""
    return max(len(part) for part in "".join("x" if one else " " for one in row).split(" "))


@pytest.mark.parametrize(("scale", "length"), [(1.0, 100.0), (3.1, 20.0), (0.07, 1000.0)])
def test_the_bar_is_as_long_as_it_says(scale, length):
    pixels = np.asarray(figure("a", [panel(384, 300, scale)], ()))
    white = (pixels == INK).all(axis=2)[80:-40]
    found = max(longest_run(row) for row in white)
    assert length == round_length(BAR_SHARE * 384 / scale)
    assert found == pytest.approx(length * scale, abs=1.5)


@pytest.mark.parametrize("most", [0.013, 0.2, 1.0, 4.99, 5.0, 777.0])
def test_lengths_are_round_and_more_than_two_fifths_of_the_room(most):
    found = round_length(most)
    assert 0.4 * most <= found <= most * (1 + 1e-9)
    assert round(found / 10 ** math.floor(math.log10(found) + 1e-9)) in (1, 2, 5)


def test_without_a_spacing_there_is_no_bar():
    pixels = np.asarray(figure("", [panel(600, 300)], ()))
    assert (pixels[:, PAD + 1 : 500] == 90).all(axis=2).any(axis=1).sum() == 300
    assert not (pixels == INK).all(axis=2).any()


def test_a_disk_is_outlined_where_it_lies_in_the_color_of_its_class():
    rows, columns = np.mgrid[:128, :128]
    disk = np.where(np.hypot(rows - 40, columns - 80) < 20, 3, 0)
    marks = class_marks({1: "one", 3: "three"})
    plane = Plane(np.zeros(disk.shape, np.float32), disk, None, None, (1.0, 1.0))
    pixels = np.asarray(class_tile(plane, WHOLE, marks, side=512)) / 1.0
    down, across = np.nonzero((pixels == marks[3].color).all(axis=2))
    distance = np.hypot((down + 0.5) / 4 - 40.5, (across + 0.5) / 4 - 80.5)
    assert distance.max() < 20.6
    assert distance.min() > 20 - 1.8
    angles = np.unique(np.degrees(np.arctan2(down / 4 - 40.5, across / 4 - 80.5)) // 10 % 36)
    assert len(angles) == 36  # all around
    assert not (pixels == marks[1].color).all(axis=2).any()
    assert pixels_per_unit(plane, WHOLE, side=512) == 4


def test_classes_keep_their_colors_and_more_than_seven_are_dashed():
    names = {value: f"class {value}" for value in range(1, 10)}
    found = class_marks({0: "background", **names})
    assert 0 not in found
    assert [found[value].color for value in range(1, 8)] == list(COLORS)
    assert (found[8].color, found[8].kind, found[1].kind) == (COLORS[0], "dashes", "line")
    assert class_marks({1: "a", 2: "b"})[2].color == class_marks({2: "b", 1: "c", 3: "d"})[2].color


def test_the_legend_wraps_and_long_names_lose_their_middle():
    few = figure("a", [panel(600, 100)], [Mark("liver", ORANGE)])
    many = figure("a", [panel(600, 100)], [Mark("a long name " * 3, ORANGE)] * 6)
    assert many.width == few.width
    assert many.height > few.height + 40
    assert (np.asarray(many) == ORANGE).all(axis=2).any(axis=1).sum() >= 6 * 3 // 2
    letters = font(14)
    short = fitting("case\n" + "x" * 300 + "end", 100, letters)
    assert letters.getlength(short) <= 100
    assert (short[:6], short[-3:]) == ("case\\n", "end")
    assert fitting("short", 100, letters) == "short"


def test_slices_stand_side_by_side():
    parts = [Panel(Image.new("RGB", (300, 200), color), "") for color in [(9, 0, 0), (0, 9, 0)]]
    pixels = np.asarray(figure("a", parts, ()))
    first, second = (np.nonzero((pixels == part).all(axis=2)) for part in [(9, 0, 0), (0, 9, 0)])
    assert len(first[0]) == len(second[0]) == 300 * 200
    assert first[0].min() == second[0].min()
    assert first[1].max() < second[1].min()
