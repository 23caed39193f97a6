"""Text that came from elsewhere, such as the name of a file, made fit to be shown and stored."""

import re
from collections.abc import Sequence

# Control characters but line breaks and tabs, half characters of names that are not UTF-8, and
# signs that turn the direction of what follows: a terminal would obey them, or fail on them.
BEYOND_ASCII = "\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
UNSEEN = re.compile(rf"[\x00-\x08\x0b-\x1f{BEYOND_ASCII}]")
IN_JSON = re.compile(f"[{BEYOND_ASCII}]")

PIECES = re.compile(r"[ \t]+|[(\[]?'llmseg [^']*'[^ \t]*|[^ \t]+")  # a command in quotes is one
HEAD, TAIL = 1500, 400  # signs that are shown of a line that is too long
LONGEST_LINE = HEAD + TAIL + 100


def visible(text: str) -> str:
    r"""The text with what cannot be seen written out, such as `\x1b` for ESC."""
    return UNSEEN.sub(_written_out, text)


def readable(text: str) -> str:
    """The text with lines that nobody reads to their end cut in the middle.

    Libraries quote what they choke on, however long it is.
    """
    return "\n".join(
        line if len(line) <= LONGEST_LINE else f"{line[:HEAD]} [...] {line[-TAIL:]}"
        for line in text.split("\n")
    )


def in_one_line(text: str) -> str:
    r"""The same without line breaks and tabs, which become `\n` and `\t`."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def counted(number: int, noun: str) -> str:
    """A number of things, such as `1 case` or `2 cases`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def aligned(rows: Sequence[Sequence[str]], *, numbers: bool = True) -> list[str]:
    """Rows of a table as lines of text, columns two spaces apart.

    Args:
        rows: Of one length.
        numbers: Whether all columns but the first are aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index and numbers else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def escaped_json(text: str) -> str:
    """JSON text with the same signs as JSON writes them; it says what it said before."""
    return IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def wrapped(text: str, width: int, *, indent: int = 0) -> str:
    """The text in lines of at most *width* signs, broken at spaces.

    A longer word stays whole, so that a path can be copied, and so does a command in quotes that
    fits a line. Spaces within a line are kept.

    Args:
        text: Lines, each of which is wrapped alone.
        width: Signs in a line.
        indent: Spaces before the lines that one is continued on.
    """
    return "\n".join(part for line in text.split("\n") for part in _wrapped(line, width, indent))


def _wrapped(line: str, width: int, indent: int) -> list[str]:
    lines, current, gap = [], "", ""
    for piece in PIECES.findall(line):
        if piece.isspace():
            gap = piece
            continue
        for word in [piece] if len(piece) <= width - indent else piece.split(" "):
            if current.strip() and len(current) + len(gap) + len(word) > width:
                lines.append(current)
                current, gap = " " * indent, ""
            current, gap = current + gap + word, " "
        gap = ""
    return [*lines, current]
