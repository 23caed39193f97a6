"""Print a split with other labeled cases and the same test cases.

    python subset.py out/split.json f10-s1 > out/f10-s1/split.json

`f10-s1` labels 10 % of the cases that are not locked, the first of an order drawn with seed 1, so
that of one seed the smaller sets lie in the larger ones.
"""

import json
import random
import sys
from pathlib import Path


def main(path: Path, name: str) -> None:
    """Print the split."""
    percent, seed = (int(part[1:]) for part in name.split("-"))
    split = json.loads(path.read_text())
    cases = sorted(split["labeled"] + split["unlabeled"])
    random.Random(seed).shuffle(cases)
    count = round(percent * len(cases) / 100)
    split["labeled"], split["unlabeled"] = sorted(cases[:count]), sorted(cases[count:])
    split["seed"] = seed
    print(json.dumps(split, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
