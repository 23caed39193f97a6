"""Two shards, two tasks of Ray and two ranks of a training, each beside one of them.

    python examples/benchmarks/shares.py

Every contestant has a processor of its own and one thread. Scans and pictures are made, networks
hardly trained, since what they answer makes no difference to the time. One and two are measured one
after the other in each round, and the table has the medians of the rounds' ratios:

- `wall`: how many times faster two are, by the clock; it counts start-up, loading and joining. It
  means little while others use the processors, so the load before each is shown.
- `processors`: the time of the processors that one took, over that of the longer of the two; what
  the clock would show if nobody else were there. Not known of tasks of Ray, which are not our
  processes.

A training is told by patches per second between its fifth and its last step. `trainings apart` is
what two processors give to two trainings that have nothing in common, beside one: no ranks can do
better.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from measured import Measured, limited, measure
from PIL import Image

LLMSEG = (sys.executable, "-m", "llmseg_cli")
FIRST = 5  # steps that are not timed
PATCH, BATCH, STEPS = 64, 4, 15
PARTS = ("predict", "mine-sam", "ray predict", "ray mine-sam", "trainings apart", "training")


@dataclass(frozen=True)
class Ratio:
    """How many times faster two are than one.

    Args:
        wall: By the clock, or by patches per second.
        processors: By the time of the processors; None if it is not known.
        load: Work that waited for a processor before each was begun.
        one_s: What one took by the clock.
    """

    wall: float
    processors: float | None
    load: tuple[float, float]
    one_s: float


class Place:
    """A folder with scans, pictures, splits and untrained runs.

    Args:
        root: Where they are made.
        cores: Two processors.
        scans: Number of scans; three times as many pictures.
    """

    def __init__(self, root: Path, cores: Sequence[int], scans: int) -> None:
        self.root, self.cores, self.count = root, cores, 0
        noise = np.random.default_rng(0)
        for index in range(scans + 2):
            write_scan(root / "scans", index, noise, labeled=index < 2)
        for index in range(3 * scans + 2):
            write_picture(root / "pictures", index, noise, labeled=index < 2)
        for name, patch in (("scans", "64,64,64"), ("pictures", "128,128")):
            data = self.root / name
            self.llmseg("split", "--data", data, "--labeled", "2", "-o", root / f"{name}.json")
            self.llmseg(*self.training(name, patch), "--steps", "1", "-o", root / f"run-{name}")

    def training(self, name: str, patch: str) -> list[str | Path]:
        """Words of a training, but for its steps and its output."""
        data = ("--data", self.root / name, "--split", self.root / f"{name}.json")
        network = ("--model", "unet", "--patch", patch, "--spacing", "0", "--device", "cpu")
        return ["train-sup", *data, *network, "--log-every", "1", "--cache", self.root / "cache"]

    def llmseg(self, *words: str | Path, cores: Sequence[int] | None = None) -> Measured:
        """Run it on these processors, a thread on each."""
        used = cores or self.cores[:1]
        return self.measured([*LLMSEG, *map(str, words), "--quiet"], used)

    def measured(self, words: Sequence[str], cores: Sequence[int]) -> Measured:
        """What a command takes on these processors, with one thread a process."""
        self.count += 1
        log = self.root / f"log{self.count}.txt"
        return measure(words, log, cores=cores, environment=limited(1))

    def words(self, part: str, out: Path) -> list[str | Path]:
        """Words of a part, but for who does it; each output has a cache of its own."""
        if part == "predict":
            name, run = "scans", ("predict", "--device", "cpu", "--overlap", "0.5")
        else:
            name, run = "pictures", ("mine-sam", "--device", "cpu", "--prompts", "box")
        asked = ("--run", self.root / f"run-{name}", "--data", self.root / name)
        return [*run, *asked, "--split", self.root / f"{name}.json", "--subset", "unlabeled",
                "-o", out]  # fmt: skip


def main() -> None:
    """Measure what was asked, and print how many times faster two are."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", choices=PARTS, action="append", help="Measure these alone.")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--scans", type=int, default=24, help="Few are mostly start-up.")
    chosen = options.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("two processors are needed")
    with tempfile.TemporaryDirectory(prefix="llmseg-shares-") as name:
        place = Place(Path(name), cores, chosen.scans)
        print(
            f"{'two beside one':<16}{'one, s':>8}{'wall':>7}{'processors':>12}   load before each"
        )
        for part in chosen.only or PARTS:
            found = [contest(part, place, number) for number in range(chosen.rounds)]
            wall = statistics.median(one.wall for one in found)
            known = [one.processors for one in found if one.processors is not None]
            shown = f"{statistics.median(known):>12.2f}" if known else f"{'-':>12}"
            loads = ", ".join(f"{one.load[0]:.1f} and {one.load[1]:.1f}" for one in found)
            took = statistics.median(one.one_s for one in found)
            print(f"{part:<16}{took:>8.0f}{wall:>7.2f}{shown}   {loads}", flush=True)


