"""Texts that a person wrote, in the forms people write them."""

import pytest

from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.descriptions.hand_written import load_texts


def write(tmp_path, content: str, name: str = "texts.txt"):
    path = tmp_path / name
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("One line.\nAnother.\n", ("One line.", "Another.")),
        ("A paragraph\nof two lines.\n\n\n  Another.\n", ("A paragraph of two lines.", "Another.")),
        ("Just one.", ("Just one.",)),
    ],
)
def test_paragraphs_or_lines(tmp_path, content, expected):
    assert load_texts(write(tmp_path, content), ["a"]) == {"a": expected}


def test_yaml_by_class_in_the_order_asked_for(tmp_path):
    path = write(tmp_path, "b: [Two., Three.]\na: One.\nc: [Unused.]\n", "texts.yaml")
    found = load_texts(path, ["a", "b"])
    assert list(found.items()) == [("a", ("One.",)), ("b", ("Two.", "Three."))]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("texts.txt", "One.", "serves one class, but there are 2: a, b"),
        ("texts.yaml", "a: [One.]", "no texts for: b. It has: a"),
        ("texts.yaml", "- One.", "expected 'class:"),
        ("texts.yaml", "a: [", "is neither JSON nor YAML: line 1"),
        ("texts.yaml", "a: [One.]\nb: {c: d}", "class 'b' needs a list of texts"),
        ("texts.yaml", "a: [One.]\nb: ['']", "no text for 'b'"),
    ],
)
def test_faults_are_named(tmp_path, name, content, message):
    with pytest.raises(UsageError, match=message):
        load_texts(write(tmp_path, content, name), ["a", "b"])


def test_an_absent_or_empty_file(tmp_path):
    with pytest.raises(UsageError, match=r"Cannot read .*absent\.txt: No such file"):
        load_texts(tmp_path / "absent.txt", ["a"])
    with pytest.raises(UsageError, match="no text for 'a'"):
        load_texts(write(tmp_path, "\n\n"), ["a"])
