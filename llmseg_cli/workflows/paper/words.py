"""Text with citations such as `[@holm1979]`, as Markdown has it and as LaTeX."""

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files

CITATION = re.compile(r"\[(@[\w-]+(?:; @[\w-]+)*)\]")
ENTRY = re.compile(r"^@\w+\{([\w-]+),", re.MULTILINE)
SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


def cite(*keys: str) -> str:
    """A citation, with the space before it; nothing without keys."""
    return f" [{'; '.join(f'@{key}' for key in keys)}]" if keys else ""


def escaped(text: str) -> str:
    """Text that LaTeX shows as it stands."""
    return "".join(SPECIAL.get(sign, sign) for sign in text)


def as_latex(text: str) -> str:
    r"""The same text with `\cite`, and all else escaped."""
    found, end = "", 0
    for match in CITATION.finditer(text):
        before = escaped(text[end : match.start()])
        keys = ",".join(_keys(match[1]))
        found += before.removesuffix(" ") + rf"~\cite{{{keys}}}"
        end = match.end()
    return found + escaped(text[end:])


def _keys(citation: str) -> list[str]:
    return [key.removeprefix("@") for key in citation.split("; ")]


def cited(texts: Iterable[str]) -> list[str]:
    """The keys that texts cite, each once, in their order."""
    keys = (key for text in texts for match in CITATION.findall(text) for key in _keys(match))
    return list(dict.fromkeys(keys))


def bibliography(keys: Sequence[str]) -> str:
    """BibTeX entries.

    Raises:
        KeyError: If there is none of a key.
    """
    known = entries()
    return "\n".join(known[key] for key in sorted(keys))


def entries() -> dict[str, str]:
    """All entries that the package ships, by their keys."""
    text = (files("llmseg_cli") / "references" / "papers.bib").read_text(encoding="utf-8")
    starts = [match.start() for match in ENTRY.finditer(text)]
    parts = [text[a:b].strip() + "\n" for a, b in zip(starts, [*starts[1:], None], strict=True)]
    return {ENTRY.findall(part)[0]: part for part in parts}


def listed(words: Sequence[object]) -> str:
    """Such as `0, 1 and 2`."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last
