"""Print a table of several results of `llmseg score`, as Markdown.

    python table.py out/supervised.scores.json out/usl.scores.json ... > RESULTS.md

All numbers are the files' own. A file in which cases have no score, or which scores other cases
than the first, is refused. The last column is the paired difference of Dice to the run that
`score --compare` named, with its interval over cases and the p of Wilcoxon's test.
"""

import json
import sys
from pathlib import Path
from typing import Any

METRICS = {
    "dice": (100, "Dice %"),
    "jaccard": (100, "Jaccard %"),
    "hd95_mm": (1, "HD95 mm"),
    "asd_mm": (1, "ASD mm"),
}


def main(paths: list[Path]) -> None:
    """Print the table of the score files."""
    results = {p.name.removesuffix(".scores.json"): json.loads(p.read_text()) for p in paths}
    first = next(iter(results.values()))
    for path, result in zip(paths, results.values(), strict=True):
        _refuse_incomplete(path, result, first)
    cases, signature = first["counts"]["ok"], first["metrics"]["dice"]["signature"]
    print(f"{cases} locked test scans, mean [95 % interval], `{signature}`\n")
    columns = ["run", "network", *(name for _, name in METRICS.values()), "Dice over supervised"]
    print("| " + " | ".join(columns) + " |")
    print("|---" * len(columns) + "|")
    for name, result in results.items():
        cells = [_cell(result["metrics"][metric], scale) for metric, (scale, _) in METRICS.items()]
        made_by = f"{result['predictions']['network']}, {result['predictions']['checkpoint']}"
        print(f"| {name} | {made_by} | " + " | ".join(cells) + f" | {_difference(result)} |")


def _refuse_incomplete(path: Path, result: dict[str, Any], first: dict[str, Any]) -> None:
    """End the program if a mean is not over the cases that the table is about."""
    if result["status"] != "ok":
        counts = result["counts"]
        sys.exit(
            f"{path}: {result['status']}, {counts['failed']} of {counts['cases_in']} cases have no "
            "score in it or in what it is compared with. Predict them, and score again."
        )
    if [case["case"] for case in result["cases"]] != [case["case"] for case in first["cases"]]:
        sys.exit(f"{path}: scores other cases than the first file. Score the same ones.")


def _cell(metric: dict[str, Any], scale: int) -> str:
    low, high = (scale * value for value in metric["interval"])
    return f"{scale * metric['mean']:.1f} [{low:.1f}, {high:.1f}]"


def _difference(result: dict[str, Any]) -> str:
    if result["comparison"] is None:
        return ""
    found = result["comparison"]["paired"]["dice"]
    low, high = (100 * value for value in found["interval"])
    return f"{100 * found['difference']:+.1f} [{low:+.1f}, {high:+.1f}], p {found['p_value']:.2g}"


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
