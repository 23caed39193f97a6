"""Trainings of an example, each scored once on a locked test list.

    python trainings.py ../few-labels --data /data         what is not in the results yet
    python trainings.py ../few-labels --data polyp=/data/kvasir --labels 11 --row usl --seed 0
    python trainings.py ../few-labels --data /data --list  what is left to do

The example is a folder: its `sets.yaml` says how cases are drawn and how long is trained, its
`rows.yaml` what is compared. A training is a line of the results, with the scores of every test
case; lines that are there are not made again, so that the program can be stopped at any time. Two
of them may run at once, with other seeds. `table.py` makes the tables.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SEEDS = (0, 1, 2)
Label = int | str  # cases, patients of published lists, or a share such as 10%


@dataclass(frozen=True)
class Cell:
    """One training of the table.

    Args:
        data: Name of the data set.
        labels: Labeled cases, patients, or a share of what is not locked.
        row: What is trained.
        seed: Of the draw and of the training.
        steps: Of training.
    """

    data: str
    labels: Label
    row: str
    seed: int
    steps: int

    @property
    def place(self) -> str:
        """Folder of the cases that are drawn, within the work folder."""
        return f"{self.data}/{self.labels}".replace("%", "-percent")

    def of(self, result: dict[str, Any]) -> bool:
        """Whether a line of the results is of this training."""
        return all(result[name] == getattr(self, name) for name in self.__dataclass_fields__)


def main() -> None:
    """Train, predict and score what is not in the results yet."""
    wish = options().parse_args()
    sets, rows = (read_yaml(wish.example / name) for name in ("sets.yaml", "rows.yaml"))
    folders = folders_of(sets, wish.data)
    output = wish.out or wish.example / "results.jsonl"
    if (wish.development or wish.recipe) and not wish.out:
        sys.exit("Settings that are only tried need a file of their own: -o FILE.")
    known = read(output)
    for cell in cells(sets, rows, wish):
        if cell.data not in folders or any(cell.of(line) for line in known):
            continue
        if wish.list:
            print(cell.place, cell.row, f"{cell.steps} steps, seed {cell.seed}")
            continue
        training = Training(cell, sets[cell.data], rows, folders[cell.data], wish)
        result = training.result()
        with output.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(result) + "\n")
        print(
            cell.place, cell.row, cell.seed, f"{result['mean']:.4f}", f"{result['seconds']:.0f} s"
        )
        sys.stdout.flush()


def options() -> argparse.ArgumentParser:
    """The program's words."""
    found = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    found.add_argument("example", type=Path, help="folder with sets.yaml and rows.yaml")
    found.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="NAME=FOLDER",
        help="of a data set; or one folder that holds those that sets.yaml names",
    )
    found.add_argument("--set", nargs="*", help="only these data sets")
    found.add_argument("--labels", nargs="*", help="only these label counts")
    found.add_argument("--row", nargs="*", help="only these rows")
    found.add_argument("--seed", type=int, nargs="*", default=SEEDS)
    found.add_argument("--steps", type=int, help="another length, for a first try")
    found.add_argument("--recipe", type=Path, help="instead of the recipe of sets.yaml")
    found.add_argument(
        "--development",
        action="store_true",
        help="score the cases that sets.yaml calls development, and never the test list",
    )
    found.add_argument("--work", type=Path, default=Path("out"), help="folder of runs and masks")
    found.add_argument(
        "-o", "--out", type=Path, help="results; default: results.jsonl of the example"
    )
    found.add_argument("--list", action="store_true", help="print what is left, and do nothing")
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping."""
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of results, none if there is no file."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def folders_of(sets: dict[str, Any], words: list[str]) -> dict[str, Path]:
    """Name of each data set that is here to its folder.

    Args:
        sets: Of `sets.yaml`.
        words: `NAME=FOLDER`, or one folder that holds the data sets.
    """
    if len(words) == 1 and "=" not in words[0]:
        root = Path(words[0])
        found = {name: root / about["folder"] for name, about in sets.items()}
        if not any(folder.is_dir() for folder in found.values()):
            names = ", ".join(str(about["folder"]) for about in sets.values())
            sys.exit(f"{root} holds none of {names}.")
        return {name: folder for name, folder in found.items() if folder.is_dir()}
    named = dict(word.partition("=")[::2] for word in words)
    if unknown := named.keys() - sets.keys():
        sys.exit(f"No data set '{unknown.pop()}'. Known: {', '.join(sets)}.")
    return {name: Path(folder) for name, folder in named.items()}


def cells(sets: dict[str, Any], rows: dict[str, Any], wish: argparse.Namespace) -> Iterator[Cell]:
    """What the table is made of, the first seed of everything first."""
    costs = wish.example / "costs.json"
    known = json.loads(costs.read_text(encoding="utf-8")) if costs.exists() else {}
    for seed in wish.seed:
        for data, about in sets.items():
            if seed not in about.get("seeds", wish.seed):
                continue
            for labels in about["labels"]:
                for row, what in rows.items():
                    fits = labels == about["labels"][0] or what.get("at", "all") == "all"
                    chosen = (
                        data in what.get("sets", sets)
                        and (wish.set is None or data in wish.set)
                        and (wish.labels is None or str(labels) in wish.labels)
                        and (wish.row is None or row in wish.row)
                    )
                    if fits and chosen:
                        yield Cell(data, labels, row, seed, wish.steps or length(about, row, known))


def length(about: dict[str, Any], row: str, costs: dict[str, Any]) -> int:
    """How many steps a row has: as many as all, or as fit into `cpu-seconds`.

    Args:
        about: Of the data set, in `sets.yaml`.
        row: Which.
        costs: Of `costs.json` beside it: data set to row to `seconds_per_step`.
    """
    if "cpu-seconds" not in about:
        return int(about["steps"])
    own = costs.get(about["costs-of"], {})
    if row not in own:
        sys.exit(f"costs.json has no row '{row}' of {about['costs-of']}. Make it with costs.py.")
    return max(1, round(about["cpu-seconds"] / own[row]["seconds_per_step"]))


class Training:
    """One training, from the draw to its scores.

    Args:
        cell: Which.
        about: Of its data set, in `sets.yaml`.
        rows: Of `rows.yaml`.
        data: Folder of the data set.
        wish: The program's words.
    """

    def __init__(
        self,
        cell: Cell,
        about: dict[str, Any],
        rows: dict[str, Any],
        data: Path,
        wish: argparse.Namespace,
    ) -> None:
        self.cell, self.about, self.row = cell, about, rows[cell.row]
        self.recipe = wish.recipe or wish.example / about["recipe"]
        self.development = wish.development
        self.data, self.example, self.work = data, wish.example, wish.work
        self.folder = wish.work / cell.place / f"{cell.row}-{cell.steps}-s{cell.seed}"
        everything = "-all" if self.row.get("labels") == "all" else ""
        self.split = wish.work / cell.place / f"split{everything}-s{cell.seed}.json"

    def result(self) -> dict[str, Any]:
        """One line of the results."""
        shutil.rmtree(self.folder, ignore_errors=True)  # what a stopped run left
        self.folder.mkdir(parents=True)
        self.write_split(everything=self.row.get("labels") == "all")
        runs: list[Path] = []
        for words in self.row.get("after", ()):
            runs.append(self.start_of(words, *runs[-1:]))
        self.train(self.row["words"], self.folder / "run", *runs[-1:])
        runs.append(self.folder / "run")
        scored = self.scores()
        return {
            **{name: getattr(self.cell, name) for name in self.cell.__dataclass_fields__},
            "networks": self.row["networks"],
            "seconds": round(sum(map(seconds_of, runs)), 1),
            "mean": scored["metrics"]["dice"]["mean"],
            "cases": [case["case"] for case in scored["cases"]],
            "scores": {
                metric: [
                    [round(found[metric], 5) for found in case["classes"].values()]
                    for case in scored["cases"]
                ]
                for metric in self.about["metrics"]
            },
            "trust": trust(scored),
        }

    def start_of(self, words: str, *before: Path) -> Path:
        """A run that others start from; all rows of a seed share it."""
        named = json.dumps(
            [words, self.cell.steps, self.cell.seed, self.split.name, *map(str, before)]
        )
        name = hashlib.sha256(named.encode()).hexdigest()[:12]
        folder = self.work / self.cell.place / f"start-{name}"
        if not (folder / "run.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            self.train(words, folder, *before)
        return folder

    def train(self, words: str, output: Path, *before: Path) -> None:
        """Run a training.

        Args:
            words: The command, with {third}, {quarter} and {half} of the steps, {text}, and
                {mined}, what Segment Anything draws where the run before predicts something.
            output: Its folder.
            *before: The run whose weights it starts from, if there is one.
        """
        steps = self.cell.steps * (self.row.get("times", 1) if words == self.row["words"] else 1)
        places = {"third": steps // 3, "quarter": steps // 4, "half": steps // 2}
        if "{text}" in words:
            places["text"] = self.text()
        if "{mined}" in words:
            places["mined"] = self.mined(before[-1])
        is_file = self.recipe.suffix == ".yaml"
        llmseg(
            *(word.format_map(places) for word in words.split()),
            *("--data", self.data, "--split", self.split),
            *(("--config", self.recipe) if is_file else ("--recipe", self.recipe.name)),
            *([] if "volume-fusion" in words else self.changes()),  # it looks at no label map
            *(word for start in before for word in ("--init", start)),
            *("--steps", steps, "--seed", self.cell.seed, "-o", output),
        )

    def text(self) -> Path:
        """Vectors of the library's texts of the data set's target; made once."""
        texts, vectors = (
            self.work / self.cell.data / f"texts.{ending}" for ending in ("yaml", "safetensors")
        )
        if not vectors.exists():
            texts.unlink(missing_ok=True)
            llmseg("describe", *self.about["describe"], "-o", texts)
            llmseg("embed", texts, "-o", vectors)
        return vectors

    def mined(self, start: Path) -> Path:
        """Pseudo-labels from a run's masks of the unlabeled cases; made once."""
        folder = start.with_name(f"{start.name}-mined")
        if not folder.exists():
            given = ("--data", self.data, "--split", self.split)
            llmseg("mine-sam", "--run", start, *given, "-o", folder, *self.about.get("mine", ()))
        return folder

    def scores(self) -> dict[str, Any]:
        """What `llmseg score` says of the test cases."""
        where = ("--data", self.data, "--split", self.split, "--subset", "test")
        llmseg("predict", "--run", self.folder / "run", *where, "-o", self.folder / "masks")
        known = ("--ref", self.data, "--split", self.split, "--subset", "test")
        units = ["--voxel-units"] if "hd95_voxel" in self.about["metrics"] else []
        scored = llmseg("score", "--pred", self.folder / "masks", *known, *units)
        if scored["status"] != "ok":
            sys.exit(f"{self.folder}: not every test case has a score.")
        return scored

    def changes(self) -> list[str]:
        """Words for the label values of the data set."""
        return [word for pair in self.about.get("label-map", []) for word in ("--label-map", pair)]

    def write_split(self, *, everything: bool) -> None:
        """The cases: `llmseg split` reads them, and roles are given as `sets.yaml` says.

        Args:
            everything: Whether the unlabeled have their labels, too.
        """
        first = self.work / self.cell.data / "read.json"
        about = self.about
        if not first.exists():
            first.parent.mkdir(parents=True, exist_ok=True)
            grouped = ["--group-by", about["group"]] if "group" in about else []
            held = {"--test": about.get("test"), "--validation": about.get("development")}
            locked = (
                [] if about.get("lists") else [w for pair in held.items() if pair[1] for w in pair]
            )
            words = ("split", "--data", self.data, *self.changes(), *grouped, "--labeled", "all")
            own = first.with_name(f"read-{os.getpid()}.json")
            llmseg(*words, *locked, "--seed", 0, "-o", own)
            own.replace(first)
        split = json.loads(first.read_text(encoding="utf-8"))
        roles = (
            listed(self.cell, about, self.data) if about.get("lists") else drawn(self.cell, split)
        )
        roles["unlabeled"] = roles["unlabeled"][: about.get("unlabeled")]
        tried = roles.pop("development")
        if self.development:
            roles["test"] = tried
        if everything:
            roles = {**roles, "labeled": roles["labeled"] + roles["unlabeled"], "unlabeled": []}
        used = {name for names in roles.values() for name in names}
        for name in ("images", "groups", "former"):
            split[name] = {case: found for case, found in split[name].items() if case in used}
        split |= {"seed": self.cell.seed, **roles, "validation": []}
        text = json.dumps(split, indent=2) + "\n"
        if self.split.exists() and self.split.read_text(encoding="utf-8") != text:
            sys.exit(f"{self.split} has other cases, of an earlier sets.yaml. Name another --work.")
        self.split.write_text(text, encoding="utf-8")


