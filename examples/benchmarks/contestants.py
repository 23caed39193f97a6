"""Who takes part in `accuracy.py`: from a laid-out data set and some minutes to masks.

Each has a folder of its own, in which every try begins anew, and as much time as it wants for the
masks; only training, from raw files on, is counted against the minutes.
"""

import json
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accuracy_data import Laid, collect
from measured import Measured, limited, measure
from pace import steps_that_fit

from llmseg_cli.data.cases import find_cases

HERE = Path(__file__).parent
PROBE_STEPS = 12  # of llmseg, when its command wants a number of steps
TIMED_FROM = 3  # its first steps set up kernels


@dataclass(frozen=True)
class Task:
    """One contestant's work.

    Args:
        data: The data set as it was given.
        laid: The same, laid out.
        folder: The contestant's own.
        minutes: From raw files to a trained network.
        cores: Cores that it may use, one thread on each.
        seed: Of everything random.
        train_words: llmseg's command that trains, with placeholders.
        predict_words: llmseg's command that predicts, with placeholders.
        memory_gb: nnU-Net's `gpu_memory_target`.
        configuration: nnU-Net's configuration.
        augmenting: nnU-Net's processes that augment.
    """

    data: Path
    laid: Laid
    folder: Path
    minutes: float
    cores: tuple[int, ...]
    seed: int
    train_words: str
    predict_words: str
    memory_gb: float
    configuration: str
    augmenting: int

    def measure(self, words: Sequence[str], log: str) -> Measured:
        """Run a command in this contestant's environment."""
        return measure(
            words,
            self.folder / log,
            cores=self.cores,
            environment=limited(len(self.cores)),
        )


@dataclass(frozen=True)
class Result:
    """What a contestant took; its masks are in `masks` below its folder.

    Args:
        train: Planning, preparing and training.
        predict: Masks of the test images.
        steps: Training steps, of all trainings together; None where nobody knows.
        settings: What was trained, in a few words.
    """

    train: Measured
    predict: Measured
    steps: int | None
    settings: str


def nnunet(task: Task) -> Result:
    """nnU-Net; `nnunet_rival.py` says what was set."""
    words = _script("nnunet_rival.py", task)
    words += ["--configuration", task.configuration, "--augmenting", str(task.augmenting)]
    return _rival(task, [*words, "--memory-gb", str(task.memory_gb)])


def pymic(task: Task) -> Result:
    """PyMIC; `pymic_rival.py` says what was set."""
    laid = task.laid
    words = _script("pymic_rival.py", task)
    words += ["--classes", str(laid.classes), "--channels", str(laid.channels)]
    words += ["--shape", ",".join(map(str, laid.shape))]
    return _rival(task, [*words, *(["--pictures"] if laid.is_2d else [])])


def _script(name: str, task: Task) -> list[str]:
    words = [sys.executable, str(HERE / name), "--folder", str(task.folder)]
    words += ["--raw", str(task.laid.raw), "--threads", str(len(task.cores))]
    return [*words, "--seed", str(task.seed)]


def _rival(task: Task, words: list[str]) -> Result:
    deadline = ["--deadline", repr(time.time() + 60 * task.minutes)]
    train = task.measure([*words, *deadline, "train"], "train.log")
    predict = task.measure([*words, "predict"], "predict.log")
    facts = json.loads((task.folder / "facts.json").read_text(encoding="utf-8"))
    collect(task.folder / "found", task.folder / "masks", find_cases(task.data), task.laid.test)
    return Result(train, predict, facts["steps"], facts["settings"])


def llmseg(task: Task) -> Result:
    """llmseg, by its own commands.

    A command with `{minutes}` keeps the time itself. One with `{steps}` is tried for a few steps
    first, and gets as many as fit into what is left; the try counts.
    """
    if "{steps}" in task.train_words:
        train, steps = _in_steps(task)
    else:
        train = task.measure(words_of(task.train_words, _places(task)), "train.log")
        steps = steps_taken(task.folder / "out")
    places = _places(task) | {"mirror": flips_of(task.folder / "out")}
    predict = task.measure(words_of(task.predict_words, places), "predict.log")
    return Result(train, predict, steps, task.train_words)


