"""The table of `accuracy.py`, from its lines of JSON."""

from collections.abc import Mapping
from typing import Any

COLUMNS = (
    "data, labeled, cores",
    "contestant",
    "minutes asked",
    "minutes taken",
    "minutes of processors",
    "steps",
    "minutes to predict",
    "Dice [95 %]",
    "each class",
)


def row(line: Mapping[str, Any]) -> str:
    """A line of the Markdown table."""
    cores = f"2 x {line['threads']}" if line["side_by_side"] else line["threads"]
    first = [
        f"{line['data']}, {line['labeled']}, {cores}",
        f"{line['contestant']} {line['version']}",
        f"{line['minutes']:g}",
    ]
    if "error" in line:
        return _row([*first, *[""] * 4, f"failed: {_last_line(line['error'])}", ""])
    dice = line["dice"]
    low, high = dice["interval"]
    return _row(
        [
            *first,
            f"{line['train']['wall_s'] / 60:.2f}",
            f"{line['train']['cpu_s'] / 60:.2f}",
            "" if line["steps"] is None else f"{line['steps']:,}",
            f"{line['predict']['wall_s'] / 60:.2f}",
            f"{dice['mean']:.3f} [{low:.3f}, {high:.3f}]",
            " ".join(f"{mean:.3f}" for mean in dice["classes"].values()),
        ]
    )


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1].replace("|", "/")


HEAD = _row(list(COLUMNS)) + "\n" + "|---" * len(COLUMNS) + "|"
