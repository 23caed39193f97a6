"""A picture of a training: loss and validation Dice over its steps, and the learning rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.files import atomic_path
from llmseg_cli.pictures.axes import Box, Color, Point, Sheet, Span, span_of

WIDTH, HEIGHT = 960, 560  # pixels
EDGE, LEFT, RIGHT, ROW = 18, 78, 892, 22  # pixels; ROW is a line of text
BELOW = Box(LEFT, 456, RIGHT, 510)  # the learning rate
SMOOTHED = 40  # parts of the course, over each of which a loss is averaged
# Of Okabe and Ito, who tried them with color-blind people.
DICE, RATE, WHOLE = (213, 94, 0), (110, 110, 110), (0, 0, 0)
TERMS: tuple[Color, ...] = (
    *((0, 114, 178), (0, 158, 115), (204, 121, 167)),
    *((86, 180, 233), (230, 159, 0), (120, 94, 40)),
)


@dataclass(frozen=True)
class Course:
    """Values of a training, each with its step.

    Args:
        terms: Name of each term of the loss to its values.
        dice: Dice on the validation cases; may be empty.
        rate: The learning rate.
    """

    terms: Mapping[str, Sequence[Point]]
    dice: Sequence[Point]
    rate: Sequence[Point]

    @property
    def whole(self) -> list[Point]:
        """The sum of the terms where all of them are known."""
        steps = [dict(values) for values in self.terms.values()]
        shared = set.intersection(*map(set, steps)) if steps else set()
        return [(step, sum(one[step] for one in steps)) for step in sorted(shared)]


def save_curve(path: Path, course: Course) -> None:
    """Write a PNG of the same bytes for the same values (and version of Pillow).

    Args:
        path: The file.
        course: What to draw.
    """
    sheet = Sheet(WIDTH, HEIGHT)
    lines = _lines(course)
    rows = _draw_legend(sheet, lines)
    main = Box(LEFT, EDGE + ROW * rows + 36, RIGHT, BELOW.top - 48)
    values = [*course.rate, *course.dice, *(point for _, points, _ in lines for point in points)]
    across = _whole_steps(max((step for step, _ in values), default=1))
    losses = [value for _, points, _ in lines for _, value in smoothed(points)]
    up = span_of(min(0.0, *losses, 0.0), max(losses, default=1.0), ticks=5)
    main.frame(sheet, across, up, named=not course.rate)
    for _, points, color in lines:
        sheet.line(main.points(points, across, up), _faint(color))
    for _, points, color in lines:
        width = 3 if color == WHOLE else 2
        _draw_line(sheet, main.points(smoothed(points), across, up), color, width)
    sheet.text((EDGE, main.top - 24), "loss", anchor="lm")
    if course.dice:
        _draw_dice(sheet, main, course.dice, across)
    if course.rate:
        _draw_rate(sheet, course.rate, across)
    sheet.text((WIDTH - EDGE, HEIGHT - 14), "step", anchor="rm")
    with atomic_path(path) as temporary:
        sheet.finished().save(temporary)


def smoothed(points: Sequence[Point]) -> list[Point]:
    """Each value as the mean of those around it, a fortieth of the course, fewer at its ends."""
    reach = len(points) // (2 * SMOOTHED)
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    found = []
    for index, (step, _) in enumerate(points):
        near = min(reach, index, len(points) - 1 - index)
        first, last = index - near, index + near + 1
        found.append((step, (sums[last] - sums[first]) / (last - first)))
    return found


def _lines(course: Course) -> list[tuple[str, Sequence[Point], Color]]:
    """Name, values and color of each line of the loss; its sum comes last, on top."""
    found = [
        (name, points, TERMS[index % len(TERMS)])
        for index, (name, points) in enumerate(course.terms.items())
    ]
    if len(found) > 1:
        found.append(("sum", course.whole, WHOLE))
    return found


def _whole_steps(last: float) -> Span:
    span = span_of(0, last, ticks=8)
    return Span(0, last, max(1.0, span.step))


def _draw_line(sheet: Sheet, points: Sequence[Point], color: Color, width: float) -> None:
    sheet.line(points, color, width)
    if len(points) == 1:
        sheet.dot(points[0], color, 3)


def _draw_dice(sheet: Sheet, main: Box, dice: Sequence[Point], across: Span) -> None:
    up = Span(0, 1, 0.2)
    places = main.points(dice, across, up)
    sheet.line(places, DICE, 2)
    for place in places:
        sheet.dot(place, DICE, 4 if len(places) <= SMOOTHED else 2.5)
    for value in up.ticks:
        _, y = main.place(1, up.share(value))
        sheet.text((main.right + 8, y), f"{value:.1f}", anchor="lm", color=DICE)
    sheet.line([(main.right, main.top), (main.right, main.bottom)], DICE)
    step, best = max(dice, key=lambda point: (point[1], -point[0]))
    text = f"validation Dice {dice[-1][1]:.3f}, best {best:.3f} at step {step:,.0f}"
    sheet.text((WIDTH - EDGE, main.top - 24), text, anchor="rm", color=DICE)
    x = WIDTH - EDGE - sheet.length(text) - 22
    sheet.line([(x - 12, main.top - 24), (x + 12, main.top - 24)], DICE, 2)
    sheet.dot((x, main.top - 24), DICE)


def _draw_rate(sheet: Sheet, rate: Sequence[Point], across: Span) -> None:
    highest = max(value for _, value in rate)
    up = Span(0, highest or 1.0, highest or 1.0)
    BELOW.frame(sheet, across, up, named=True)
    _draw_line(sheet, BELOW.points(rate, across, up), RATE, 2)
    sheet.text((EDGE, BELOW.top - ROW), "learning rate", anchor="lm")


def _draw_legend(sheet: Sheet, lines: Sequence[tuple[str, Sequence[Point], Color]]) -> int:
    """Name each line, with its last smoothed value; returns the rows that this takes."""
    x, row = float(EDGE), 0
    for name, points, color in lines:
        name = name.replace("_", " ")
        text = f"{name} {smoothed(points)[-1][1]:.3f}" if points else name
        end = x + 28 + sheet.length(text)
        if end > WIDTH - EDGE and x > EDGE:
            x, row, end = float(EDGE), row + 1, end - x + EDGE
        y = EDGE + ROW * row
        sheet.line([(x, y), (x + 22, y)], color, 3)
        sheet.text((x + 28, y), text, anchor="lm")
        x = end + 22
    return row + 1


def _faint(color: Color) -> Color:
    red, green, blue = (round(255 - 0.3 * (255 - part)) for part in color)
    return red, green, blue
