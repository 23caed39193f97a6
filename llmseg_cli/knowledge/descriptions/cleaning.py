"""Make one clean paragraph of what a language model wrote."""

import re
from dataclasses import dataclass

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|$)", re.DOTALL | re.IGNORECASE)
_MARKS = re.compile(r"^\s*(?:#{1,6}\s+|[-*•]\s+|\d{1,2}[.)]\s+|>\s+)", re.MULTILINE)
_EMPHASIS = re.compile(r"(\*\*|__|`+)")
_SENTENCE_END = re.compile(r"[.!?][\"'”)\]]*(?=\s|$)")
_ABBREVIATION = re.compile(r"(?:^|[\s(])(?:e\.g|i\.e|approx|ca|cf|vs|Dr|Fig|fig|etc|no|[A-Z])\.$")
_QUOTES = ('"', "'", "“", "”")


@dataclass(frozen=True)
class CleanText:
    """A paragraph, and whether something was cut off its end."""

    text: str
    cut: bool


def clean(written: str, *, max_words: int, finished: bool = True) -> CleanText:
    """Strip thoughts, markup and quotes, join the lines, and end with a whole sentence.

    Args:
        written: What the model wrote.
        max_words: Words that may stay. Whole sentences are kept up to it; if even the first is
            longer, its first words are.
        finished: False if the model was stopped in the middle, so that a last part without a full
            stop is no sentence.

    Returns:
        The paragraph; empty if nothing was written.
    """
    plain = _EMPHASIS.sub("", _MARKS.sub("", _THOUGHTS.sub("", written)))
    words = _unquoted(" ".join(plain.split())).split()
    whole = " ".join(words)
    if finished and len(words) <= max_words:
        return CleanText(whole, cut=False)
    ends = [end for end in _sentence_ends(whole) if len(whole[:end].split()) <= max_words]
    kept = whole[: ends[-1]] if ends else " ".join(words[:max_words])
    return CleanText(kept, cut=kept != whole)


def _sentence_ends(text: str) -> list[int]:
    return [
        match.end()
        for match in _SENTENCE_END.finditer(text)
        if not _ABBREVIATION.search(text[: match.start() + 1])
    ]


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
        return text[1:-1].strip()
    return text