def contest(part: str, place: Place, number: int) -> Ratio:
    """One and two of a part, once."""
    folder = place.root / part.replace(" ", "-") / str(number)
    folder.mkdir(parents=True)
    kind: Callable[[str, Place, Path], Ratio] = of_shards
    if part.startswith("ray "):
        kind = of_ray
    elif part == "training":
        kind = of_training
    elif part == "trainings apart":
        kind = of_trainings_apart
    return kind(part.removeprefix("ray "), place, folder)


def of_shards(part: str, place: Place, folder: Path) -> Ratio:
    """A command of all cases beside two of a shard each, the later of which joins."""
    one = place.llmseg(*place.words(part, folder / "one"), *own_cache(part, folder / "cache1"))
    shared = (*place.words(part, folder / "two"), *own_cache(part, folder / "cache2"))
    with ThreadPoolExecutor(2) as pool:
        begun = [
            pool.submit(place.llmseg, *shared, "--shard", f"{number}/2", cores=[core])
            for number, core in enumerate(place.cores, start=1)
        ]
        two = [each.result() for each in begun]
    wall = max(each.wall_s for each in two)
    processors = max(each.cpu_s for each in two)
    return Ratio(one.wall_s / wall, one.cpu_s / processors, (one.load, two[0].load), one.wall_s)


def of_ray(part: str, place: Place, folder: Path) -> Ratio:
    """`--engine ray` on one processor beside the same on two."""
    found = []
    for cores in (place.cores[:1], place.cores):
        out = folder / f"on{len(cores)}"
        words = (*place.words(part, out), *own_cache(part, folder / f"cache{len(cores)}"))
        found.append(place.llmseg(*words, "--engine", "ray", cores=cores))
    one, two = found
    return Ratio(one.wall_s / two.wall_s, None, (one.load, two.load), one.wall_s)


def own_cache(part: str, cache: Path) -> list[str | Path]:
    """A cache without embeddings, whose weights are the user's."""
    if part != "mine-sam":
        return []
    from llmseg_cli.artifacts.cache_folder import default_cache

    usual = Path(os.environ.get("LLMSEG_CACHE") or default_cache())
    cache.mkdir()
    (cache / "weights").symlink_to(usual / "weights")
    return ["--cache", cache]


def of_trainings_apart(part: str, place: Place, folder: Path) -> Ratio:
    """A training alone beside two of them at a time, by all patches per second."""

    def train(name: str, core: int) -> Measured:
        return place.measured([*starting(1), *of_ranks(place), "-o", f"{folder / name}"], [core])

    one = train("one", place.cores[0])
    with ThreadPoolExecutor(2) as pool:
        begun = [pool.submit(train, f"on{core}", core) for core in place.cores]
        two = [each.result() for each in begun]
    rate = sum(patches_per_second(folder / f"on{core}" / "log.jsonl") for core in place.cores)
    processors = 2 * one.cpu_s / max(each.cpu_s for each in two)
    faster = rate / patches_per_second(folder / "one" / "log.jsonl")
    return Ratio(faster, processors, (one.load, two[0].load), one.wall_s)


def of_training(part: str, place: Place, folder: Path) -> Ratio:
    """A training of one process beside one of two, by patches per second."""
    rates, took, each = [], [], []
    for ranks in (1, 2):
        out = folder / f"of{ranks}"
        start = [*starting(ranks), *of_ranks(place), "-o", str(out)]
        took.append(place.measured(start, place.cores[:ranks]))
        each.append(took[-1].cpu_s / ranks)
        rates.append(patches_per_second(out / "log.jsonl"))
    loads = (took[0].load, took[1].load)
    return Ratio(rates[1] / rates[0], each[0] / each[1], loads, took[0].wall_s)


def starting(ranks: int) -> list[str]:
    """Words that start so many ranks of llmseg."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
    return [*launcher, f"{ranks}", "-m", "llmseg_cli"]


def of_ranks(place: Place) -> list[str]:
    """Words of the training that ranks share, but for its output."""
    words = place.training("scans", ",".join([str(PATCH)] * 3))
    return [*map(str, words), "--batch", f"{BATCH}", "--steps", f"{STEPS}"]


def patches_per_second(log: Path) -> float:
    """Between the first steps and the last, as the log has them."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    times = [line["time"] for line in lines if "learning_rate" in line][FIRST - 1 :]
    return BATCH * (len(times) - 1) / (times[-1] - times[0])


def write_scan(root: Path, index: int, noise: np.random.Generator, *, labeled: bool) -> None:
    """Noise with a bright box, 128 voxels a side, and where it is *labeled* the box."""
    labels = np.zeros((128, 128, 128), np.uint8)
    labels[40:90, 30:80, 50:100] = 1
    image = noise.normal(100 + 50 * labels, 20).astype(np.float32)
    for name, array in (("images", image), ("labels", labels))[: 1 + labeled]:
        path = root / name / f"scan{index:02d}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def write_picture(root: Path, index: int, noise: np.random.Generator, *, labeled: bool) -> None:
    """The same in 256 x 256 pixels."""
    labels = np.zeros((256, 256), np.uint8)
    labels[60:160, 80:200] = 1
    image = noise.normal(80 + 80 * labels, 20).clip(0, 255).astype(np.uint8)
    for name, array in (("images", image), ("labels", labels))[: 1 + labeled]:
        path = root / name / f"picture{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


if __name__ == "__main__":
    main()