def trust(scored: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What agreement and entropy were worth, each with its cases, without the whole curve."""
    return {
        measure: {key: value for key, value in found.items() if key != "risk_coverage"}
        for folder in scored["trust"]
        for measure, found in folder["measures"].items()
    }


def seconds_of(run: Path) -> float:
    """Seconds that a run took, as it recorded them."""
    return float(json.loads((run / "run.json").read_text(encoding="utf-8"))["wall_s"])


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
    labeled = list(dict.fromkeys(map(patient, train)))[: int(cell.labels)]
    return {
        "labeled": [name for name in train if patient(name) in labeled],
        "unlabeled": [name for name in train if patient(name) not in labeled],
        "test": test,
        "development": names(about["development"]) if "development" in about else [],
    }


def drawn(cell: Cell, split: dict[str, Any]) -> dict[str, list[str]]:
    """Roles by lot: the labeled cases by the seed's, fewer of them within more."""
    rest = sorted(split["labeled"])
    random.Random(cell.seed).shuffle(rest)
    count = cell.labels
    if isinstance(count, str):
        count = round(float(count.removesuffix("%")) / 100 * len(rest))
    return {
        "labeled": rest[:count],
        "unlabeled": rest[count:],
        "test": split["test"],
        "development": split["validation"],
    }


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
