"""Signs that are drawn over images, and the legend that says what each means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from PIL import Image, ImageDraw, ImageFont

from llmseg_cli.artifacts.text import in_one_line

Color = tuple[int, int, int]
Font: TypeAlias = ImageFont.FreeTypeFont

# Of Okabe and Ito, who tried them with color-blind people.
ORANGE, SKY_BLUE, BLUISH_GREEN = (230, 159, 0), (86, 180, 233), (0, 158, 115)
YELLOW, VERMILLION, PURPLE, BLUE = (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178)
COLORS = (ORANGE, SKY_BLUE, BLUISH_GREEN, YELLOW, VERMILLION, PURPLE, BLUE)  # of classes, in turn
PAPER, INK = (0, 0, 0), (255, 255, 255)
SWATCH, GAP = 22, 6  # pixels
MOST = 28  # signs of a legend


@dataclass(frozen=True)
class Mark:
    """How something is drawn.

    Args:
        text: What it means.
        color: Red, green and blue, 0 to 255.
        kind: An outline, one of dashes, or an area.
    """

    text: str
    color: Color
    kind: Literal["line", "dashes", "area"] = "line"


def class_marks(classes: Mapping[int, str]) -> dict[int, Mark]:
    """An outline for each class, in the colors of Okabe and Ito; of more than seven, also dashed.

    Args:
        classes: Value to name; the order of values gives the colors, so that a class looks the same
            in all pictures. Beyond twice seven, colors come again.
    """
    found = {}
    for index, value in enumerate(sorted(value for value in classes if value)):
        kind: Literal["line", "dashes"] = "dashes" if index // len(COLORS) % 2 else "line"
        found[value] = Mark(classes[value], COLORS[index % len(COLORS)], kind)
    return found


def font(size: int) -> Font:
    """Letters of this height in pixels."""
    found: Any = ImageFont.load_default(size)
    return found


def fitting(text: str, width: float, letters: Font) -> str:
    """The text in one line, with its middle left out where it would be wider, in pixels."""
    shown = in_one_line(text)
    if letters.getlength(shown) <= width:
        return shown
    for kept in range(len(shown) - 1, 0, -1):
        head, tail = shown[: kept - kept // 2], shown[len(shown) - kept // 2 :]
        if letters.getlength(f"{head}…{tail}") <= width:
            return f"{head}…{tail}"
    return "…"


def legend(marks: Sequence[Mark], width: int, *, size: int = 14) -> Image.Image:
    """What signs mean, in as many rows as are needed.

    Args:
        marks: The signs, in their order; of very many, the first.
        width: In pixels.
        size: Height of the letters in pixels.
    """
    letters, row = font(size), size + 10
    if len(marks) > MOST:
        rest = len(marks) - MOST + 1
        marks = [*marks[: MOST - 1], Mark(f"and {rest} more, in the same colors", INK)]
    places: list[tuple[int, int, str]] = []
    left = top = 0
    for mark in marks:
        text = fitting(mark.text, width - SWATCH - GAP, letters)
        taken = SWATCH + GAP + round(letters.getlength(text))
        if left and left + taken > width:
            left, top = 0, top + row
        places.append((left, top, text))
        left += taken + 3 * GAP
    picture = Image.new("RGB", (width, top + row if marks else 1), PAPER)
    draw = ImageDraw.Draw(picture)
    for mark, (x, y, text) in zip(marks, places, strict=True):
        _swatch(draw, mark, x, y + row // 2)
        draw.text((x + SWATCH + GAP, y + row // 2), text, fill=INK, font=letters, anchor="lm")
    return picture


def _swatch(draw: ImageDraw.ImageDraw, mark: Mark, x: int, middle: int) -> None:
    """The sign at the left of its text, as it looks in the pictures."""
    if mark.kind == "area":
        draw.rectangle((x, middle - 6, x + SWATCH - 1, middle + 6), fill=mark.color)
    elif mark.kind == "line":
        draw.rectangle((x, middle - 1, x + SWATCH - 1, middle + 1), fill=mark.color)
    else:
        for start in range(x, x + SWATCH, 10):
            draw.rectangle((start, middle - 1, start + 4, middle + 1), fill=mark.color)
