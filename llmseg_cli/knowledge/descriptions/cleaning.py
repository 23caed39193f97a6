"""Make one clean paragraph of what a language model wrote."""

import re
import unicodedata
from dataclasses import dataclass
from itertools import takewhile

_THOUGHT = r"(?:think(?:ing)?|thoughts?|reasoning|reflection)"
_OPEN, _CLOSE = rf"(?:<{_THOUGHT}>|\[THINK\]|◁think▷)", rf"(?:</{_THOUGHT}>|\[/THINK\]|◁/think▷)"
_THOUGHTS = re.compile(rf"{_OPEN}.*?(?:{_CLOSE}|$)", re.DOTALL | re.IGNORECASE)
_ENDED_THOUGHTS = re.compile(rf"^.*{_CLOSE}", re.DOTALL | re.IGNORECASE)  # a template opened them
_FINAL = re.compile(  # the last channel of the harmony format, also without its tokens
    r"^.*<\|channel\|>\s*final\b.*?<\|message\|>|^\s*(?:analysis|commentary).*assistantfinal",
    re.DOTALL,
)
_OTHER_CHANNELS = re.compile(r"<\|channel\|>\s*(?:analysis|commentary)\b.*$", re.DOTALL)
_ROLE = r"<\|(?:start|im_start|start_header_id)\|>\s*(?:assistant|system|user)?\b"
_TOKENS = re.compile(rf"{_ROLE}|<[|\uff5c][\w\u2581-]{{1,40}}[|\uff5c]>")  # of chat templates
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_INVISIBLE = ("Cc", "Cs", "Cn", "Co")  # control characters, surrogates, and what is no character
_DIRECTIONS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")  # they reorder text
_RULES = re.compile(r"^\s*(?:`{3,}.*|~{3,}.*|(?:[-*_]\s*){3,})$", re.MULTILINE)
_BELOW_HEAD = re.compile(r"\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)*\|?\s*")  # of a table
_ROW = re.compile(r"\s*\|.*\|\s*")
_MARKS = re.compile(r"^\s*(?:#{1,6}\s+|[-*•]\s+|\d{1,2}[.)]\s+|>\s+)", re.MULTILINE)
_EMPHASIS = re.compile(r"(\*\*|__|`+)")
_SENTENCE_END = re.compile(r"[.!?][\"'”)\]]*(?=\s|$)")
_ABBREVIATION = re.compile(r"(?:^|[\s(])(?:e\.g|i\.e|approx|ca|cf|vs|Dr|Fig|fig|etc|no|[A-Z])\.$")
_APOSTROPHE = "\u2019"
_QUOTES = ('"', "'", "“", "”")
_OPENERS = re.compile(
    r"^(?:(?:sure(?: thing)?|certainly|of course|absolutely|okay|great question)\s*[!,.:]+\s*)?"
    r"(?:here(?: is|'s| are)\b[^.!?:]*:\s*)?",
    re.IGNORECASE,
)
_CLOSERS = re.compile(
    r"^(?:please )?(?:let me know\b|feel free\b|(?:do not|don't) hesitate\b"
    r"|i(?: would|'d)? (?:hope|be happy|be glad)\b.*\b(?:help|assist|answer|provide)"
    r"|(?:i'm |i am )?happy to help\b|is there anything else\b|would you like\b"
    r"|if you (?:need|have|want|would like|'d like|require)\b"
    r".*\b(?:ask|know|tell|provide|happy|help)"
    r"|do you (?:need|have|want)\b)",
    re.IGNORECASE,
)
_REFUSALS = re.compile(
    r"^(?:(?:i'm |i am |we are )?(?:very |so |really |truly |deeply )?sorry\b"
    r"|(?:my |i )?apolog(?:ies|i[sz]e)\b"
    r"|(?:(?:unfortunately|regrettably),? )?i (?:can't|cannot|can not|won't|will not|must decline"
    r"|must refuse|decline|refuse|would rather not|prefer not"
    r"|do(?: not|n't) (?:feel|have|think i (?:can|should)))\b"
    r"|(?:(?:unfortunately|regrettably),? )?(?:i'm|i am) (?:unable|uncomfortable"
    r"|not (?:able|comfortable|qualified|allowed|permitted|authori[sz]ed|in a position))\b"
    r"|please (?:consult|see|contact|speak (?:to|with)|ask) (?:a|an|your)\b"
    r"|this request (?:violates|goes against)\b"
    r"|as an ai\b|as a (?:large )?language model\b"
    r"|es tut mir leid|je suis désolé|lo siento|对不起|抱歉|很抱歉|申し訳)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class CleanText:
    """A paragraph, and whether something was cut off its end."""

    text: str
    cut: bool


def clean(written: str, *, max_words: int, finished: bool = True) -> CleanText:
    """Strip thoughts, markup, courtesies and quotes, join the lines, and end with a whole sentence.

    Args:
        written: What the model wrote.
        max_words: Words that may stay. Whole sentences are kept up to it; if even the first is
            longer, its first words are.
        finished: False if the model was stopped in the middle, so that a last part without a full
            stop is no sentence.

    Returns:
        The paragraph; empty if nothing was written.
    """
    plain = _without_markup(without_thoughts(printable(written)))
    words = _unquoted(_without_courtesies(" ".join(plain.split()))).split()
    whole = " ".join(words)
    if finished and len(words) <= max_words:
        return CleanText(whole, cut=False)
    ends = [end for end in _sentence_ends(whole) if len(whole[:end].split()) <= max_words]
    kept = whole[: ends[-1]] if ends else " ".join(words[:max_words])
    return CleanText(kept, cut=kept != whole)


def printable(text: str) -> str:
    """The text without control characters, escape sequences of terminals and marks of direction."""
    text = _DIRECTIONS.sub("", _ESCAPES.sub("", text))
    kept = (c for c in text if c in "\n\t" or unicodedata.category(c) not in _INVISIBLE)
    return "".join(kept)


def without_thoughts(text: str) -> str:
    """What a model says after it has thought; a thought that never ends is all it says."""
    text = _ENDED_THOUGHTS.sub("", _THOUGHTS.sub("", text))
    return _TOKENS.sub("", _OTHER_CHANNELS.sub("", _FINAL.sub("", text)))


def is_refusal(text: str) -> bool:
    """Whether a model declines to write, instead of writing."""
    return bool(_REFUSALS.match(_typed(text)))


def _typed(text: str) -> str:
    """A sentence with the apostrophes of a keyboard, to compare with phrases."""
    return text.strip().replace(_APOSTROPHE, "'")


def _without_markup(text: str) -> str:
    text = _without_tables(text)
    for pattern in (_RULES, _MARKS, _EMPHASIS):
        text = pattern.sub("", text)
    return text


def _without_tables(text: str) -> str:
    """The text without the lines of tables, whose words are no sentences."""
    lines = text.split("\n")
    dropped = {number for number, line in enumerate(lines) if _ROW.fullmatch(line)}
    for number, line in enumerate(lines):
        if "|" in line and _BELOW_HEAD.fullmatch(line):
            below = takewhile(lambda n: "|" in lines[n], range(number + 1, len(lines)))
            dropped |= {number, *below}
            if number and "|" in lines[number - 1]:
                dropped.add(number - 1)
    return "\n".join(line for number, line in enumerate(lines) if number not in dropped)


def _without_courtesies(text: str) -> str:
    """The text without what is said to the person who asked, before and after it."""
    found = _OPENERS.match(text.replace(_APOSTROPHE, "'"))
    text = text[found.end() :] if found else text
    while text:
        starts = [0, *(end for end in _sentence_ends(text) if end < len(text))]
        if not _CLOSERS.match(_typed(text[starts[-1] :])):
            break
        text = text[: starts[-1]].rstrip()
    return text


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
