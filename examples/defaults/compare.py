"""Which settings learn, at which length: trainings on five data sets, judged on validation cases.

    DATA="hippocampus=/data/hippocampus polyp=/data/kvasir"
    python examples/defaults/compare.py --data $DATA --split hippocampus=h.json polyp=p.json
    python examples/defaults/compare.py --table results.jsonl

A split holds labeled, validation and locked test cases; no test case is ever opened. Every training
is a line of the results, and lines that are there are not made again. `PATCHES` says what each data
set is trained with, `WAYS` what is compared.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

PATCHES = {  # of two cores: a step of a quarter to a half of a second
    "hippocampus": "--patch 32,48,32 --batch 2",
    "left-atrium": "--patch 64,64,32 --spacing 1.25 --batch 2",
    "acdc": "--patch 128,128 --spacing 1.6,1.6,0 --batch 4",
    "polyp": "--patch 128,128 --spacing 2 --batch 4 --augment turned --label-map 255:1",
    "chest-xray": "--patch 128,128 --spacing 4 --batch 4 --augment no-flips",
}
UNET = "--model unet --model-option dropout=0"
ADAM = f"{UNET} --optimizer adam --learning-rate 0.002"
WAYS = {
    "unet, sgd 0.05": f"{UNET} --optimizer sgd --learning-rate 0.05",
    "unet, sgd 0.1": f"{UNET} --optimizer sgd --learning-rate 0.1",
    "unet, adam 0.001": f"{UNET} --optimizer adam --learning-rate 0.001",
    "unet, adam 0.002": ADAM,
    "unet, adam 0.002, warm-up 50": f"{ADAM} --warmup 50",
    "unet, adam 0.003": f"{UNET} --optimizer adam --learning-rate 0.003",
    "unet, adamw 0.001": f"{UNET} --optimizer adamw --learning-rate 0.001",
    "unet, adam 0.002, strong": f"{ADAM} --augment strong",  # the last --augment counts
    "unet, adam 0.002, strong-no-flips": f"{ADAM} --augment strong-no-flips",
    "unet, adam 0.002, strong-turned": f"{ADAM} --augment strong-turned",
    "unet, adam 0.002, strong-mr": f"{ADAM} --augment strong-mr",
    "vnet, sgd 0.02": "--model vnet --optimizer sgd --learning-rate 0.02",
    "vnet, adam 0.003": "--model vnet --optimizer adam --learning-rate 0.003",
}


def train(name: str, data: str, split: str, way: str, steps: int, seed: int) -> dict[str, object]:
    """One training, of which the validation Dice of the last weights is kept."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["llmseg", "train-sup", "--data", data, "--split", split, "-o", f"{folder}/run"]
        words += [*PATCHES[name].split(), *WAYS[way].split(), "--steps", str(steps)]
        words += [
            "--seed",
            str(seed),
            "--validate-every",
            str(steps),
            "--json",
            "--progress",
            "none",
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found = json.loads(done.stdout)
    return {
        "data": name,
        "way": way,
        "steps": steps,
        "seed": seed,
        "dice": found["validation_dice_final"],
        "seconds": found["elapsed_s"],
    }


def table(results: list[dict[str, object]]) -> str:
    """Dice in percent: a line per way and length, a column per data set."""
    cells: dict[tuple[object, object], dict[object, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for one in results:
        cells[one["way"], one["steps"]][one["data"]].append(100 * float(str(one["dice"])))
    lines = [
        "| steps | settings | " + " | ".join(PATCHES) + " |",
        "|---|---" * 1 + "|---" * len(PATCHES) + "|",
    ]
    for (way, steps), found in sorted(
        cells.items(), key=lambda item: (item[0][1], str(item[0][0]))
    ):
        shown = [", ".join(f"{value:.1f}" for value in found[name]) for name in PATCHES]
        lines.append(f"| {steps} | {way} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--split", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--steps", nargs="*", type=int, default=[60, 300])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--way", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("-o", "--out", type=Path, default=Path("results.jsonl"))
    parser.add_argument("--table", type=Path)
    wish = parser.parse_args()
    if wish.table:
        print(table([json.loads(line) for line in wish.table.read_text().splitlines()]))
        return
    folders, splits = (
        dict(pair.split("=", 1) for pair in pairs) for pairs in (wish.data, wish.split)
    )
    known = (
        [json.loads(line) for line in wish.out.read_text().splitlines()]
        if wish.out.exists()
        else []
    )
    done = {(one["data"], one["way"], one["steps"], one["seed"]) for one in known}
    for steps in wish.steps:
        for name, folder in folders.items():
            for way in wish.way:
                for seed in range(wish.seeds):
                    if (name, way, steps, seed) in done:
                        continue
                    found = train(name, folder, splits[name], way, steps, seed)
                    with wish.out.open("a") as stream:
                        stream.write(json.dumps(found) + "\n")
                    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
