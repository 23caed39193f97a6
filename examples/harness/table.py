"""Tables of `trainings.py`'s results, as Markdown: one for each data set and number of labels.

    python table.py ../few-labels [results.jsonl]

Means are over test cases (each of them the mean over classes) and seeds. Intervals are 95 % and
include both: cases, or patients, and seeds are drawn with replacement (`llmseg_cli.metrics.seeds`).
A difference is to the row that `rows.yaml` names, of the same seeds and cases, with as many
networks; its p is Wilcoxon's over cases, of each case's mean over seeds, times Holm's factor for
the differences of the table. `way` is the share of the way to the row that `rows.yaml` calls a
ceiling from the one that it is the ceiling of. Of data sets with `cpu-seconds` the rows stand with
their steps. Rows whose seeds differ from those of their partner
have no difference.
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from llmseg_cli.metrics.comparison import holm
from llmseg_cli.metrics.seeds import SeedComparison, compare_seeds, summarize_seeds

DRAWS = 2000
NAMES = {
    "dice": ("Dice %", 100),
    "jaccard": ("Jaccard %", 100),
    "hd95_voxel": ("HD95 voxel", 1),
    "asd_voxel": ("ASD voxel", 1),
    "hd95_mm": ("HD95 mm", 1),
    "asd_mm": ("ASD mm", 1),
    "nsd": ("NSD %", 100),
}
Lines = list[dict[str, Any]]  # of one row, a seed each


def main(example: Path, path: Path) -> None:
    """Print the tables of an example's results."""
    sets = yaml.safe_load((example / "sets.yaml").read_text(encoding="utf-8"))
    rows = yaml.safe_load((example / "rows.yaml").read_text(encoding="utf-8"))
    ceiling = next((name for name, row in rows.items() if "ceiling-of" in row), "")
    found: dict[tuple[str, Any, int], dict[str, Lines]] = defaultdict(lambda: defaultdict(list))
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        steps = 0 if "cpu-seconds" in sets[line["data"]] else line["steps"]
        found[line["data"], line["labels"], steps][line["row"]].append(line)
    places = {name: place for place, name in enumerate(sets)}
    ceilings = {
        (data, steps): lines[ceiling]
        for (data, _, steps), lines in found.items()
        if ceiling in lines  # the same for every number of labels
    }

    def place(key: tuple[str, Any, int]) -> tuple[int, int, int]:
        data, labels, steps = key
        return places[data], sets[data]["labels"].index(labels), steps

    for data, labels, steps in sorted(found, key=place):
        lines = found[data, labels, steps]
        looks = sum(map(len, lines.values()))
        if (data, steps) in ceilings:
            lines[ceiling] = ceilings[data, steps]
        told = (
            f"{sets[data]['cpu-seconds']} s of a core" if not steps else length(lines, rows, steps)
        )
        print(f"### {sets[data]['title']}: {labels} labeled, {told}\n")
        print(table(lines, rows, sets[data]))
        print(
            f"\nTrainings that were scored on the test list for this table: {looks}, each once.\n"
        )
        if any(line.get("trust") for one in lines.values() for line in one):
            print(f"{trust(lines, rows)}\n")


def table(lines: dict[str, Lines], rows: dict[str, Any], about: dict[str, Any]) -> str:
    """One table.

    Args:
        lines: Row to its results.
        rows: Of `rows.yaml`.
        about: The data set, of `sets.yaml`.
    """
    first, *others = about["metrics"]
    columns = ["row", "networks", f"{NAMES[first][0]} [95 %]", "of each seed"]
    columns += [NAMES[metric][0] for metric in others]
    columns += ["over the row with as many networks [95 %], p", "way", "s"]
    gains = {
        name: compared(lines[name], lines[of], first, about)
        for name in lines
        if (of := rows[name].get("of")) in lines and seeds(lines[name]) == seeds(lines[of])
    }
    tested = {name: gain.cases.p_value for name, gain in gains.items()}
    corrected = holm({name: p for name, p in tested.items() if p is not None})
    out = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name in sorted(lines, key=list(rows).index):
        ordered = sorted(lines[name], key=lambda line: line["seed"])
        summary = summarize_seeds(
            values(ordered, first), groups=groups(ordered, about), draws=DRAWS, seed=0
        )
        scale = NAMES[first][1]
        each = {line["steps"] for line in ordered}
        shown = name if "cpu-seconds" not in about else f"{name}, {min(each)} steps"
        cells = [shown, str(rows[name]["networks"])]
        cells.append(number(summary.cases.mean, summary.cases.interval, scale))
        cells.append(", ".join(f"{scale * mean:.1f}" for mean in summary.seeds.means))
        for metric in others:
            mean = fmean(fmean(row) for row in values(ordered, metric))
            cells.append(f"{NAMES[metric][1] * mean:.1f}")
        cells.append(difference(gains[name], corrected.get(name), scale) if name in gains else "")
        cells.append(way(name, lines, first, rows))
        cells.append(f"{fmean(line['seconds'] for line in ordered):.0f}")
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)


