"""A picture of one case: slices side by side, each with its scale, and what the signs mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from llmseg_cli.artifacts.files import atomic_path
from llmseg_cli.pictures.marks import INK, PAPER, Font, Mark, fitting, font, legend

Picture = Image.Image
TITLE, TEXT = 20, 14  # pixels
PAD, BETWEEN = 12, 8  # pixels
LEAST_WIDTH = 560  # pixels, so that words have room beside a narrow picture
BAR_SHARE = 0.3  # of a picture's width that a scale takes at most
LETTERS = "R, L, A, P, S, I: the patient's right, left, front, back, head, feet."


@dataclass(frozen=True, eq=False)
class Panel:
    """One slice.

    Args:
        picture: As `tiles` draws it.
        caption: Which one it is.
        pixels_per_mm: Of the picture; None if nobody knows.
        sides: Letters at the left, right, top and bottom, or None.
    """

    picture: Image.Image
    caption: str
    pixels_per_mm: float | None = None
    sides: tuple[str, str, str, str] | None = None


def figure(
    title: str, panels: Sequence[Panel], marks: Sequence[Mark], *, notes: Sequence[str] = ()
) -> Image.Image:
    """Slices of a case in a row, with its name above and the legend below.

    Args:
        title: The case.
        panels: At least one.
        marks: What is in the legend.
        notes: Lines below the title.
    """
    inner = sum(panel.picture.width for panel in panels) + BETWEEN * (len(panels) - 1)
    width = max(inner, LEAST_WIDTH)
    told = (*notes, *([LETTERS] if any(panel.sides for panel in panels) else ()))
    signs = legend(marks, width, size=TEXT)
    line = TEXT + 6
    tops = [PAD + TITLE + 8 + line * index for index in range(len(told) + 1)]
    height = max(panel.picture.height for panel in panels)
    below = tops[-1] + height + line
    sheet = Image.new("RGB", (width + 2 * PAD, below + 4 + signs.height + PAD), PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (PAD, PAD), title, TITLE, width)
    for top, note in zip(tops, told, strict=False):
        _write(draw, (PAD, top), note, TEXT, width)
    left = PAD
    for panel in panels:
        sheet.paste(_with_scale(panel), (left, tops[-1]))
        _write(draw, (left, tops[-1] + height + 4), panel.caption, TEXT, panel.picture.width)
        left += panel.picture.width + BETWEEN
    sheet.paste(signs, (PAD, below + 4))
    return sheet


def save_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG, whole or not at all; the folder is made if it is not there."""
    with atomic_path(path) as temporary:
        picture.save(temporary, "PNG")


def round_length(most: float) -> float:
    """The longest of 1, 2 and 5 times a power of ten that is not longer than *most*."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(one * power for one in (1, 2, 5) if one * power <= most * (1 + 1e-9))


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, width: int
) -> None:
    letters = font(size)
    draw.text(place, fitting(text, width, letters), fill=INK, font=letters)


def _with_scale(panel: Panel) -> Image.Image:
    picture = panel.picture.copy()
    draw = ImageDraw.Draw(picture)
    letters, (width, height) = font(TEXT), picture.size
    if panel.sides is not None:
        places = (
            *((4, height / 2, "lm"), (width - 4, height / 2, "rm")),
            *((width / 2, 3, "mt"), (width / 2, height - 3, "mb")),
        )
        for text, (x, y, anchor) in zip(panel.sides, places, strict=True):
            _outlined(draw, (x, y), text, letters, anchor)
    if panel.pixels_per_mm is not None:
        length = round_length(BAR_SHARE * width / panel.pixels_per_mm)
        end, y = 8 + round(length * panel.pixels_per_mm), height - 9
        draw.rectangle((7, y - 1, end, y + 3), fill=PAPER)
        draw.rectangle((8, y, end - 1, y + 2), fill=INK)
        _outlined(draw, (8, y - 4), f"{length:g} mm", letters, "lb")
    return picture


def _outlined(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, letters: Font, anchor: str
) -> None:
    """Letters that can be read on any image."""
    edge = {"stroke_width": 1, "stroke_fill": PAPER}
    draw.text(place, text, fill=INK, font=letters, anchor=anchor, **edge)
