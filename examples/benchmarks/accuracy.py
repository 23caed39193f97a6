"""Dice after the same minutes on the same cores with the same labels: llmseg, nnU-Net 2 and PyMIC.

    make bench-accuracy DATA=/data/hippocampus     an environment with the rivals, and this program
    python examples/benchmarks/accuracy.py --data /data/hippocampus [NAME ...] [--minutes 10,30,60]

`llmseg split` draws the labeled cases and locks the test cases; each contestant gets the labeled
ones' label maps, and some minutes for everything from raw files to a trained network: planning,
preparing, training. Masks of the test images are made after that, in any time, laid on the original
grids, and scored by `llmseg score`. What each was set to, and why, stands in `contestants.py`,
`nnunet_rival.py` and `pymic_rival.py`; the files' conversion for the rivals is not counted.

One contestant at a time has the machine's cores, or, with --side-by-side and --threads 1, two at
once, one core each: name an even number of them, for whoever is left over runs alone. A line of
JSON for each is added to the file of -o; `--table FILE` prints such a file as a table.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

from accuracy_data import Laid, lay
from accuracy_table import HEAD, row
from contestants import CONTESTANTS, Task, fresh, score
from measured import FailedError

from llmseg_cli.options import parse_label_map

PACKAGES = {"llmseg": "llmseg", "nnU-Net": "nnunetv2", "PyMIC": "PYMIC"}
# How the sets of the project's own results are drawn: labeled cases, test cases, and what else.
KNOWN = {
    "hippocampus": ["--labeled", "6", "--test", "40"],
    "la": ["--labeled", "8", "--test", "16"],
    "acdc-all": ["--labeled", "14", "--test", "20%", "--group-by", "(patient[0-9]+)"],
    "acdc": ["--labeled", "6", "--test", "6", "--group-by", "(patient[0-9]+)"],
    "kvasir": ["--labeled", "22", "--test", "60", "--label-map", "255:1"],
    "chest-xray": ["--labeled", "10", "--test", "12"],
}
TRAIN = "llmseg auto --data {data} -o {out} --budget {minutes}m --seed {seed}"
PREDICT = "llmseg predict --run {out} --images {test} {mirror} -o {masks}"


def main() -> None:
    """Hold the contest and print a Markdown table."""
    chosen = options().parse_args()
    print(HEAD, flush=True)
    if chosen.table:
        for line in chosen.table.read_text(encoding="utf-8").splitlines():
            print(row(json.loads(line)))
        return
    if chosen.data is None:
        sys.exit("--data is missing: the folder of the data set.")
    with TemporaryDirectory() as temporary:
        work = (chosen.work or Path(temporary)).resolve()
        laid = draw(chosen, fresh(work / "data"))
        failed = False
        for result in hold(chosen, laid, work):
            failed |= "error" in result
            print(row(result), flush=True)
            with chosen.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
    sys.exit(1 if failed else 0)


def options() -> argparse.ArgumentParser:
    """The program's words."""
    found = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    found.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CONTESTANTS))
    found.add_argument(
        "--data",
        type=Path,
        help=f"data set; drawn as known if its name is one of {', '.join(KNOWN)}",
    )
    found.add_argument("--minutes", type=numbers, default=(10.0,), help="such as 10,30,60")
    found.add_argument("--labeled", help="as of 'llmseg split'")
    found.add_argument("--test", help="as of 'llmseg split'")
    found.add_argument("--group-by", help="as of 'llmseg split'")
    found.add_argument("--label-map", action="append", help="as of 'llmseg split'")
    found.add_argument("--seed", type=int, default=0, help="of the draw and the trainings")
    found.add_argument("--threads", type=int, default=2, help="cores of each contestant")
    found.add_argument("--side-by-side", action="store_true", help="two at once, one core each")
    found.add_argument(
        "--train",
        default=TRAIN,
        help="llmseg's command, with {data} {out} {cache} {minutes} {threads} {seed} and, if it "
        "keeps no time itself, {steps}",
    )
    found.add_argument(
        "--predict",
        default=PREDICT,
        help="llmseg's command, with {out} {test} {masks} and {mirror}: --mirror where auto had it",
    )
    found.add_argument("--memory-gb", type=float, default=2.0, help="nnU-Net's gpu_memory_target")
    found.add_argument(
        "--configuration", help="nnU-Net's; default: 2d for pictures, else 3d_fullres"
    )
    found.add_argument("--augmenting", type=int, default=0, help="nnU-Net's processes that augment")
    found.add_argument("--work", type=Path, help="folder to keep data, networks, logs and masks in")
    found.add_argument("-o", "--out", type=Path, default=Path("accuracy.jsonl"))
    found.add_argument("--table", type=Path, help="print this file of results, and do nothing else")
    return found


