"""Texts of options become numbers that exist, or are refused in a sentence."""

import pytest

from llmseg_cli.errors import UsageError
from llmseg_cli.options import (
    parse_assignments,
    parse_duration,
    parse_label_map,
    parse_layers,
    parse_margins,
    parse_sizes,
    parse_spacing,
)

ENDLESS = ("nan", "inf", "-inf", "1e999")


@pytest.mark.parametrize("text", [*ENDLESS, "1,nan,1", "1e-300", "-1", "1e12", "1,2", "a"])
def test_a_spacing_is_of_this_world(text):
    with pytest.raises(UsageError, match=r"^spacing .*expected"):
        parse_spacing(text)


@pytest.mark.parametrize("text", ["0", "1e-6", "0.5,0.5,5", "1000"])
def test_a_spacing_from_nanometers_to_meters(text):
    assert parse_spacing(text) == tuple(map(float, text.split(",")))


@pytest.mark.parametrize(
    ("parse", "texts"),
    [
        (parse_margins, ENDLESS),
        (parse_sizes, ("1,1,99999999999999999999", "1,1,1e3")),
        (parse_layers, ("99999999999999999999", "9" * 5000)),
    ],
)
def test_rows_of_numbers_are_finite_and_of_use(parse, texts):
    for text in texts:
        with pytest.raises(UsageError, match="expected") as raised:
            parse(text)
        assert raised.value.exit_code == 2


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e999", "9" * 19, "[1, .nan]"])
def test_values_of_assignments_are_finite(value):
    with pytest.raises(UsageError, match=r"--method-option 'weight=.*expected a finite number"):
        parse_assignments([f"weight={value}"], flag="--method-option")


@pytest.mark.parametrize(
    "pair", ["1:99999999999999999999", "1:65536", "1:-1", "99999999999999999999:1", "1:1:1", "1"]
)
def test_label_values_that_no_class_has(pair):
    with pytest.raises(UsageError, match=rf"^label map '{pair}'"):
        parse_label_map([pair])


def test_label_values_up_to_the_highest():
    assert parse_label_map(["-1:0,70000:65535", "2: 1"]) == {-1: 0, 70000: 65535, 2: 1}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("30min", 1800),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1 h 30 m 5 s", 5405),
        ("0.5h", 1800),
        ("1.5M", 90),
    ],
)
def test_times(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "-3m", "0s", "3m2h", "1h1h", "soon", "1e9h", 1800])
def test_what_is_no_time(text):
    with pytest.raises(UsageError, match="expected such as 90s, 30m, 2h or 1h30m"):
        parse_duration(text)


def test_auto_is_left_open():
    assert parse_sizes("auto") == parse_spacing("auto") == ()
    with pytest.raises(UsageError, match="such as 64,64,48, or auto"):
        parse_sizes("0,0")
    with pytest.raises(UsageError, match=r"or auto\."):
        parse_spacing("1,1")
