"""What each network of the table costs: parameters, operations, memory, seconds of a core a step.

    python costs.py . --data /data -o costs.json

Seconds are those of processor time of one thread: a training of 24 steps minus one of 4, over 20,
so that what other programs do on the machine, reading scans and starting count for little. They
say how many steps `trainings.py` gives the data sets with `cpu-seconds`, once, so that a table
does not depend on the day. Parameters, operations and memory are `--dry-run`'s.
"""

import argparse
import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
import trainings  # the harness lies beside, and is no package

FEW, MORE = 4, 24  # steps


def main() -> None:
    """Measure what is not in the file yet, and print the table."""
    found = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    found.add_argument("example", type=Path)
    found.add_argument("--data", nargs="+", required=True)
    found.add_argument("--work", type=Path, default=Path("out"))
    found.add_argument("-o", "--out", type=Path, required=True)
    wish = found.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit("Seconds of one core are asked for: set OMP_NUM_THREADS=1.")
    sets, rows = (trainings.read_yaml(wish.example / f"{name}.yaml") for name in ("sets", "rows"))
    folders = trainings.folders_of(sets, wish.data)
    costs = json.loads(wish.out.read_text(encoding="utf-8")) if wish.out.exists() else {}
    for data, about in sets.items():
        if data not in folders or "cpu-seconds" in about or "seeds" in about:
            continue
        for row in rows:
            if row not in costs.setdefault(data, {}):
                costs[data][row] = cost(data, about, row, rows, folders[data], wish)
                wish.out.write_text(json.dumps(costs, indent=1) + "\n", encoding="utf-8")
        print(table(about["title"], costs[data]))


def cost(
    data: str,
    about: dict[str, Any],
    row: str,
    rows: dict[str, Any],
    folder: Path,
    wish: argparse.Namespace,
) -> dict[str, float]:
    """What a network costs on a data set."""
    wish.recipe, wish.development = None, True
    cell = trainings.Cell(data, about["labels"][0], row, 0, MORE)
    training = trainings.Training(cell, about, rows, folder, wish)
    training.write_split(everything=False)
    words = [
        *rows[row]["words"].split(),
        *("--data", folder, "--split", training.split, "--config", wish.example / about["recipe"]),
        *training.changes(),
    ]
    output = wish.work / "cost"
    network = trainings.llmseg(*words, "--dry-run", "-o", output)["network"]
    seconds = []
    for steps in (FEW, MORE):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        trainings.llmseg(*words, "--steps", steps, "-o", output)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        peak = json.loads((output / "run.json").read_text(encoding="utf-8"))["peak_rss_mb"]
        shutil.rmtree(output)
    return {
        "parameters": network["trained"] + network["frozen"],
        "flops": network["flops"],
        "activations": network["activations"],
        "peak_mb": peak,
        "seconds_per_step": round((seconds[1] - seconds[0]) / (MORE - FEW), 4),
    }


def table(title: str, costs: dict[str, dict[str, float]]) -> str:
    """The costs as Markdown."""
    out = [
        f"\n{title}\n",
        "| row | million parameters | GFLOP a patch, forward "
        "| MB a patch, kept for backward in fp32 | MB of the process | s of a core a step |",
        "|---" * 6 + "|",
    ]
    for row, one in costs.items():
        out.append(
            f"| {row} | {one['parameters'] / 1e6:.2f} | {one['flops'] / 1e9:.2f} "
            f"| {one['activations'] / 1e6:.0f} | {one['peak_mb']:.0f} "
            f"| {one['seconds_per_step']:.2f} |"
        )
    return "\n".join(out)


if __name__ == "__main__":
    main()
