"""Bars of a line of text rise and fall as their numbers do."""

import pytest

from llmseg_cli.pictures.sparkline import BARS, sparkline


def test_bars_go_from_the_lowest_to_the_highest_value():
    assert sparkline(range(8)) == BARS
    assert sparkline([3, 1, 2]) == "█▁▅"


@pytest.mark.parametrize(("values", "bars"), [([], ""), ([5.0], "▁"), ([2.0, 2.0], "▁▁")])
def test_values_that_have_no_spread(values, bars):
    assert sparkline(values) == bars


def test_many_values_are_thinned_to_the_means_of_neighbors():
    assert sparkline([0, 0, 7, 7, 0, 0, 7, 7], width=4) == "▁█▁█"
    assert len(sparkline(range(1000), width=40)) == 40
    assert list(sparkline(range(1000))) == sorted(sparkline(range(1000)))