def length(lines: dict[str, Lines], rows: dict[str, Any], steps: int) -> str:
    """How long is trained in all, in words."""
    parts = {len(rows[name].get("after", ())) + rows[name].get("times", 1) for name in lines}
    times = f"{parts.pop()} x " if len(parts) == 1 and parts != {1} else ""
    return f"{times}{steps} steps"


def trust(lines: dict[str, Lines], rows: dict[str, Any]) -> str:
    """How well agreement and entropy of a mask told its Dice: means over seeds."""
    out = [
        "| row | trust by | rank correlation with Dice (of each seed) | worst fifth that is in the "
        "least trusted fifth | area of risk and coverage (chance, best) |",
        "|---" * 5 + "|",
    ]
    for name in sorted(lines, key=list(rows).index):
        ordered = sorted(lines[name], key=lambda line: line["seed"])
        for measure in ("agreement", "entropy"):
            found = [line["trust"][measure] for line in ordered if measure in line.get("trust", {})]
            told = [one for one in found if one.get("spearman") is not None]
            if told:
                each = [one["spearman"] for one in told]
                hits, worst = (
                    sum(one["worst_fifth"][key] for one in told)
                    for key in ("among_least_trusted", "cases")
                )
                areas = [
                    f"{fmean(one[key] for one in told):.3f}"
                    for key in ("area", "area_random", "area_best")
                ]
                ranks = ", ".join(f"{rank:.2f}" for rank in each)
                out.append(
                    f"| {name} | {measure} | {fmean(each):.2f} ({ranks}) "
                    f"| {hits} of {worst} | {areas[0]} ({areas[1]}, {areas[2]}) |"
                )
    return "\n".join(out)


def values(lines: Lines, metric: str) -> list[list[float]]:
    """A row per seed, a column per case: means over classes."""
    return [[fmean(classes) for classes in line["scores"][metric]] for line in lines]


def seeds(lines: Lines) -> list[int]:
    """The seeds, ascending."""
    return sorted(line["seed"] for line in lines)


def groups(lines: Lines, about: dict[str, Any]) -> list[str] | None:
    """The patient of each case; None where each case is a patient."""
    if any(line["cases"] != lines[0]["cases"] for line in lines):
        sys.exit("Lines of one table have other test cases: they were made with different lists.")
    if "group" not in about:
        return None
    matches = (re.search(about["group"], case) for case in lines[0]["cases"])
    return [
        match[1] if match else case for match, case in zip(matches, lines[0]["cases"], strict=True)
    ]


def compared(lines: Lines, others: Lines, metric: str, about: dict[str, Any]) -> SeedComparison:
    """First minus second, paired by seed and case."""
    ours, theirs = (sorted(side, key=lambda line: line["seed"]) for side in (lines, others))
    return compare_seeds(
        values(ours, metric),
        values(theirs, metric),
        better="higher",
        groups=groups([*ours, *theirs], about),
        draws=DRAWS,
        seed=0,
    )


def number(mean: float | None, interval: tuple[float, float] | None, scale: float) -> str:
    """A mean with its interval, if there is one."""
    if mean is None:
        return "undefined"
    if interval is None:
        return f"{scale * mean:.1f}"
    return f"{scale * mean:.1f} [{scale * interval[0]:.1f}, {scale * interval[1]:.1f}]"


def difference(gain: SeedComparison, p_value: float | None, scale: float) -> str:
    """A difference with its interval and corrected p."""
    found = gain.cases
    assert found.difference is not None
    low, high = found.interval or (float("nan"),) * 2
    shown = f"{scale * found.difference:+.1f} [{scale * low:+.1f}, {scale * high:+.1f}]"
    return f"{shown}, {p_value:.2g}" if p_value is not None else shown


def way(name: str, lines: dict[str, Lines], metric: str, rows: dict[str, Any]) -> str:
    """The share of the way from few labels to all of them, in percent."""
    ceiling = next((row for row in lines if "ceiling-of" in rows[row]), "")
    below = rows[ceiling]["ceiling-of"] if ceiling else ""
    if name == below or below not in lines:
        return ""
    shared = set(seeds(lines[name])) & set(seeds(lines[below])) & set(seeds(lines[ceiling]))
    if not shared:
        return ""
    own, floor, top = (
        fmean(
            fmean(row)
            for row in values([one for one in lines[row] if one["seed"] in shared], metric)
        )
        for row in (name, below, ceiling)
    )
    return f"{100 * (own - floor) / (top - floor):.0f} %" if top != floor else ""


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    words.add_argument("example", type=Path, help="folder with sets.yaml and rows.yaml")
    words.add_argument("results", type=Path, nargs="?", help="default: its results.jsonl")
    given = words.parse_args()
    if not (given.example / "sets.yaml").is_file():
        words.error(f"{given.example} has no sets.yaml: pass the folder of an example")
    main(given.example, given.results or given.example / "results.jsonl")
