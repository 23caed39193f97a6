"""Texts of users: what YAML and JSON may hold, and what is refused in one sentence."""

import json
import os

import pytest
import yaml

from llmseg_cli import reading
from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.reading import MOST_DEPTH, line_of, parse, parse_json, read_text

LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abc", "bcd"))  # noqa: B905


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("K\xfcste: 1\n".encode("latin-1"), "line 1 is not UTF-8"),
        (b"a: 1\nb: \xff\n", "line 2 is not UTF-8"),
        ("a: 1\n".encode("utf-16"), "line 1 is not UTF-8"),
        ("a: 1\n".encode("utf-16-be"), "line 1 has a NUL character"),
        (b"a: 1\nb: \0\n", "line 2 has a NUL character"),
    ],
)
def test_a_text_is_utf8(tmp_path, content, reason):
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as caught:
        read_text(path)
    assert str(path) in str(caught.value)


def test_a_mark_of_byte_order_is_no_part_of_the_text(tmp_path):
    (tmp_path / "a").write_bytes("é: 1\n".encode("utf-8-sig"))
    assert read_text(tmp_path / "a") == "é: 1\n"


@pytest.mark.parametrize("kind", ["absent", "folder", "pipe", "device", "large"])
def test_only_regular_files_are_read(tmp_path, monkeypatch, kind):
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "large":
        monkeypatch.setattr(reading, "MOST_BYTES", 3)
        path.write_text("four")
    with pytest.raises(ArtifactError, match=r"Cannot read .*x: .*\. Make it\."):
        read_text(path, error=ArtifactError, hint="Make it.")


@pytest.mark.parametrize(
    "text", ["001", "255:1", "1:30:00", "no", "On", "2024-01-01", "0x1F", "1_000", "=", "<<", "010"]
)
def test_what_looks_like_text_is_text(text):
    assert parse(f"key: {text}") == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("~", None), ("", None), ("-12", -12), ("1.5", 1.5), ("1.0e-5", 1e-5)],
)
def test_what_yaml_still_reads(text, value):
    assert parse(f"key: {text}") == {"key": value}


@pytest.mark.parametrize(
    "content",
    [
        {"texts": ["no", "001", "1:30", "2024-01-01", "1e5", "~", "", "é\n", " x", "0x1", "true"]},
        {"numbers": [0, -3, 1.5, 1e-7, 1e300, 2**63 - 1], "none": None, "is": True, "e": {}},
    ],
)
def test_what_pyyaml_and_json_write_is_read_as_it_was(content):
    assert parse(yaml.safe_dump(content, allow_unicode=True)) == content
    assert parse(json.dumps(content)) == content


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, "line 2: an alias"),
        ("- &a [*a]", "line 1: an alias"),
        ("a: 1\na: 2", "line 2: the key 'a' stands there twice"),
        ('{"a": 1, "a": 2}', "the key 'a' stands there twice"),
        ("a:\n  b: " + "7" * 5000, "line 2: a number of 5000 digits"),
        ('{"a":\n' + "7" * 5000 + "}", "a number of 5000 digits"),
        ("- " * MOST_DEPTH + "x", f"line 1: more than {MOST_DEPTH} lists"),
        ("[" * 100_000, "within each other"),
        ('{"a":' * 100_000, "within each other"),
        ("a: !!python/object:os.system x", "line 1: the tag"),
        ("a: !!timestamp 2024-13-45", "line 1: the tag"),
        ("a: !!int x", "line 1: invalid literal"),
        ("? [a]\n: 1", "line 1: a list or mapping is no key"),
        ("a: b: c", "line 1: mapping values"),
        ("a: [\nb", "line 2: "),
        ("\x01", "special characters"),
        ('{"a": 1,\n "b" 2}', "line 2: "),
    ],
)
def test_what_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse(text)


def test_yaml_that_is_too_large_to_wait_for(monkeypatch):
    monkeypatch.setattr(reading, "MOST_YAML", 9)
    with pytest.raises(ValueError, match="MB of YAML"):
        parse("key: value")
    assert parse('{"key": "value"}') == {"key": "value"}


def test_a_line_of_json_is_no_yaml():
    with pytest.raises(ValueError, match="Expecting value"):
        parse_json("key: value")


def test_the_line_of_a_value():
    text = "a: 1\nb:\n  c:\n  - x\n  - y: 2\n"
    assert [line_of(text, where) for where in (("a",), ("b",), ("b", "c", 1, "y"))] == [1, 2, 5]
    assert line_of(text, ("z",)) is None
    assert line_of("a: [", ("a",)) is None
