"""What models write becomes one paragraph of whole sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmseg_cli.knowledge.descriptions.cleaning import CleanText, clean, is_refusal, printable

LIVER = "The liver is smooth. It lies below the diaphragm."
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
        ("<|channel|>analysis<|message|>It never ends.", ""),
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


@pytest.mark.parametrize(
    "written",
    [
        f"Okay, the user wants the liver.\nI must be short.\n</think>\n\n{LIVER}",
        f"first thought</thinking> second thought </THINKING>{LIVER}",
        f"[THINK]Is it?[/THINK]{LIVER}",
        f"<reasoning>Is it?</reasoning>{LIVER}",
        "<|channel|>analysis<|message|>Is it smooth?<|end|><|start|>assistant<|channel|>final"
        f"<|message|>{LIVER}<|return|>",
        f"<|channel|>final <|constrain|>text<|message|>{LIVER}",
        f"analysisThe user wants the liver.assistantfinal{LIVER}",
        f"<|im_start|>assistant\n{LIVER}<|im_end|>",
        f"<|start_header_id|>assistant<|end_header_id|>\n\n{LIVER}<|eot_id|>",
        f"{LIVER}<\uff5cend\u2581of\u2581sentence\uff5c>",
        f"| part | size |\n|---|:-:|\n| lobe | 9 cm |\n\n{LIVER}",
        f"{LIVER}\n\npart | size\n--- | ---\nlobe | 9 cm\n",
        f"```markdown\n{LIVER}\n```",
        f"---\n{LIVER}\n***",
        f"{LIVER} Let me know if you need more!",
        f"{LIVER}\n\nI hope this helps! Please feel free to ask for more details.",
        f"{LIVER} If you need further details, I\u2019m happy to help.",
        f"{LIVER} Would you like me to go on?",
        f"Sure! Here\u2019s a description of the liver:\n\n{LIVER}",
        f"\x1b[1;31m{LIVER}\x1b[0m\x07\u202e",
        f"\x1b]0;a title\x07{LIVER}\x00",
    ],
)
def test_what_is_no_description_goes(written):
    assert clean(written, max_words=50) == CleanText(LIVER, cut=False)


@pytest.mark.parametrize(
    "written",
    [
        "It is bright | dark in parts. It lets blood pass.",
        "If you need a landmark, the aorta lies behind it.",
        "Here is the left lobe: it is small.",
        "The wall is thin. Would-be edges are blurred.",
        "The value a < b, and c > d.",
        "The value |a| <|b| or |c|> d.",
        "Analysis of the wall shows two layers.",
    ],
)
def test_sentences_that_look_alike_stay(written):
    expected = written.removeprefix("Here is the left lobe: ")
    assert clean(written, max_words=50).text == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I\u2019m sorry, I can\u2019t assist.", True),
        ("Sorry, no.", True),
        ("Unfortunately, I am unable to describe patients.", True),
        ("As an AI language model, I see no images.", True),
        ("I apologize, but this is medical advice.", True),
        ("I cannot provide medical advice.", True),
        ("I'm not comfortable describing this. Please consult a doctor.", True),
        ("I am not qualified to give medical advice.", True),
        ("Please consult a physician.", True),
        ("I must refuse.", True),
        ("This request violates our policy.", True),
        ("I-shaped in cross-section, it lies behind.", False),
        ("The liver cannot be seen as a whole in one slice.", False),
        ("Unfortunately for the reader, the edge is blurred.", False),
        ("In the heart, it lies behind.", False),
    ],
)
def test_refusals_are_told_from_descriptions(text, expected):
    assert is_refusal(text) is expected


@given(text=st.text(max_size=40))
def test_nothing_that_a_terminal_obeys_is_left(text):
    found = printable(text)
    assert all(c in "\n\t" or c.isprintable() or c.isspace() or ord(c) > 0x9F for c in found)
    assert printable(found) == found
