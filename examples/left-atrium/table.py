"""Print a table of several results of `llmseg score`, as Markdown.

    python table.py out/supervised.scores.json out/usl.scores.json ... > RESULTS.md

The first result is the baseline: the last column is the paired difference of Dice to it, case by
case, with a bootstrap interval over the cases.
"""

import json
import sys
from pathlib import Path

import numpy as np

METRICS = {
    "dice": (100, "Dice %"),
    "jaccard": (100, "Jaccard %"),
    "hd95_mm": (1, "HD95 mm"),
    "asd_mm": (1, "ASD mm"),
}
DRAWS = 2000


def main(paths: list[Path]) -> None:
    """Print the table of the score files."""
    results = {
        path.name.removesuffix(".scores.json"): json.loads(path.read_text()) for path in paths
    }
    first = next(iter(results.values()))
    print(
        f"# {first['counts']['scored']} locked test scans, final checkpoint, mean [95 % interval]\n"
    )
    print(
        "| run | " + " | ".join(name for _, name in METRICS.values()) + " | Dice over first run |"
    )
    print("|---" * (len(METRICS) + 2) + "|")
    for name, result in results.items():
        cells = [_cell(result["metrics"][metric], scale) for metric, (scale, _) in METRICS.items()]
        print(f"| {name} | " + " | ".join(cells) + f" | {_difference(result, first)} |")
    print(
        f"\nDistances of a missed case count as the diagonal of the image "
        f"({first['empty_policy']}). Signature: `{first['metrics']['dice']['signature']}`"
    )


def _cell(metric: dict[str, object], scale: int) -> str:
    low, high = (scale * value for value in metric["interval"])  # type: ignore[attr-defined]
    return f"{scale * metric['mean']:.1f} [{low:.1f}, {high:.1f}]"  # type: ignore[operator]


def _difference(result: dict[str, object], first: dict[str, object]) -> str:
    if result is first:
        return ""
    own, other = _dice(result), _dice(first)
    difference = np.array([own[case] - other[case] for case in sorted(other)]) * 100
    draws = np.random.default_rng(0).choice(difference, (DRAWS, len(difference))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{difference.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def _dice(result: dict[str, object]) -> dict[str, float]:
    found = {}
    for case in result["cases"]:  # type: ignore[attr-defined]
        values = [entry["dice"] for entry in case["classes"].values()]
        found[case["case"]] = float(np.mean(values))
    return found


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
