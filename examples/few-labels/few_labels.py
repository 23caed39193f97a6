"""Trainings with few labels on several data sets, each scored once on a locked test list.

    python few_labels.py --data acdc=/data/acdc-all polyp=/data/kvasir --work out
    python few_labels.py ... --set acdc --labels 3 --row usl --seed 0     one of them
    python few_labels.py ... --list                                        what is left to do

`sets.yaml` says how cases are drawn and how long is trained, `rows.yaml` what is compared. A
training is a line of the results, with the scores of every test case; lines that are there are not
made again, so that the program can be stopped at any time. `table.py` makes the tables.
"""

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Cell:
    """One training of the table.

    Args:
        data: Name of the data set.
        labels: Labeled cases, or patients.
        row: What is trained.
        seed: Of the draw and of the training.
        steps: Of training.
    """

    data: str
    labels: int
    row: str
    seed: int
    steps: int

    @property
    def folder(self) -> str:
        """Of its files, within the work folder."""
        return f"{self.data}/{self.labels}/{self.row}-{self.steps}-s{self.seed}"

    def of(self, result: dict[str, Any]) -> bool:
        """Whether a line of the results is of this training."""
        return all(result[name] == getattr(self, name) for name in self.__dataclass_fields__)


def main() -> None:
    """Train, predict and score what is not in the results yet."""
    wish = options().parse_args()
    sets = yaml.safe_load((HERE / "sets.yaml").read_text(encoding="utf-8"))
    rows = yaml.safe_load((HERE / "rows.yaml").read_text(encoding="utf-8"))
    folders = dict(pair.split("=", 1) for pair in wish.data)
    if unknown := folders.keys() - sets.keys():
        sys.exit(f"No data set '{unknown.pop()}'. Known: {', '.join(sets)}.")
    known = read(wish.out)
    for cell in cells(sets, rows, wish):
        if cell.data not in folders or any(cell.of(line) for line in known):
            continue
        if wish.list:
            print(cell.folder)
            continue
        result = train(cell, sets[cell.data], rows[cell.row], Path(folders[cell.data]), wish.work)
        with wish.out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(result) + "\n")
        print(cell.folder, f"{result['mean']:.4f}", f"{result['seconds']:.0f} s", flush=True)


def options() -> argparse.ArgumentParser:
    """The program's words."""
    found = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    found.add_argument("--data", nargs="+", required=True, metavar="NAME=FOLDER")
    found.add_argument("--set", nargs="*", help="only these data sets")
    found.add_argument("--labels", type=int, nargs="*", help="only these label counts")
    found.add_argument("--row", nargs="*", help="only these rows")
    found.add_argument("--seed", type=int, nargs="*", default=SEEDS)
    found.add_argument("--steps", type=int, help="another length, for a first try")
    found.add_argument("--work", type=Path, default=Path("out"), help="folder of runs and masks")
    found.add_argument("-o", "--out", type=Path, default=HERE / "results.jsonl")
    found.add_argument("--list", action="store_true", help="print what is left, and do nothing")
    return found


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of results, none if there is no file."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def cells(sets: dict[str, Any], rows: dict[str, Any], wish: argparse.Namespace) -> Iterator[Cell]:
    """What the table is made of, the first seed of everything first."""
    for seed in wish.seed:
        for data, about in sets.items():
            for labels in about["labels"]:
                for row, what in rows.items():
                    fits = labels == min(about["labels"]) or what["at"] == "all"
                    chosen = (
                        data in what.get("sets", sets)
                        and (wish.set is None or data in wish.set)
                        and (wish.labels is None or labels in wish.labels)
                        and (wish.row is None or row in wish.row)
                    )
                    if fits and chosen:
                        yield Cell(data, labels, row, seed, wish.steps or about["steps"])


