"""Tables of the experiment that `make` runs here, as Markdown.

    python table.py out

The first says, for each round and way to suggest, the mean Dice of the locked test cases over seeds
and its difference to `random`, with 95 % intervals that include cases and seeds
(`llmseg_cli.metrics.seeds`). The second says what trust in the masks was worth there.
"""

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from llmseg_cli.metrics.seeds import compare_seeds, summarize_seeds

CONTROL, DRAWS = "random", 2000
Scores = dict[int, dict[str, Any]]  # seed to scores.json


def main(out: Path) -> None:
    """Print the tables of a folder of `seed-N/WAY/round-N/scores.json`."""
    found = read(out)
    print("\n".join(label_table(found, groups_of(out))))
    print()
    print("\n".join(trust_table(found)))


def read(out: Path) -> dict[tuple[int, str], Scores]:
    """Round (0 is the start, of no way) and way to the scores of each seed."""
    found: dict[tuple[int, str], Scores] = {}
    for path in sorted(out.glob("seed-*/**/scores.json")):
        seed, way, *rest = path.relative_to(out).parts[:-1]
        number = int(rest[0].removeprefix("round-")) if rest else 0
        key = number, way if rest else ""
        scores = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(key, {})[int(seed.removeprefix("seed-"))] = scores
    return dict(sorted(found.items()))


def groups_of(out: Path) -> dict[str, str]:
    """Case to group, such as the patient, of the splits of a folder."""
    found: dict[str, str] = {}
    for path in sorted(out.glob("seed-*/start/split.json")):
        found |= json.loads(path.read_text(encoding="utf-8"))["groups"]
    return found


def dice_of(scores: dict[str, Any]) -> dict[str, float]:
    """Case to Dice, the mean over the classes that it has."""
    found = {}
    for case in scores["cases"]:
        values = [one["dice"] for one in case["classes"].values() if one["dice"] is not None]
        if values:
            found[case["case"]] = fmean(values)
    return found


def label_table(found: dict[tuple[int, str], Scores], groups: dict[str, str]) -> list[str]:
    """Dice by round and way."""
    lines = ["| round | by | seeds | Dice % | difference to random |", "|---|---|---|---|---|"]
    for (number, way), scores in found.items():
        control = found.get((number, CONTROL), {})
        seeds = sorted(scores.keys() & control.keys()) if way not in ("", CONTROL) else []
        values = [dice_of(scores[seed]) for seed in sorted(scores)]
        cases = sorted(set.intersection(*(set(one) for one in values)))
        rows = [[one[case] for case in cases] for one in values]
        summary = summarize_seeds(rows, groups=None, draws=0, seed=0).cases
        shown = difference(scores, control, seeds, groups) if seeds else ""
        lines.append(
            f"| {number} | {way or 'start'} | {len(scores)} | {100 * (summary.mean or 0):.1f} "
            f"| {shown} |"
        )
    return lines


def difference(scores: Scores, control: Scores, seeds: list[int], groups: dict[str, str]) -> str:
    """Paired by seed and case; cases of a group are drawn together."""
    own, other = ([dice_of(one[seed]) for seed in seeds] for one in (scores, control))
    cases = sorted(set.intersection(*(set(one) for one in (*own, *other))))
    first, second = ([[one[case] for case in cases] for one in side] for side in (own, other))
    together = [groups.get(case, case) for case in cases] if groups else None
    told = compare_seeds(first, second, better="higher", groups=together, draws=DRAWS, seed=0).cases
    shown = [told.difference, *(told.interval or ())]
    difference, *interval = (f"{100 * (value or 0):+.1f}" for value in shown)
    return f"{difference} [{', '.join(interval)}]" if interval else difference


def trust_table(found: dict[tuple[int, str], Scores]) -> list[str]:
    """What trust was worth, the mean over seeds."""
    lines = [
        "| round | by | measure | rank correlation with Dice | area (by chance, at best) | "
        "worst fifth among the least trusted |",
        "|---|---|---|---|---|---|",
    ]
    for (number, way), scores in found.items():
        told = [one for seed in scores.values() for one in seed["trust"] or ()]
        for measure in ("agreement", "entropy"):
            known = [one["measures"][measure] for one in told if measure in one["measures"]]
            if not known:
                continue
            ranks = [one["spearman"] for one in known if one["spearman"] is not None]
            areas = [
                fmean(one[key] for one in known) for key in ("area", "area_random", "area_best")
            ]
            share = fmean(one["worst_fifth"]["share"] for one in known)
            lines.append(
                f"| {number} | {way or 'start'} | {measure} | "
                f"{f'{fmean(ranks):.2f}' if ranks else '-'} | {areas[0]:.3f} ({areas[1]:.3f}, "
                f"{areas[2]:.3f}) | {100 * share:.0f} % |"
            )
    return lines


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
