"""Print the results of `llmseg score` as a Markdown table, the seeds of one setting together.

    python table.py out/f10-s0/supervised.scores.json out/f10-s1/supervised.scores.json ...

Means over seeds of the files' means; of several seeds, each one's Dice stands in brackets. The
interval is a bootstrap over the test cases of each case's mean over seeds. The last column is the
same for the difference to `supervised` of the same seed, case by case.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from llmseg_cli.metrics.bootstrap import bootstrap_interval

ORDER = ("start", "supervised", "self-training", "one-time", "continuous", "sam-alone")
Seeds = dict[str, dict[str, Any]]  # seed to its score file


def main(paths: list[Path]) -> None:
    """Print the table."""
    found: dict[tuple[int, str], Seeds] = defaultdict(dict)
    for path in paths:
        percent, seed = path.parent.name.split("-s")
        run = path.name.removesuffix(".scores.json")
        found[int(percent[1:]), run][seed] = json.loads(path.read_text())
    print("| labeled | run | seeds | Dice % [95 %] | each seed | IoU % | Dice over supervised |")
    print("|---|---|---|---|---|---|---|")
    for percent, run in sorted(found, key=_place):
        seeds, baseline = found[percent, run], found.get((percent, "supervised"), {})
        dice, jaccard = (_cases(seeds, metric) for metric in ("dice", "jaccard"))
        each = ", ".join(f"{100 * s['metrics']['dice']['mean']:.1f}" for s in seeds.values())
        cells = [f"{percent} %", run, str(len(seeds)), _interval(dice), each]
        cells.append(f"{100 * fmean(jaccard):.1f}")
        print(f"| {' | '.join(cells)} | {_gain(run, seeds, baseline)} |")


def _place(key: tuple[int, str]) -> tuple[int, int]:
    return key[0], ORDER.index(key[1]) if key[1] in ORDER else len(ORDER)


def _cases(seeds: Seeds, metric: str) -> list[float]:
    """Per test case, the mean over seeds."""
    values = [[case["classes"]["1"][metric] for case in s["cases"]] for s in seeds.values()]
    return [fmean(found) for found in zip(*values, strict=True)]


def _interval(values: list[float], sign: str = "") -> str:
    low, high = bootstrap_interval(values, draws=2000, seed=0) or (float("nan"),) * 2
    return f"{100 * fmean(values):{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def _gain(run: str, seeds: Seeds, baseline: Seeds) -> str:
    shared = [seed for seed in seeds if seed in baseline]
    if run == "supervised" or not shared:
        return ""
    own = _cases({seed: seeds[seed] for seed in shared}, "dice")
    other = _cases({seed: baseline[seed] for seed in shared}, "dice")
    return _interval([a - b for a, b in zip(own, other, strict=True)], sign="+")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
