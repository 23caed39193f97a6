"""What models write becomes one paragraph of whole sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmseg_cli.knowledge.descriptions.cleaning import CleanText, clean

WORDS = st.lists(st.sampled_from(["heart", "lies", "left.", "e.g.", "3.5", "mm!", "(see)", "\n"]))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("  A thin\n\nwall. ", "A thin wall."),
        ('"A thin wall."', "A thin wall."),
        ("“A thin wall.”", "A thin wall."),
        ("# Atrium\n- **Thin** wall.\n2. Round.", "Atrium Thin wall. Round."),
        ("<think>Is it thin?\nYes.</think>A thin wall.", "A thin wall."),
        ("<think>never ends", ""),
        ("", ""),
    ],
)
def test_markup_goes_and_words_stay(written, expected):
    assert clean(written, max_words=50) == CleanText(expected, cut=False)


def test_it_ends_with_the_last_whole_sentence_that_fits():
    written = "One two three. Four five six. Seven eight nine ten."
    assert clean(written, max_words=7) == CleanText("One two three. Four five six.", cut=True)
    assert clean(written, max_words=10) == CleanText(written, cut=False)


def test_a_model_that_was_stopped_loses_its_half_sentence():
    written = "One two three. Four five"
    assert clean(written, max_words=50, finished=False) == CleanText("One two three.", cut=True)
    assert clean(written, max_words=50, finished=True) == CleanText(written, cut=False)


def test_a_single_long_sentence_keeps_its_first_words():
    assert clean("one two three four.", max_words=2) == CleanText("one two", cut=True)


@pytest.mark.parametrize("point", ["e.g. the", "i.e. the", "approx. 3", "3.5 mm,", "of Dr. A"])
def test_abbreviations_and_numbers_end_no_sentence(point):
    written = f"A wall of {point} x. Then more words follow here"
    assert clean(written, max_words=50, finished=False).text == f"A wall of {point} x."


@given(words=WORDS, limit=st.integers(1, 12), finished=st.booleans())
def test_the_result_is_a_beginning_within_the_limit(words, limit, finished):
    written = " ".join(words)
    found = clean(written, max_words=limit, finished=finished)
    assert " ".join(written.split()).startswith(found.text)
    assert len(found.text.split()) <= limit
    assert found.cut == (found.text != " ".join(written.split()))
