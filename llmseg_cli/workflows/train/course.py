"""The course of a run as a picture, from its log."""

from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.run_files import CURVE
from llmseg_cli.pictures.curve import Course, save_curve
from llmseg_cli.training.log import DICE, RATE, logged, losses_of


def draw_course(folder: Path) -> None:
    """Write `curve.png` of a run folder, if its log holds anything to draw.

    Raises:
        ArtifactError: If the log is damaged.
    """
    lines = logged(folder)
    terms: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for name, value in losses_of(line).items():
            terms.setdefault(name, []).append((line["step"], value))
    course = Course(terms, _values(lines, DICE), _values(lines, RATE))
    if terms or course.dice:
        save_curve(folder / CURVE, course)


def _values(lines: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(line["step"], float(line[name])) for line in lines if name in line]
