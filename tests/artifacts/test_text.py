"""Text of others is shown and stored so that no terminal or spreadsheet obeys it."""

import csv
import io
import json

import pytest

from llmseg_cli.artifacts.files import to_json
from llmseg_cli.artifacts.spreadsheet import csv_text
from llmseg_cli.artifacts.text import (
    HEAD,
    LONGEST_LINE,
    TAIL,
    in_one_line,
    readable,
    visible,
    wrapped,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;pwned\x07x", r"\x1b]0;pwned\x07x"),
        ("a\rb", r"a\x0db"),
        ("\x9b31m", r"\x9b31m"),
        ("caf\udce9", r"caf\udce9"),
        ("a\u202egnp", r"a\u202egnp"),
        ("line\n\ttab é 左", "line\n\ttab é 左"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str):
    assert visible(text) == shown
    shown.encode()
    assert in_one_line(text) == shown.replace("\n", r"\n").replace("\t", r"\t")


def test_json_says_what_it_said_and_can_be_stored():
    content = {"caf\udce9": "\x1b\x7f\x9b\u2028\u202e é 左", "n": [1, None]}
    text = to_json(content)
    assert json.loads(text) == content
    assert "é 左" in text
    assert not set(text.encode().decode()) & set("\x1b\x7f\x9b\u2028\u202e")


@pytest.mark.parametrize("name", ['=HYPERLINK("x","y")', "+1", "-2+3", "@SUM(A1)", " =1", "\t=1"])
def test_no_text_of_a_table_is_a_formula(name: str):
    (row,) = csv.DictReader(io.StringIO(csv_text(("case", "dice"), [{"case": name}])))
    assert row["case"] == f"'{visible(name)}"
    assert row["dice"] == ""


def test_numbers_and_other_texts_stay_as_they_are():
    rows = [{"case": "p-1=2", "volume": -0.25, "note": None}]
    assert csv_text(("case", "volume", "note"), rows) == "case,volume,note\np-1=2,-0.25,\n"


def test_control_characters_do_not_enter_a_table():
    assert "\x1b" not in csv_text(("case",), [{"case": "a\x1b[2J\udce9"}])


@pytest.mark.parametrize("size", [0, 5, LONGEST_LINE, LONGEST_LINE + 1, 100_000])
def test_a_line_that_nobody_reads_to_its_end_is_cut_in_the_middle(size):
    line = "".join(chr(ord("a") + index % 26) for index in range(size))
    first, found, last = readable(f"Error: a.safetensors\n{line}\nFetch it again.").split("\n")
    assert (first, last) == ("Error: a.safetensors", "Fetch it again.")
    assert found == line if size <= LONGEST_LINE else len(found) < LONGEST_LINE
    assert line.startswith(found[:HEAD])
    assert line.endswith(found[-TAIL:])


@pytest.mark.parametrize("width", [1, 7, 20, 33, 80])
def test_wrapped_lines_fit_and_keep_every_word(width: int):
    text = "one  two three ('llmseg split --test 2' does) /a/long/path/to/a/file\n  four five"
    lines = wrapped(text, width).split("\n")
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(len(line) <= width or " " not in line.strip() for line in lines)
    assert any("'llmseg split --test 2'" in line for line in lines) == (width >= 25)


def test_wrapped_keeps_what_fits():
    assert wrapped("a   b\n\n  c", 80) == "a   b\n\n  c"
    assert wrapped("aa bb cc", 6, indent=2) == "aa bb\n  cc"
