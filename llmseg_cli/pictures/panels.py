"""Plots as SVG that stands in a page: its text is text, its colors are those of the page."""

import io
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.artifacts.text import in_one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]
INK, GRID = "#101112", "#d0d1d2"  # stand for the page's own
# Of Okabe and Ito, who tried them with color-blind people.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))  # for print
PAGE = {INK: "currentColor", GRID: "var(--grid)"}
PAGE |= {color: f"var(--c{index})" for index, color in enumerate(COLORS)}
WIDTH, ROW = 7.2, 2.3  # inches
LONGEST_NAME = 28  # signs
DIGITS = re.compile(r"(\d+\.\d\d)\d+")  # of places in a drawing, more than anyone sees
SETTINGS = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True)
class Line:
    """Points that a line joins."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Panel:
    """Lines over steps, or over something else.

    Args:
        title: Above them.
        lines: At least one, with at least a point each.
        is_share: Whether the values lie from 0 to 1, which the axis shows then.
        across: What they are over.
    """

    title: str
    lines: Sequence[Line]
    is_share: bool = False
    across: str = "step"


@dataclass(frozen=True)
class Column:
    """Values of one kind in a strip plot.

    Args:
        name: Below it.
        values: One a case.
        mean: Of them, or None.
        interval: Of the mean, or None.
    """

    name: str
    values: Sequence[float]
    mean: float | None
    interval: Sequence[float] | None


def curves(panels: Sequence[Panel], *, name: str) -> str:
    """Panels of lines, two in a row.

    Args:
        panels: At least one.
        name: Unlike that of the page's other plots; it begins the names of the parts.
    """
    rows = -(-len(panels) // 2)
    with _drawing(name, rows=rows, columns=min(2, len(panels))) as (axes, drawn):
        for panel, one in zip(panels, axes, strict=False):
            _lines(one, panel)
        for one in axes[len(panels) :]:
            one.set_visible(False)
    return drawn[0]


def strip(columns: Sequence[Column], *, label: str, name: str) -> str:
    """A dot per case, and the mean with its interval.

    Args:
        columns: At least one.
        label: Of the values.
        name: As of `curves`.
    """
    with _drawing(name, height=1.3) as (axes, drawn):
        for index, (column, color) in enumerate(zip(columns, cycle(COLORS), strict=False)):
            places = [index + shift for shift in spread(column.values)]
            axes[0].plot(places, column.values, "o", color=color, markersize=4, alpha=0.7)
            if column.interval is not None:
                axes[0].plot([index + 0.32] * 2, list(column.interval), "-", color=INK, lw=1.5)
            if column.mean is not None:
                axes[0].plot([index + 0.32], [column.mean], "D", color=INK, markersize=5)
        axes[0].set_xticks(range(len(columns)), [_short(column.name) for column in columns])
        axes[0].set_xlim(-0.6, len(columns) - 0.4)
        if len(columns) > 4:
            axes[0].tick_params(axis="x", rotation=30)
        axes[0].set_ylabel(label)
        _hold_shares(axes[0], [value for column in columns for value in column.values])
    return drawn[0]


def slopes(pairs: Sequence[Point], ends: tuple[str, str], *, label: str, name: str) -> str:
    """A line per case, from its value on the left to that on the right.

    Args:
        pairs: Both values of each case.
        ends: What is on the left, and on the right.
        label: Of the values.
        name: As of `curves`.
    """
    with _drawing(name, height=1.5) as (axes, drawn):
        for left, right in pairs:
            color = COLORS[2] if right > left else COLORS[1] if right < left else INK
            style = "-" if right >= left else DASHES[1]
            axes[0].plot([0, 1], [left, right], ls=style, marker="o", color=color, ms=3, lw=1)
        axes[0].set_xticks([0, 1], [_short(end) for end in ends])
        axes[0].set_xlim(-0.4, 1.4)
        axes[0].set_ylabel(label)
    return drawn[0]


def histograms(columns: Mapping[str, Sequence[float]], *, name: str) -> str:
    """A histogram for each kind of number, side by side.

    Args:
        columns: Label to its values, at least one each.
        name: As of `curves`.
    """
    rows = -(-len(columns) // 3)
    with _drawing(name, rows=rows, columns=min(3, len(columns))) as (axes, drawn):
        for (label, values), one in zip(columns.items(), axes, strict=False):
            if min(values) == max(values):
                one.bar([0], [len(values)], width=0.4, color=COLORS[0], alpha=0.8)
                one.set_xlim(-1, 1)
                one.set_xticks([0], [f"{values[0]:g}"])
            else:
                bins = min(12, max(4, len(values) // 2))
                one.hist(values, bins=bins, color=COLORS[0], alpha=0.8)
                one.locator_params(axis="x", nbins=4)
            one.set_title(_short(label))
            one.locator_params(axis="y", nbins=4, integer=True)
        for one in axes[len(columns) :]:
            one.set_visible(False)
    return drawn[0]


def spread(values: Sequence[float]) -> list[float]:
    """Shifts to the left and right, so that dots of like values lie side by side.

    Args:
        values: Heights of the dots.

    Returns:
        From -0.25 to 0.25, in the order of the values.
    """
    if not values:
        return []
    step = (max(values) - min(values)) / 25 or 1.0
    rows: dict[int, int] = {}
    shifts = []
    for value in values:
        row = round((value - min(values)) / step)
        count = rows[row] = rows.get(row, 0) + 1
        side = 1 if count % 2 else -1
        shifts.append(side * min(0.25, count // 2 * 0.04))
    return shifts


def _lines(axes: "Axes", panel: Panel) -> None:
    for index, line in enumerate(panel.lines):
        color, dash = COLORS[index % len(COLORS)], DASHES[index % len(DASHES)]
        mark = "o" if len(line.points) < 12 else ""
        across, up = zip(*line.points, strict=True)
        axes.plot(across, up, ls=dash, marker=mark, ms=3, color=color, lw=1.4, label=line.name)
    several = len(panel.lines) > 1
    rows = -(-len(panel.lines) // 2) if several else 0
    axes.set_title(_short(panel.title, 60), pad=6 + 13 * rows)  # room for the names
    axes.set_xlabel(panel.across)
    axes.locator_params(axis="x", nbins=6)
    if panel.is_share:
        axes.set_ylim(-0.02, 1.02)
    if several:
        names = [_short(line.name) for line in panel.lines]
        place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.1}
        axes.legend(labels=names, fontsize=8, ncols=2, **place)


def _hold_shares(axes: "Axes", values: Sequence[float]) -> None:
    """Let the axis end at 1 where no value is above, for there is none."""
    if values and max(values) <= 1 and min(values) >= 0:
        axes.set_ylim(top=1.0)


def _short(name: str, longest: int = LONGEST_NAME) -> str:
    text = in_one_line(name)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


@contextmanager
def _drawing(
    name: str, *, rows: int = 1, columns: int = 1, height: float = 1.0
) -> Iterator[tuple[list["Axes"], list[str]]]:
    """Axes to draw on; the list gets the SVG when they are drawn."""
    fonts = str(default_cache().absolute() / "matplotlib")  # its list of them
    os.environ.setdefault("MPLCONFIGDIR", fonts)
    from matplotlib import rc_context  # a second, for this alone
    from matplotlib.figure import Figure

    drawn: list[str] = []
    with rc_context({**SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's fonts show it
        figure = Figure(figsize=(WIDTH, ROW * rows * height), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        yield [one for row in grid for one in row], drawn
        drawn.append(inline_svg(figure, name))


def inline_svg(figure: "Figure", name: str) -> str:
    """The figure as an element of a page.

    Args:
        figure: Drawn with the colors of this file.
        name: What the names of its parts begin with, for these are unique in a page.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = text.replace("url(#", f"url(#{name}-")
    for color, own in PAGE.items():
        text = text.replace(color, own)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text)
    text = re.sub(r'="[^"]*"', lambda found: DIGITS.sub(r"\1", found[0]), text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    return text.replace("<svg", '<svg role="img" aria-hidden="true" focusable="false"', 1).strip()
