"""Tables of centres: what is written is read, and what is no table is refused in one sentence."""

import math
from pathlib import Path

import pytest

from llmseg_cli.artifacts.centres import (
    Centre,
    centres_file,
    load_centres,
    refuse_no_radius,
    save_centres,
)
from llmseg_cli.errors import DataError, UsageError

HEADER = "case,x,y,z,unit,class,name,confidence"


def test_round_trip(tmp_path: Path):
    path = tmp_path / centres_file("a")
    centres = [Centre((1.25, -0.0001, 3), 2, "tumor", 0.8125), Centre((0, 7, 0), 1)]
    save_centres(path, "a", centres, unit="mm")
    assert path.read_text().splitlines() == [
        HEADER,
        "a,1.25,0.0,3.0,mm,2,tumor,0.812",
        "a,0.0,7.0,0.0,mm,1,,",
    ]
    found = load_centres(path)
    assert found.unit == "mm"
    assert found.centres == (Centre((1.25, 0, 3), 2, "tumor", 0.812), Centre((0, 7, 0), 1))


def test_without_centres_there_is_a_first_line(tmp_path: Path):
    save_centres(tmp_path / "centres" / "a.csv", "a", [], unit="px")
    assert (tmp_path / "centres" / "a.csv").read_text() == f"{HEADER}\n"
    assert load_centres(tmp_path / "centres" / "a.csv").centres == ()


def test_three_columns_of_another_program_are_enough(tmp_path: Path):
    (tmp_path / "a.csv").write_text("class,y,x\n2,5,4\n")
    found = load_centres(tmp_path / "a.csv")
    assert (found.centres, found.unit) == ((Centre((4, 5, 0), 2),), "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column x, y, class"),
        ("x,y\n1,2\n", "has no column class"),
        ("x,y,class\n1,2,1\n1,two,1\n", "a.csv:3: y is 'two', expected a number"),
        ("x,y,class\nnan,2,1\n", "a.csv:2: x is 'nan', expected a number"),
        ("x,y,class\n1,2,0\n", "class is '0', expected 1 to 65535"),
        ("x,y,class\n1,2,-1\n", "class is '-1', expected 1 to 65535"),
        ("x,y,class\n1\n", "class is '', expected a number"),
        ("x,y,class\n1,2,1.5\n", "class is '1.5', expected 1 to 65535"),
        ("x,y,class\n1,2,1e30\n", "a.csv:2: class is '1e30', expected a number"),
        ("x,y,class\n1e300,2,1\n", "a.csv:2: x is '1e300', expected a number"),
        ('x,y,class\n1,"2,1\n', "unexpected end of data"),
        ("x,y,class,confidence\n1,2,1,high\n", "confidence is 'high', expected a number"),
        ("x,y,class,unit\n1,2,1,mm\n1,2,1,px\n", "has coordinates in mm and px; expected one"),
    ],
)
def test_what_is_no_table(tmp_path: Path, text: str, said: str):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=said.replace("(", r"\(")):
        load_centres(tmp_path / "a.csv")


@pytest.mark.parametrize("radius", [0.0, -1.0, math.inf, math.nan])
def test_a_radius_is_above_zero(radius: float):
    with pytest.raises(UsageError, match=r"--centres .*: expected a distance above 0"):
        refuse_no_radius(radius, "--centres")
    refuse_no_radius(None, "--centres")
    refuse_no_radius(0.5, "--centres")