def flips_of(out: Path) -> str:
    """The word of `predict` for flips, if `auto` predicted with them."""
    record = out / "run.json"
    if not record.exists():
        return ""
    details = json.loads(record.read_text(encoding="utf-8")).get("details") or {}
    return "--mirror" if details.get("mirror") is True else ""


def steps_taken(out: Path) -> int | None:
    """Steps of all trainings below a folder of llmseg, by their logs; None if there is no log."""
    logs = [path.read_text(encoding="utf-8").splitlines() for path in out.rglob("log.jsonl")]
    steps = [max((json.loads(line).get("step", 0) for line in log), default=0) for log in logs]
    return sum(steps) if steps else None


def _in_steps(task: Task) -> tuple[Measured, int]:
    start = time.monotonic()
    places = _places(task)
    tried = task.folder / "tried"
    probe = places | {"steps": str(PROBE_STEPS), "out": str(tried)}
    first = task.measure(words_of(task.train_words, probe), "train.log")
    each = seconds_per_step((tried / "log.jsonl").read_text(encoding="utf-8"))
    around = max(0.0, first.wall_s - PROBE_STEPS * each)  # to start, prepare and write
    left = 60 * task.minutes - (time.monotonic() - start) - around
    steps = max(1, steps_that_fit(left, each))
    second = task.measure(words_of(task.train_words, places | {"steps": str(steps)}), "train.log")
    return first + second, steps


def seconds_per_step(log: str) -> float:
    """Mean of the steps of `log.jsonl`, without the first ones.

    Raises:
        ValueError: If it has not two lines of timed steps.
    """
    entries = [json.loads(line) for line in log.splitlines()]
    timed = [entry for entry in entries if entry.get("step", 0) >= TIMED_FROM and "time" in entry]
    if len(timed) < 2:
        raise ValueError(f"{len(timed)} timed lines in log.jsonl; expected --log-every 1")
    steps = timed[-1]["step"] - timed[0]["step"]
    return (timed[-1]["time"] - timed[0]["time"]) / steps


def _places(task: Task) -> dict[str, str]:
    return {
        "data": str(task.laid.folder / "llmseg"),
        "test": str(task.laid.folder / "test"),
        "out": str(task.folder / "out"),
        "masks": str(task.folder / "masks"),
        "cache": str(task.folder / "cache"),
        "minutes": f"{task.minutes:g}",
        "threads": str(len(task.cores)),
        "seed": str(task.seed),
    }


def words_of(template: str, places: Mapping[str, str]) -> list[str]:
    """The words of a command, `llmseg` being the one of this environment.

    Raises:
        ValueError: If it is another program, or a placeholder has no value.
    """
    first, *words = shlex.split(template)
    if first != "llmseg":
        raise ValueError(f"the command begins with '{first}'; expected llmseg")
    try:
        filled = [word.format_map(places) for word in words]
    except KeyError as error:
        known = ", ".join(f"{{{name}}}" for name in (*places, "steps"))
        raise ValueError(f"no {{{error.args[0]}}} in '{template}'; known: {known}") from None
    return [sys.executable, "-m", "llmseg_cli", *(word for word in filled if word)]


def score(task: Task) -> dict[str, Any]:
    """Dice of the masks: mean, 95 % interval, and the mean of each class."""
    scores = task.folder / "scores.json"
    references = task.laid.folder / "references"
    words = ["score", "--pred", str(task.folder / "masks"), "--ref", str(references)]
    task.measure([sys.executable, "-m", "llmseg_cli", *words, "-o", str(scores)], "score.log")
    dice = json.loads(scores.read_text(encoding="utf-8"))["metrics"]["dice"]
    return {
        "mean": dice["mean"],
        "interval": dice["interval"],
        "classes": {name: found["mean"] for name, found in dice["classes"].items()},
        "cases": dice["n"],
    }


def fresh(folder: Path) -> Path:
    """An empty folder; what an earlier try left there is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


CONTESTANTS = {"llmseg": llmseg, "nnU-Net": nnunet, "PyMIC": pymic}
