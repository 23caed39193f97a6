"""Axes with numbers, and lines and points on them, drawn at twice their size and made small."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Point = tuple[float, float]
FINER = 2  # drawn this much larger, for smooth lines
TEXT = 14  # pixels
INK, GRID = (50, 50, 50), (225, 225, 225)


@dataclass(frozen=True)
class Span:
    """The numbers from one end of an axis to the other.

    Args:
        low: At its beginning.
        high: At its end, above *low*.
        step: Between two that are written.
    """

    low: float
    high: float
    step: float

    @property
    def ticks(self) -> list[float]:
        """Numbers to write: multiples of the step."""
        first, last = math.ceil(self.low / self.step - 1e-9), self.high / self.step + 1e-9
        return [number * self.step for number in range(first, math.floor(last) + 1)]

    def share(self, value: float) -> float:
        """Where a value lies, 0 at the beginning and 1 at the end."""
        return (value - self.low) / (self.high - self.low)


def span_of(low: float, high: float, *, ticks: int) -> Span:
    """Round numbers around values; *ticks* of them or a few more or less.

    Args:
        low: The smallest value.
        high: The largest one.
        ticks: Numbers to write.
    """
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda one: abs(math.log(one / rough)))
    return Span(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step)


def number(value: float, step: float) -> str:
    """A number of an axis, with as many digits as its step needs."""
    if abs(value) < step / 2:
        return "0"
    if not 1e-4 <= step < 1e6:
        return f"{value:.3g}"
    return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


class Sheet:
    """A white picture.

    Args:
        width: In pixels.
        height: In pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width * FINER, height * FINER), (255, 255, 255))
        self._draw = ImageDraw.Draw(self._image)
        self._font: Any = ImageFont.load_default(TEXT * FINER)

    def text(self, place: Point, text: str, *, anchor: str = "la", color: Color = INK) -> None:
        """Write text; *anchor* is that of Pillow."""
        self._draw.text(_larger(place), text, fill=color, font=self._font, anchor=anchor)

    def length(self, text: str) -> float:
        """How wide a text would be, in pixels."""
        return float(self._font.getlength(text)) / FINER

    def line(self, points: Sequence[Point], color: Color, width: float = 1) -> None:
        """Draw a line through points, in pixels."""
        if len(points) > 1:
            found = [_larger(point) for point in points]
            self._draw.line(found, fill=color, width=round(width * FINER), joint="curve")

    def dot(self, place: Point, color: Color, radius: float = 4) -> None:
        """Draw a point."""
        x, y = _larger(place)
        size = radius * FINER
        self._draw.ellipse((x - size, y - size, x + size, y + size), fill=color)

    def finished(self) -> Image.Image:
        """The picture."""
        return self._image.reduce(FINER)


@dataclass(frozen=True)
class Box:
    """Where on a sheet something is plotted, in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    def place(self, x: float, y: float) -> Point:
        """Pixels of shares of the width and, from below, of the height; what is out is cut."""
        x, y = min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)
        return (
            self.left + x * (self.right - self.left),
            self.bottom - y * (self.bottom - self.top),
        )

    def points(self, values: Sequence[Point], across: Span, up: Span) -> list[Point]:
        """Pixels of values."""
        return [self.place(across.share(x), up.share(y)) for x, y in values]

    def frame(self, sheet: Sheet, across: Span, up: Span, *, named: bool) -> None:
        """Draw the grid, its numbers at the left and, if *named*, those below."""
        for value in up.ticks:
            x, y = self.place(0, up.share(value))
            sheet.line([(x, y), (self.right, y)], GRID)
            sheet.text((x - 7, y), number(value, up.step), anchor="rm")
        for value in across.ticks:
            x, y = self.place(across.share(value), 0)
            sheet.line([(x, self.top), (x, y)], GRID)
            if named:
                sheet.text((x, y + 6), number(value, across.step), anchor="ma")
        sheet.line([(self.left, self.top), (self.left, self.bottom)], INK)
        sheet.line([(self.left, self.bottom), (self.right, self.bottom)], INK)


def _larger(point: Point) -> Point:
    return point[0] * FINER, point[1] * FINER
