"""How what llmseg needs grows with the number of cases: time, memory, disk, files, listings.

    python examples/benchmarks/growth.py --pictures 10,100,1000,10000 --volumes 10,100,1000
    python examples/benchmarks/growth.py --pictures "" --volumes "" --labels 10,100,1000

Each number of cases has a data set of its own in a temporary folder, and each command a process of
its own. `grows` is the exponent of the growth of the processors' time since the number of cases
before, less what a command needs for the first, smallest number: 1 is linear. A command that lists
folders more often for more cases, or opens more files a case, is seen in counts, not in times.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measured import limited, measure
from PIL import Image

SIDE = 32
VOLUME = (128, 128, 64)
HEADER = 352  # bytes of a NIfTI file before its voxels
TINY = ("--model", "vnet", "--model-option", "filters=4", "--patch", f"{SIDE},{SIDE}")
TRAIN = ("train-sup", "--data", "data", "--split", "split.json", "--device", "cpu", *TINY)
TEST = ("--split", "split.json", "--subset", "test")
PREDICT = ("predict", "--run", "run", "--data", "data", *TEST, "-o", "masks", "--device", "cpu")
SCORE = ("score", "--pred", "masks", "--ref", "data/labels", *TEST)
STAGES = {
    "check": ("check", "--data", "data", "-o", "check.json"),
    "split": ("split", "--data", "data", "--test", "50%", "-o", "split.json"),
    "train, cases prepared": (*TRAIN, "--steps", "2", "--cache", "cache", "-o", "run"),
    "train, cases there": (*TRAIN, "--steps", "2", "--cache", "cache", "-o", "run2"),
    "predict": PREDICT,
    "predict --resume": (*PREDICT, "--resume"),
    "score": (*SCORE, "-o", "scores.json"),
    "report": ("report", "run", "--scores", "scores.json", "--masks", "masks", "--data", "data",
               "-o", "report.html"),
    "cache ls": ("cache", "ls", "--cache", "cache"),
}  # fmt: skip
OF_VOLUMES = ("check", "split")
SEMI = ("train-semi", "--method", "mean-teacher", *TRAIN[1:], "--steps", "2", "--cache", "cache")
OF_LABELS = {
    "split": ("split", "--data", "data", "--labeled", "{number}", "-o", "split.json"),
    "train-semi, cases prepared": (*SEMI, "-o", "run"),
    "train-semi, cases there": (*SEMI, "-o", "run2"),
}
PICTURES = 2000  # of which so many are labeled


@dataclass(frozen=True)
class Row:
    """What a command took for a number of cases."""

    stage: str
    cases: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    disk_mb: float
    most_open: int
    listed: int
    opened: int


def main() -> None:
    """Make data, run the commands, print a table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--pictures", type=numbers, default="10,100,1000")
    options.add_argument("--volumes", type=numbers, default="10,100")
    options.add_argument(
        "--labels", type=numbers, default="", help=f"Labeled ones of {PICTURES} pictures."
    )
    options.add_argument("--stages", help="Some of the commands, by semicolon.")
    options.add_argument("-o", "--output", type=Path, help="The rows, as JSON lines.")
    chosen = options.parse_args()
    wanted = chosen.stages.split(";") if chosen.stages else list(STAGES)
    few = [stage for stage in wanted if stage in OF_VOLUMES]
    kinds: dict[str, tuple[list[int], Callable[[Path, int], None], dict[str, tuple[str, ...]]]] = {
        "pictures": (chosen.pictures, write_pictures, {stage: STAGES[stage] for stage in wanted}),
        "volumes": (chosen.volumes, write_volumes, {stage: STAGES[stage] for stage in few}),
        "labels": (chosen.labels, lambda root, _: write_pictures(root, PICTURES), OF_LABELS),
    }
    for kind, (asked, write, stages) in kinds.items():
        rows = []
        for number in asked:
            with tempfile.TemporaryDirectory(prefix="llmseg-growth-") as name:
                place = Path(name)
                write(place / "data", number)
                for row in run(place, number, stages):
                    rows.append(row)
                    print(f"{kind} {row}", file=sys.stderr, flush=True)
                    if chosen.output:
                        with chosen.output.open("a") as stream:
                            stream.write(json.dumps({"of": kind, **vars(row)}) + "\n")
        if rows:
            print("\n".join(table(kind, rows, [*stages])), flush=True)


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between them; none of an empty text."""
    return [int(number) for number in text.split(",") if number]


def run(place: Path, number: int, stages: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """All stages in their order, in *place*; `{number}` in their words is the number."""
    os.chdir(place)
    for stage, words in stages.items():
        before = disk_of(place)
        counts, script = place / "counts.json", Path(__file__).with_name("counted.py")
        with ThreadPoolExecutor(1) as pool:  # whose cores measure() sets
            taken = pool.submit(
                measure,
                [
                    *(sys.executable, str(script), str(counts)),
                    *(word.format(number=number) for word in words),
                    "--quiet",
                ],
                place / "log.txt",
                cores=sorted(os.sched_getaffinity(0)),
                environment={**limited(1), "LLMSEG_CACHE": str(place / "cache")},
            ).result()
        found: dict[str, Any] = json.loads(counts.read_text())
        counts.unlink()
        yield Row(
            stage,
            number,
            round(taken.wall_s, 2),
            round(taken.cpu_s, 2),
            round(taken.peak_mb),
            round((disk_of(place) - before) / 1e6, 2),
            **found,
        )


def disk_of(folder: Path) -> int:
    """Bytes that the files of a folder take on disk, holes not counted."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def table(kind: str, rows: Sequence[Row], stages: Sequence[str]) -> Iterator[str]:
    """A line a command and number of cases, in Markdown."""
    columns = ("s", "CPU s", "grows", "peak MB", "disk MB", "open at a time", "opened a case")
    yield f"| command | {kind} | {' | '.join((*columns, 'folders listed'))} |"
    yield "|---" * (len(columns) + 3) + "|"
    for stage in stages:
        own = [row for row in rows if row.stage == stage]
        for index, row in enumerate(own):
            grows = "" if index < 2 else f"{exponent(own[0], own[index - 1], row):.2f}"
            cells = (
                stage, f"{row.cases:,}", f"{row.wall_s:.1f}", f"{row.cpu_s:.1f}", grows,
                f"{row.peak_mb:.0f}", f"{row.disk_mb:.1f}", row.most_open,
                f"{row.opened / row.cases:.1f}", row.listed,
            )  # fmt: skip
            yield f"| {' | '.join(map(str, cells))} |"


