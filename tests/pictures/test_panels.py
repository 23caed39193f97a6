"""Plots: one element of a page each, with text that is text and names of parts that are unique."""

import re
from xml.etree import ElementTree

import pytest

from llmseg_cli.pictures import panels
from llmseg_cli.pictures.panels import Column, Line, Panel

ODD = '<b>$x_1$</b> & "心"'
LINES = Panel("Loss", [Line(ODD, [(1, 2.0), (2, 1.0)]), Line("other", [(1, 0.0), (2, 0.5)])])


def drawn(name: str) -> list[str]:
    column = Column(ODD, [0.1, 0.5, 0.9], 0.5, (0.3, 0.7))
    return [
        panels.curves([LINES, LINES, LINES], name=name),
        panels.strip([column, column], label="Dice", name=name),
        panels.slopes([(0.1, 0.2), (0.5, 0.4), (0.3, 0.3)], (ODD, "b"), label="Dice", name=name),
        panels.histograms({ODD: [1.0, 2.0, 2.0], "one": [3.0]}, name=name),
    ]


@pytest.mark.parametrize("svg", drawn("a"))
def test_a_plot_is_sound_and_refers_to_nothing_outside(svg):
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg"
    assert "http" not in svg
    assert "NaN" not in svg
    own = {one.get("id") for one in root.iter() if one.get("id")}
    asked = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    assert asked <= own
    assert all(name.startswith("a-") for name in own)


@pytest.mark.parametrize("svg", drawn("a"))
def test_text_is_text_and_never_markup_or_mathematics(svg):
    texts = [one.text for one in ElementTree.fromstring(svg).iter("text")]
    assert any(text and text.startswith("<b>$x_1$</b> & ") for text in texts)


def test_the_same_numbers_give_the_same_bytes():
    assert drawn("a") == drawn("a")


def test_numbers_of_axes_keep_their_digits():
    small = Panel("Rate", [Line("r", [(1, 0.001), (2, 0.0042)])])
    texts = [one.text for one in ElementTree.fromstring(panels.curves([small], name="a")).iter()]
    assert "0.002" in texts


def test_dots_of_like_values_lie_side_by_side():
    shifts = panels.spread([0.5, 0.5, 0.5, 0.9])
    assert len({*shifts[:3]}) == 3
    assert shifts[3] == 0
    assert max(map(abs, panels.spread([0.5] * 200))) <= 0.25
    assert panels.spread([]) == []
