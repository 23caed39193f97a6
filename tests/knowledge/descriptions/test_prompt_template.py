"""Placeholders are filled, and mistakes in a template are found before any model is asked."""

import pytest

from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.descriptions.prompt_template import (
    ASPECTS,
    DEFAULT,
    PromptTemplate,
    load_template,
    subject,
)


def fill(text: str, number: int = 1) -> str:
    return PromptTemplate(text).fill(
        target="heart", class_name="left ventricle", modality="MRI", max_words=30, number=number
    )


def test_all_placeholders():
    text = "{subject}|{target}|{class_name}|{modality}|{max_words}|{number}|{aspect}|{{x}}"
    expected = f"left ventricle of the heart|heart|left ventricle|MRI|30|2|{ASPECTS[1]}|{{x}}"
    assert fill(text, number=2) == expected


def test_the_default_asks_for_another_aspect_each_time():
    asked = [fill(DEFAULT, number) for number in range(1, 6)]
    assert len(set(asked[:4])) == 4
    assert asked[4] == asked[0]
    assert all("left ventricle of the heart as seen in MRI" in query for query in asked)


@pytest.mark.parametrize(
    ("target", "class_name", "expected"),
    [
        ("left atrium", "left atrium", "left atrium"),
        ("hippocampus", "anterior", "anterior of the hippocampus"),
        ("lung", "left lung", "left lung"),
    ],
)
def test_the_subject_names_the_target_once(target, class_name, expected):
    assert subject(target, class_name) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Describe {modalty}.", "Did you mean 'modality'"),
        ("Describe {modality.", "write a brace as"),
        ("Describe {}.", "Unknown placeholder"),
        ("  \n", "is empty"),
    ],
)
def test_mistakes_are_found_at_once(text, message):
    with pytest.raises(UsageError, match=message):
        PromptTemplate(text)


def test_a_template_comes_from_a_file(tmp_path):
    (tmp_path / "mine.txt").write_text("What is {subject}?\n")
    template = load_template(tmp_path / "mine.txt")
    assert not template.tells_texts_apart()
    assert load_template(None).tells_texts_apart()
    with pytest.raises(UsageError, match=r"Cannot read .*absent\.txt: No such file"):
        load_template(tmp_path / "absent.txt")