def exponent(first: Row, before: Row, now: Row) -> float:
    """Of the growth of the processors' time above that of the first row."""
    low, high = (max(row.cpu_s - first.cpu_s, 0.01) for row in (before, now))
    return math.log(high / low) / math.log(now.cases / before.cases)


def write_pictures(root: Path, number: int) -> None:
    """Pictures with a bright rectangle somewhere, and their label maps."""
    noise = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for index in range(number):
        x, y = noise.integers(2, SIDE - 14, 2)
        labels = np.zeros((SIDE, SIDE), np.uint8)
        labels[x : x + 10, y : y + 12] = 1
        image = noise.normal(60 + 120 * labels, 10).clip(0, 255).astype(np.uint8)
        for folder, array in (("images", image), ("labels", labels)):
            Image.fromarray(array).save(root / folder / f"picture{index:05d}.png")


def write_volumes(root: Path, number: int) -> None:
    """Volumes whose files are mostly holes: a block of noise, and nothing else."""
    import nibabel as nib

    noise = np.random.default_rng(0)
    for folder, kind in (("images", np.int16), ("labels", np.uint8)):
        (root / folder).mkdir(parents=True)
        header = nib.Nifti1Image(np.zeros(VOLUME, kind), np.eye(4))
        pattern = root / f"{folder}.nii"
        nib.save(header, pattern)
        start, size = pattern.read_bytes()[:HEADER], pattern.stat().st_size
        pattern.unlink()
        for index in range(number):
            block = noise.integers(1, 2 if kind is np.uint8 else 1000, 4096).astype(kind)
            with (root / folder / f"volume{index:04d}.nii").open("wb") as stream:
                stream.write(start + block.tobytes())
                stream.truncate(size)


if __name__ == "__main__":
    main()