def train(
    cell: Cell, about: dict[str, Any], row: dict[str, Any], data: Path, work: Path
) -> dict[str, Any]:
    """One line of the results."""
    folder = work / cell.folder
    shutil.rmtree(folder, ignore_errors=True)  # what a stopped run left
    folder.mkdir(parents=True)
    split = folder / "split.json"
    write_split(cell, about, data, split, everything=row.get("labels") == "all", work=work)
    began = time.monotonic()
    start: list[object] = []
    for number, words in enumerate((*row.get("after", ()), row["words"])):
        output = folder / (f"start-{number}" if number < len(row.get("after", ())) else "run")
        llmseg(
            *words.format(third=cell.steps // 3, half=cell.steps // 2).split(),
            *("--data", data, "--split", split, "--config", HERE / about["recipe"]),
            *([] if "volume-fusion" in words else changes(about)),  # it looks at no label map
            *start,
            *("--steps", cell.steps, "--seed", cell.seed, "-o", output),
        )
        start = ["--init", output]
    seconds = time.monotonic() - began
    where = ("--data", data, "--split", split, "--subset", "test")
    llmseg("predict", "--run", folder / "run", *where, "-o", folder / "masks")
    scored = llmseg(
        *("score", "--pred", folder / "masks", "--ref", data, "--split", split, "--subset", "test"),
        *(["--voxel-units"] if "hd95_voxel" in about["metrics"] else []),
    )
    if scored["status"] != "ok":
        sys.exit(f"{cell.folder}: not every test case has a score; see {folder}.")
    return {
        **{name: getattr(cell, name) for name in cell.__dataclass_fields__},
        "networks": row["networks"],
        "seconds": round(seconds, 1),
        "mean": scored["metrics"]["dice"]["mean"],
        "cases": [case["case"] for case in scored["cases"]],
        "scores": {
            metric: [
                [round(found[metric], 5) for found in case["classes"].values()]
                for case in scored["cases"]
            ]
            for metric in about["metrics"]
        },
    }


def write_split(
    cell: Cell,
    about: dict[str, Any],
    data: Path,
    output: Path,
    *,
    everything: bool,
    work: Path,
) -> None:
    """The cases of a training: `llmseg split` reads them, and roles are given as `sets.yaml` says.

    Args:
        cell: The training.
        about: Of the data set.
        data: Its folder.
        output: File to write.
        everything: Whether the unlabeled have their labels, too.
        work: Folder in which the first reading of the data is kept.
    """
    first = work / cell.data / "read.json"
    if not first.exists():
        first.parent.mkdir(parents=True, exist_ok=True)
        grouped = ["--group-by", about["group"]] if "group" in about else []
        locked = [] if about.get("lists") else ["--test", about["test"]]
        words = ("split", "--data", data, *changes(about), *grouped, "--labeled", "all", *locked)
        llmseg(*words, "--seed", 0, "-o", first)
    split = json.loads(first.read_text(encoding="utf-8"))
    roles = listed(cell, about, data) if about.get("lists") else drawn(cell, split)
    if everything:
        roles = {**roles, "labeled": roles["labeled"] + roles["unlabeled"], "unlabeled": []}
    used = {name for names in roles.values() for name in names}
    for name in ("images", "groups", "former"):
        split[name] = {case: found for case, found in split[name].items() if case in used}
    split |= {"validation": [], "seed": cell.seed, **roles}
    output.write_text(json.dumps(split, indent=2) + "\n", encoding="utf-8")


def changes(about: dict[str, Any]) -> list[str]:
    """Words for the label values of a data set."""
    return [word for pair in about.get("label-map", []) for word in ("--label-map", pair)]


def listed(cell: Cell, about: dict[str, Any], data: Path) -> dict[str, list[str]]:
    """Roles by the published lists."""

    def names(file: str) -> list[str]:
        found = (data / file).read_text(encoding="utf-8").split()
        return [name for name in found if patient(name) not in about.get("leave-out", [])]

    def patient(name: str) -> str:
        match = re.search(about.get("group", "$()"), name)
        return match[1] or name if match else name

    train = names("train.list")
    if "last" in about:
        train, test = train[: -about["last"]], train[-about["last"] :]
    else:
        test = names("test.list")
    labeled = list(dict.fromkeys(map(patient, train)))[: cell.labels]
    return {
        "labeled": [name for name in train if patient(name) in labeled],
        "unlabeled": [name for name in train if patient(name) not in labeled],
        "test": test,
    }


def drawn(cell: Cell, split: dict[str, Any]) -> dict[str, list[str]]:
    """Roles by lot: the labeled cases by the seed's, fewer of them within more."""
    rest = sorted(split["labeled"])
    random.Random(cell.seed).shuffle(rest)
    return {"labeled": rest[: cell.labels], "unlabeled": rest[cell.labels :], "test": split["test"]}


def llmseg(*words: object) -> dict[str, Any]:
    """The JSON document of a command; ends the program where it fails."""
    command = [sys.executable, "-m", "llmseg_cli", *map(str, words), "--json", "--progress", "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
