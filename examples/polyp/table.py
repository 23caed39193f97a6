"""Print the results of `llmseg score` as a Markdown table, the seeds of one setting together.

    python table.py out/f10-s0/supervised.scores.json out/f10-s1/supervised.scores.json ...
    python table.py --baseline vit --metrics dice nsd -- out/f10-s0/vit.scores.json ...

Means over seeds of the files' means, each of them a mean over the classes; of several seeds, each
one's first metric stands in a column of its own. An interval is a bootstrap over the test cases of
each case's mean over seeds. The last column is the same for the difference to the baseline of the
same seed, case by case. A file in which cases have no score is refused.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from llmseg_cli.metrics.bootstrap import bootstrap_interval

ORDER = (
    *("start", "supervised", "self-training", "one-time", "continuous", "sam-alone"),
    *("vnet", "vit", "mlp", "random-frozen", "pretrained"),
)
NAMES = {"dice": "Dice", "jaccard": "IoU", "nsd": "NSD"}
Seeds = dict[str, dict[str, Any]]  # seed to its score file


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("files", nargs="+", type=Path)
    options.add_argument("--baseline", default="supervised")
    options.add_argument("--metrics", nargs="+", default=["dice", "jaccard"], choices=NAMES)
    chosen = options.parse_args()
    found: dict[tuple[int, str], Seeds] = defaultdict(dict)
    for path in sorted(chosen.files, key=lambda path: path.parent.name):
        percent, seed = path.parent.name.split("-s")
        run = path.name.removesuffix(".scores.json")
        found[int(percent[1:]), run][seed] = _complete(path)
    first, *_ = chosen.metrics
    means = [f"{NAMES[metric]} % [95 %]" for metric in chosen.metrics]
    head = ["labeled", "run", "seeds", means[0], f"{NAMES[first]} of each seed", *means[1:]]
    head.append(f"{NAMES[first]} over {chosen.baseline}")
    print(f"| {' | '.join(head)} |")
    print("|---" * len(head) + "|")
    for percent, run in sorted(found, key=_place):
        seeds, baseline = found[percent, run], found.get((percent, chosen.baseline), {})
        mean, *others = (_interval(_cases(seeds, metric)) for metric in chosen.metrics)
        each = ", ".join(f"{100 * s['metrics'][first]['mean']:.1f}" for s in seeds.values())
        cells = [f"{percent} %", run, str(len(seeds)), mean, each, *others]
        gain = "" if run == chosen.baseline else _gain(seeds, baseline, first)
        print(f"| {' | '.join([*cells, gain])} |")


def _complete(path: Path) -> dict[str, Any]:
    """The scores of a file; ends the program if cases have none."""
    scores: dict[str, Any] = json.loads(path.read_text())
    if scores["status"] != "ok":
        counts = scores["counts"]
        sys.exit(
            f"{path}: {scores['status']}, {counts['failed']} of {counts['cases_in']} cases have no "
            "score in it or in what it is compared with. Predict them, and score again."
        )
    return scores


def _place(key: tuple[int, str]) -> tuple[int, int]:
    return key[0], ORDER.index(key[1]) if key[1] in ORDER else len(ORDER)


def _cases(seeds: Seeds, metric: str) -> list[float]:
    """Per test case, the mean over classes and seeds."""
    values = [
        [fmean(found[metric] for found in case["classes"].values()) for case in s["cases"]]
        for s in seeds.values()
    ]
    return [fmean(found) for found in zip(*values, strict=True)]


def _interval(values: list[float], sign: str = "") -> str:
    low, high = bootstrap_interval(values, draws=2000, seed=0) or (float("nan"),) * 2
    return f"{100 * fmean(values):{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def _gain(seeds: Seeds, baseline: Seeds, metric: str) -> str:
    shared = [seed for seed in seeds if seed in baseline]
    if not shared:
        return ""
    own = _cases({seed: seeds[seed] for seed in shared}, metric)
    other = _cases({seed: baseline[seed] for seed in shared}, metric)
    return _interval([a - b for a, b in zip(own, other, strict=True)], sign="+")


if __name__ == "__main__":
    main()