def numbers(text: str) -> tuple[float, ...]:
    """Minutes, separated by commas."""
    return tuple(float(part) for part in text.split(","))


def drawing(chosen: argparse.Namespace) -> dict[str, list[str]]:
    """Options of `llmseg split`, by name: as known for this folder, unless said otherwise."""
    known = KNOWN.get(chosen.data.resolve().name, [])
    found = {name: [value] for name, value in zip(known[::2], known[1::2], strict=True)}
    for name in ("labeled", "test", "group_by", "label_map"):
        value = getattr(chosen, name)
        if value is not None:
            found["--" + name.replace("_", "-")] = value if isinstance(value, list) else [value]
    if missing := {"--labeled", "--test"} - found.keys():
        sys.exit(
            f"{chosen.data} is none of {', '.join(KNOWN)}: say {' and '.join(sorted(missing))}."
        )
    return found


def draw(chosen: argparse.Namespace, folder: Path) -> Laid:
    """Draw the cases and lay the data set out."""
    found = drawing(chosen)
    words = [word for name, values in found.items() for value in values for word in (name, value)]
    words += ["--data", str(chosen.data), "--seed", str(chosen.seed)]
    words += ["-o", str(folder / "split.json")]
    subprocess.run(
        [sys.executable, "-m", "llmseg_cli", "split", *words],
        check=True,
        stdout=sys.stderr,
    )
    return lay(chosen.data, folder, label_map=parse_label_map(found.get("--label-map", [])))


def hold(chosen: argparse.Namespace, laid: Laid, work: Path) -> Iterator[dict[str, Any]]:
    """Results in the order in which contestants end; a try that fails has an `error`."""
    names = chosen.names or list(CONTESTANTS)
    if unknown := set(names) - set(CONTESTANTS):
        sys.exit(f"No contestant '{unknown.pop()}'. Known: {', '.join(CONTESTANTS)}.")
    free: SimpleQueue[tuple[int, ...]] = SimpleQueue()
    places = lanes(sorted(os.sched_getaffinity(0)), chosen.threads, chosen.side_by_side)
    for cores in places:
        free.put(cores)

    def work_of(name: str, minutes: float) -> dict[str, Any]:
        cores = free.get()
        try:
            return take_part(chosen, laid, work, name, minutes, cores)
        finally:
            free.put(cores)

    with ThreadPoolExecutor(len(places)) as pool:
        waiting = [pool.submit(work_of, name, m) for m in chosen.minutes for name in names]
        for done in waiting:
            yield done.result()


def lanes(cores: list[int], threads: int, side_by_side: bool) -> list[tuple[int, ...]]:
    """Cores of each of those that run at once.

    Raises:
        SystemExit: If there are not so many cores.
    """
    many = 2 if side_by_side else 1
    if many * threads > len(cores):
        sys.exit(
            f"{many} at once with {threads} threads each need {many * threads} cores; "
            f"there are {len(cores)}. Say --threads {max(1, len(cores) // many)}."
        )
    return [tuple(cores[i * threads : (i + 1) * threads]) for i in range(many)]


def take_part(
    chosen: argparse.Namespace,
    laid: Laid,
    work: Path,
    name: str,
    minutes: float,
    cores: tuple[int, ...],
) -> dict[str, Any]:
    """One contestant's line of the results."""
    task = Task(
        data=chosen.data,
        laid=laid,
        folder=fresh(work / f"{name}-{minutes:g}-minutes-seed-{chosen.seed}"),
        minutes=minutes,
        cores=cores,
        seed=chosen.seed,
        train_words=chosen.train,
        predict_words=chosen.predict,
        memory_gb=chosen.memory_gb,
        configuration=chosen.configuration or ("2d" if laid.is_2d else "3d_fullres"),
        augmenting=chosen.augmenting,
    )
    line: dict[str, Any] = {
        "data": chosen.data.resolve().name,
        "contestant": name,
        "version": version(PACKAGES[name]),
        "torch": version("torch"),
        "minutes": minutes,
        "threads": len(cores),
        "side_by_side": chosen.side_by_side,
        "labeled": len(laid.labeled),
        "test": len(laid.test),
        "seed": chosen.seed,
    }
    on = f"core{'s' * (len(cores) > 1)} {', '.join(map(str, cores))}"
    sys.stderr.write(f"{name}: {minutes:g} minutes on {on}; {task.folder}\n")
    try:
        result = CONTESTANTS[name](task)
        return line | {
            "train": result.train.document(),
            "predict": result.predict.document(),
            "steps": result.steps,
            "settings": result.settings,
            "dice": score(task),
        }
    except FailedError as error:
        return line | {"error": str(error)}


if __name__ == "__main__":
    main()
